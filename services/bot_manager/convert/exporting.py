"""Posts as files that ImportPosts takes."""

import csv
import json
from collections.abc import Mapping
from io import StringIO
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from services.bot_manager.convert.common import to_document
from services.bot_manager.convert.importing import COLUMNS, PER_PART, THREAD
from services.bot_manager.convert.posts import from_post
from services.bot_manager.domain.model import Post

JSON: Final = "application/json"
CSV: Final = "text/csv; charset=utf-8"
_NOT_COPIED: Final = ("bot_id", "etag")
"""What would tie a post to where it came from."""


class JsonFile:
    """An array, one post a line."""

    content_type = JSON
    end = b"\n]\n"

    def __init__(self) -> None:
        self._before = "\n"

    def beginning(self) -> bytes:
        """What comes before the first post."""
        return b"["

    def render(self, post: Post) -> bytes:
        """The next post."""
        message = from_post(post)
        for name in _NOT_COPIED:
            message.ClearField(name)
        before, self._before = self._before, ",\n"
        return (before + json.dumps(MessageToDict(message), ensure_ascii=False)).encode()


class CsvFile:
    """A header line and one line a part (RFC 4180)."""

    content_type = CSV
    end = b""

    def beginning(self) -> bytes:
        """The header line."""
        return _line(dict(zip(COLUMNS, COLUMNS, strict=True)))

    def render(self, post: Post) -> bytes:
        """The next post, a line for each of its parts. What holds for the whole thread stands in the first."""
        document = to_document(from_post(post))
        thread = {THREAD: post.id} if len(post.parts) > 1 else {}
        cells = {name: _cell(document.get(name)) for name in COLUMNS if name not in PER_PART}
        lines = []
        for part in document["parts"]:
            lines.append(_line({**cells, **thread, **{name: _cell(part.get(name)) for name in PER_PART}}))
            cells = {}
        return b"".join(lines)


def _line(cells: Mapping[str, str]) -> bytes:
    out = StringIO()
    csv.writer(out).writerow([cells.get(name, "") for name in COLUMNS])
    return out.getvalue().encode()


def _cell(value: Any) -> str:
    """A value of ProtoJSON; empty for what is not set."""
    if isinstance(value, list):
        return " ".join(value)
    if isinstance(value, bool | dict):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)
