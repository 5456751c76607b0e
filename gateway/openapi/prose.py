"""A comment of a contract as text for readers.

Lines are joined to paragraphs, lists stay lists. The words that begin a field's comment by convention (AIP-203: Required,
Optional, Output only, Input only) are facts, so they are told apart from the text.
"""

import re
from dataclasses import dataclass
from typing import Final

_ITEM: Final = re.compile(r"(?:[-*]|[0-9]+[.)]) ")
_SENTENCE: Final = re.compile(r"(.+?[.!?])(?=\s+[A-Z`\"({]|\s*$)", re.DOTALL)
_BEHAVIOR: Final = re.compile(r"(Required|Optional|Output only|Input only)\.(?:\s+|$)")
_CAPITALS: Final = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*\b")
_QUOTED: Final = re.compile(
    r"(?:for example|such as|like|default|e\.g\.)\s+[\"`]([^\"`\n]{1,200})[\"`]", re.IGNORECASE
)
_MEDIA_TYPE: Final = re.compile(
    r"\b(?:application|audio|font|image|model|text|video)/[A-Za-z0-9][A-Za-z0-9.+-]*[A-Za-z0-9]"
)
_FORMAT: Final = re.compile(r"\b(?:HTML|CSV|YAML|PDF|PNG|NDJSON)\b")
_FORMATS: Final = {
    "HTML": "text/html", "CSV": "text/csv", "YAML": "application/yaml", "PDF": "application/pdf",
    "PNG": "image/png", "NDJSON": "application/x-ndjson",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FieldText:
    """What a field's comment says. `behavior` is one of the four words, "" where the comment begins otherwise."""

    behavior: str
    text: str


def paragraphs(comment: str) -> str:
    """The comment as Markdown: one line a paragraph or list item."""
    blocks: list[str] = []
    fresh = True
    for raw in comment.splitlines():
        line = raw.strip()
        if not line:
            fresh = True
        elif fresh or not blocks:
            blocks.append(("\n\n" if blocks else "") + line)
            fresh = False
        elif _ITEM.match(line):
            blocks.append("\n" + line)
        else:
            blocks.append(" " + line)
    return "".join(blocks)


def summary(comment: str) -> str:
    """The first sentence, without its full stop."""
    text = paragraphs(comment).split("\n", 1)[0]
    match = _SENTENCE.match(text)
    return (match[1] if match else text).removesuffix(".").strip()


def rest(comment: str) -> str:
    """What follows the first sentence; "" where nothing does."""
    text = paragraphs(comment)
    match = _SENTENCE.match(text.split("\n", 1)[0])
    return text[match.end() :].strip() if match else ""


def of_field(comment: str) -> FieldText:
    """The comment of a field, its convention word taken off."""
    text = paragraphs(comment)
    match = _BEHAVIOR.match(text)
    return FieldText(match[1], text[match.end() :]) if match else FieldText("", text)


def capitals(comment: str) -> list[str]:
    """Words in capitals, in order and once each: names of codes, reasons and states."""
    return list(dict.fromkeys(_CAPITALS.findall(comment)))


def quoted_examples(comment: str) -> list[str]:
    """What a comment gives as examples of a value: `for example "posts.write"`."""
    return _QUOTED.findall(paragraphs(comment))


def media_types(comment: str) -> list[str]:
    """Media types that a comment names, in order and once each; failing that, those of the formats it names."""
    text = paragraphs(comment)
    found = _MEDIA_TYPE.findall(text) or [_FORMATS[word] for word in _FORMAT.findall(text)]
    return list(dict.fromkeys(found))
