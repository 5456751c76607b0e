"""The Markdown that comments are written in → HTML: paragraphs, lists, `code`. Everything else is text, and escaped."""

import re
from typing import Final

from markupsafe import Markup, escape

_CODE: Final = re.compile(r"`([^`\n]+)`")
_CAPITALS: Final = re.compile(r"\b([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)\b")
_ITEM: Final = re.compile(r"(?:[-*]|[0-9]+[.)]) ")
_LINK: Final = Markup('<a href="/docs/errors#{0}">{0}</a>')

Reasons = frozenset[str]
NO_REASONS: Final[Reasons] = frozenset()


def inline(text: str, reasons: Reasons = NO_REASONS) -> Markup:
    """One line of text; names of `reasons` become links to what they mean."""
    pieces = _CODE.split(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(_linked(piece, reasons)) if at % 2 else _linked(piece, reasons)
        for at, piece in enumerate(pieces)
    )


def _linked(text: str, reasons: Reasons) -> Markup:
    pieces = _CAPITALS.split(text) if reasons else [text]
    return Markup("").join(
        _LINK.format(piece) if at % 2 and piece in reasons else escape(piece)
        for at, piece in enumerate(pieces)
    )


def blocks(text: str, reasons: Reasons = NO_REASONS) -> Markup:
    """Paragraphs and lists."""
    made: list[Markup] = []
    for block in text.split("\n\n"):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        plain = [line for line in lines if not _ITEM.match(line)]
        items = [_ITEM.sub("", line, count=1) for line in lines if _ITEM.match(line)]
        if plain:
            made.append(Markup("<p>{}</p>").format(inline(" ".join(plain), reasons)))
        if items:
            rows = Markup("").join(Markup("<li>{}</li>").format(inline(item, reasons)) for item in items)
            made.append(Markup("<ul>{}</ul>").format(rows))
    return Markup("\n").join(made)
