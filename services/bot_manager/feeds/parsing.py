"""What a feed says, as plain text: markup is taken off, and every field has a bound."""

import asyncio
import io
import re
from calendar import timegm
from datetime import UTC, datetime
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any, Final

import feedparser

from services.bot_manager.domain.text import normalise
from services.bot_manager.feeds.fetcher import unavailable
from services.bot_manager.feeds.model import FeedBody, FeedItem

MAX_ENTRIES: Final = 500
MAX_TITLE: Final = 500
MAX_SUMMARY: Final = 4_000
MAX_AUTHOR: Final = 200
MAX_MARKUP: Final = 20_000
"""Characters that are looked at for the text in them."""
_LINK: Final = re.compile(r"https?://[^\s\x00-\x20\x7f]{1,2000}")
_SILENT: Final = frozenset({"script", "style", "template", "title"})
_INLINE: Final = frozenset(
    {"a", "abbr", "b", "code", "em", "i", "mark", "small", "span", "strong", "sub", "sup", "u"}
)


async def parse(body: FeedBody) -> tuple[FeedItem, ...]:
    """The items in the feed's order, the first MAX_ENTRIES. Raises FailedPrecondition (CONTENT_UNAVAILABLE) if it is no feed."""
    return await asyncio.to_thread(_parsed, body)


def _parsed(body: FeedBody) -> tuple[FeedItem, ...]:
    try:
        feed = feedparser.parse(
            # A stream: given bytes, feedparser would also take them for the name of a file.
            io.BytesIO(body.content),
            response_headers={"content-type": body.content_type},
            resolve_relative_uris=False,
            sanitize_html=False,
        )
        if not feed.get("version"):
            raise unavailable("what the feed's address answers is neither RSS nor Atom")
        items = [item for entry in feed.entries[:MAX_ENTRIES] if (item := _item(entry)) is not None]
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError, AssertionError):
        raise unavailable("the feed cannot be read") from None
    return tuple({item.key: item for item in reversed(items)}.values())[::-1]


def _item(entry: Any) -> FeedItem | None:
    """None for one that says nothing."""
    link = _clean(str(entry.get("link", "")))
    title = plain_text(str(entry.get("title", "")), MAX_TITLE)
    contents = "".join(str(one.get("value", "")) for one in entry.get("content", ()))
    summary = plain_text(str(entry.get("summary", "")) or contents, MAX_SUMMARY)
    known_by = str(entry.get("id", "")) or link or f"{title}\n{entry.get('published', '')}".strip()
    if not (title or summary or link):
        return None
    return FeedItem(
        key=sha256(_clean(known_by or summary).encode()).hexdigest(),
        title=title,
        link=link if _LINK.fullmatch(link) else "",
        summary=summary,
        author=plain_text(str(entry.get("author", "")), MAX_AUTHOR),
        published=_time(entry.get("published_parsed") or entry.get("updated_parsed")),
    )


def _clean(text: str) -> str:
    """Without what is no character: a database refuses it."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _time(parsed: Any) -> datetime | None:
    try:
        return None if parsed is None else datetime.fromtimestamp(timegm(parsed), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def plain_text(markup: str, limit: int) -> str:
    """The text of HTML in one line, NFC, at most `limit` code points."""
    stripper = _Stripper()
    stripper.feed(markup[:MAX_MARKUP])
    stripper.close()
    text = " ".join("".join(stripper.found).split())
    return normalise(_clean(text))[:limit]


class _Stripper(HTMLParser):
    """Collects what is read, not what is markup."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._silent += tag in _SILENT
        if tag not in _INLINE:
            self.found.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(self._silent - 1, 0)
        if tag not in _INLINE:
            self.found.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.found.append(data)
