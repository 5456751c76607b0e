"""The way to X: a small port, and its adapter on tweepy's client. Judging what X answers is domain/outcomes.py's."""
