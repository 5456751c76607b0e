"""Whether a post that an account shows is the one that a part asked for, although X changes what it is given.

Both texts are brought to one form before they are compared: HTML entities resolved, NFC, white space collapsed, links without their
scheme and with their host in lower case. What X adds is taken away: the link to a post's own media and to the post it quotes at the
end, and the names of those who are answered at the beginning. t.co links are expanded where the account is read (`x/reading.py`),
since only X knows what they stand for.

Everything else has to be the same: what it answers, what it quotes, how many media it has, whether it has a poll.
"""

import html
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from services.bot_manager.domain.text import links
from services.bot_manager.x.port import XPost, XPostDraft

_SCHEME: Final = re.compile(r"^https?://", re.IGNORECASE)
_HOST: Final = re.compile(r"^[^/?#]+")
_OWN_MEDIA: Final = re.compile(
    r"\s*(?:https?://)?(?:(?:www\.)?(?:x|twitter)\.com/\w+/status/\d+/(?:photo|video)/\d+|t\.co/\w+)$",
    re.IGNORECASE,
)
_ANSWERED: Final = re.compile(r"^(?:@\w{1,15}\s+)+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shape:
    """What is compared: two posts that X shows alike have the same."""

    text: str
    reply_to: str
    quote_of: str
    media_count: int
    poll: bool


def asked(draft: XPostDraft) -> Shape:
    """The shape of what X is asked for."""
    text = _unaddressed(comparable(draft.text), draft.reply_to)
    return Shape(text, draft.reply_to, draft.quote_of, len(draft.media_ids), draft.poll is not None)


def shown(seen: XPost) -> Shape:
    """The shape of what X shows."""
    text = _unaddressed(comparable(_without_additions(seen)), seen.reply_to)
    return Shape(text, seen.reply_to, seen.quote_of, seen.media_count, seen.poll)


def _unaddressed(text: str, reply_to: str) -> str:
    """X puts the answered accounts in front, whether or not the author wrote them there."""
    return _ANSWERED.sub("", text) if reply_to else text


def comparable(text: str) -> str:
    """The one form of a text; equal for texts that X shows alike."""
    text = " ".join(unicodedata.normalize("NFC", html.unescape(text)).split())
    plain, at = [], 0
    for start, end in links(text):
        plain += [text[at:start], _plain_link(text[start:end])]
        at = end
    return "".join([*plain, text[at:]])


def _plain_link(link: str) -> str:
    link = _HOST.sub(lambda host: host[0].lower(), _SCHEME.sub("", link))
    return link.removesuffix("/")


def _without_additions(seen: XPost) -> str:
    text = seen.text.rstrip()
    if seen.media_count:
        text = _OWN_MEDIA.sub("", text)
    if seen.quote_of:
        text = re.sub(rf"\s*\S+/status/{re.escape(seen.quote_of)}$", "", text)
    return text
