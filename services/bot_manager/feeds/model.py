"""What feeds are asked and what they hold."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Validators:
    """What a feed is asked with, so that it can say that nothing has changed; empty where it gave none."""

    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True)
class FeedBody:
    """What a feed answered, unpacked."""

    content: bytes
    content_type: str
    validators: Validators


@dataclass(frozen=True, slots=True)
class FeedItem:
    """One item. `key` is what it is known by; `published` is None where the feed does not say."""

    key: str
    title: str
    link: str
    summary: str
    author: str
    published: datetime | None
