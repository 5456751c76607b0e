"""The policy checks: what X refuses, forbids or charges dearly, and what the bot's own rules ask. Pure.

`facts.py` says what the checks know, each other module holds the checks of one concern, `linter.py` runs them all. A check only ever
tells: no text is changed because of it.
"""
