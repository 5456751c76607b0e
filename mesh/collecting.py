"""Python's collector of cyclic garbage, set for processes that load much once and then handle many short-lived objects at a time."""

import gc
from typing import Final

COLLECT_EVERY: Final = 20_000
"""New objects after which the young ones are looked through; with Python's own 700 that happens hundreds of times a second under load."""


def settle() -> None:
    """Call once a process is assembled: what it has loaded stays for good, so it is not looked through again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)
