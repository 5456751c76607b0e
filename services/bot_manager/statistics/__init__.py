"""Statistics: counters of published posts, read from X and kept as readings."""

from services.bot_manager.statistics.fetcher import Fetcher

__all__ = ["Fetcher"]
