"""Where the history is kept: `ports.py` is what the domain asks for, the rest is its PostgreSQL implementation."""
