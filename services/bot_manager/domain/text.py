"""How X counts a text, after the rules of twitter-text (configuration version 3).

A text is normalised to NFC. A link counts 23 whatever its length, an emoji with all its joiners and modifiers 2, a code point of the
light ranges (most alphabets and punctuation) 1, any other 2. A post may weigh 280.

A link is what has a scheme, or a bare domain: with a generic top-level domain, or with one of a country if there are further labels or
a path, or if it is `co` or `tv`. Simpler than twitter-text in one point: of the rarer generic domains it knows only a selection, so a
bare address under another counts as plain text here and as 23 at X.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

MAX_WEIGHT: Final = 280
"""https://docs.x.com/fundamentals/counting-characters"""
LINK_WEIGHT: Final = 23
EMOJI_WEIGHT: Final = 2
LIGHT_RANGES: Final = ((0, 4351), (8192, 8205), (8208, 8223), (8242, 8247))
MAX_CODE_POINTS: Final = 25_000

_PICTURE = (
    "(?:[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa"
    "\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u2604\u260e\u2611\u2614\u2615\u2618\u261d\u2620\u2622\u2623\u2626"
    "\u262a\u262e\u262f\u2638-\u263a\u2640\u2642\u2648-\u2653\u265f\u2660\u2663\u2665\u2666\u2668\u267b\u267e\u267f"
    "\u2692-\u2697\u2699\u269b\u269c\u26a0\u26a1\u26a7\u26aa\u26ab\u26b0\u26b1\u26bd\u26be\u26c4\u26c5\u26c8\u26ce\u26cf"
    "\u26d1\u26d3\u26d4\u26e9\u26ea\u26f0-\u26f5\u26f7-\u26fa\u26fd\u2702\u2705\u2708-\u270d\u270f\u2712\u2714\u2716"
    "\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763\u2764\u2795-\u2797\u27a1\u27b0\u27bf"
    "\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299\U0001f004\U0001f0cf\U0001f170\U0001f171"
    "\U0001f17e\U0001f17f\U0001f18e\U0001f191-\U0001f19a\U0001f201\U0001f202\U0001f21a\U0001f22f\U0001f232-\U0001f23a"
    "\U0001f250\U0001f251\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\U0001f7e0-\U0001f7eb\U0001f7f0\U0001f90c-\U0001f9ff"
    "\U0001fa70-\U0001faff](?!\ufe0e)\ufe0f?[\U0001f3fb-\U0001f3ff]?)"
)
_EMOJI = re.compile(
    "[0-9#*]\ufe0f?\u20e3"  # a keycap
    "|[\U0001f1e6-\U0001f1ff]{2}"  # a flag of two letters
    "|\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f"  # a flag of a region
    f"|{_PICTURE}(?:\u200d{_PICTURE})*"
)
_GENERIC = (
    "academy agency app art biz blog business cafe center chat city cloud club coffee company consulting cool design dev digital "
    "education edu email energy events expert fashion fun fyi games global gov group guru health host info ink int jobs land law "
    "life link live ltd market marketing media mil mobi museum name net network news ninja one online org page photo photos plus "
    "press pro pub rocks run school science services shop site social software solutions space store studio support systems team "
    "tech technology tips today tools top tours town travel tv university video vip website wiki work works world xyz zone com co"
)
_LABEL = r"[a-z0-9\u00a1-\u1eff](?:[a-z0-9_\u00a1-\u1eff-]{0,61}[a-z0-9\u00a1-\u1eff])?"
_LINK = re.compile(
    r"(?<![a-z0-9@＠$#＃.\-_/])"
    rf"(?P<scheme>https?://)?(?P<domain>(?:{_LABEL}\.)+(?P<top>xn--[a-z0-9-]+|[a-z]{{2,24}}))(?![a-z0-9@_-])"
    r"(?P<rest>(?::[0-9]+)?(?:[/?#][a-z0-9\u00a1-\u1eff!*';:=+,.$%\[\]()_~@|&?#/-]*)?)",
    re.IGNORECASE,
)
_GENERIC_SET = frozenset(_GENERIC.split())
_COUNTRY_CHARS = 2
_SENTENCE_END = re.compile(r"[!*';:,.$\[\]()|@?]+$")


def normalise(text: str) -> str:
    """The text in NFC, as X stores it."""
    return unicodedata.normalize("NFC", text)


def weighted_length(text: str) -> int:
    """What X counts against MAX_WEIGHT. Beyond MAX_CODE_POINTS only code points are counted."""
    if len(text) > MAX_CODE_POINTS:
        return len(text)
    text = normalise(text)
    total = at = 0
    for start, end in links(text):
        total += _plain(text[at:start]) + LINK_WEIGHT
        at = end
    return total + _plain(text[at:])


def links(text: str) -> Iterator[tuple[int, int]]:
    """Where the links of a normalised text begin and end, from left to right. Each has a dot, which is looked for first."""
    if "." not in text:
        return
    for match in _LINK.finditer(text):
        if match["scheme"] or _is_bare_link(match):
            yield match.start(), _end_of(match)


def _is_bare_link(match: re.Match[str]) -> bool:
    top = match["top"].lower()
    if top in _GENERIC_SET:
        return True
    country = len(top) == _COUNTRY_CHARS or top.startswith("xn--")
    return country and (match["domain"].count(".") > 1 or match["rest"].startswith("/"))


def _end_of(match: re.Match[str]) -> int:
    """Without the punctuation of the sentence around it; a closing bracket stays if the link opened it."""
    rest = match["rest"]
    tail = _SENTENCE_END.search(rest)
    if tail is None:
        return match.end()
    kept = rest[: tail.start()]
    if tail[0].startswith(")") and kept.count("(") > kept.count(")"):
        kept += ")"
    return match.end() - len(rest) + len(kept)


def _plain(text: str) -> int:
    if text.isascii():
        return len(text)
    total = at = 0
    for emoji in _EMOJI.finditer(text):
        total += _code_points(text[at : emoji.start()]) + EMOJI_WEIGHT
        at = emoji.end()
    return total + _code_points(text[at:])


def _code_points(text: str) -> int:
    return sum(1 if any(low <= ord(char) <= high for low, high in LIGHT_RANGES) else 2 for char in text)
