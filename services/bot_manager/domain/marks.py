"""What X makes clickable in a text, after the rules of twitter-text: links, mentions, hashtags, cashtags. Nothing inside a link counts."""

import re
from typing import Final

from services.bot_manager.domain.text import links

_MENTION: Final = re.compile(
    r"(?:(?<![A-Za-z0-9_!#$%&*@＠])|(?<=\bRT)|(?<=\bRT:))[@＠]([A-Za-z0-9_]{1,20})"
    r"(?![A-Za-z0-9_@＠\u00c0-\u024f]|://)"
)
_HASHTAG: Final = re.compile(r"(?<![\w&/])[#＃](?!\ufe0f?\u20e3)((?=\w*[^\W\d_])\w+)(?![#＃]|://)")
_CASHTAG: Final = re.compile(
    r"(?<!\S)\$([A-Za-z]{1,6}(?:[._][A-Za-z]{1,2})?)(?=$|[\s!-,./:;<=>?@\[\\\]^`{|}~])"
)


def urls(text: str) -> list[str]:
    """Links of a normalised text in their order, as written."""
    return [text[start:end] for start, end in links(text)]


def mentions(text: str) -> list[str]:
    """Accounts mentioned, without "@", each once, in the order of the text."""
    return _marks(_MENTION, text) if "@" in text or "＠" in text else []


def hashtags(text: str) -> list[str]:
    """Hashtags, without "#", each once, in the order of the text."""
    return _marks(_HASHTAG, text) if "#" in text or "＃" in text else []


def cashtags(text: str) -> list[str]:
    """Cashtags, without "$", each once, in the order of the text."""
    return _marks(_CASHTAG, text) if "$" in text else []


def _marks(pattern: re.Pattern[str], text: str) -> list[str]:
    """Without regard to case the same mark counts once, as it was written first."""
    pieces, at = [], 0
    for start, end in links(text):
        pieces.append(text[at:start])
        at = end
    # A blank stands for each link: what was apart stays apart.
    plain = " ".join([*pieces, text[at:]])
    found: dict[str, str] = {}
    for match in pattern.finditer(plain):
        found.setdefault(match[1].casefold(), match[1])
    return list(found.values())
