"""Logging of this process as it was, once a test that set it up is done."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from loguru import logger


@contextmanager
def logging_restored() -> Iterator[None]:
    """loguru without sinks and patcher, and the standard library's root logger as it was before the block."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logger.remove()
    logger.configure(patcher=lambda _: None)
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
