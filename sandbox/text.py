"""Text as X counts it and as X returns it, after the public rules of twitter-text (configuration version 3).

Counting: normalise to NFC; a link is 23; an emoji, however many code points it takes, is 2; a code point in the light
ranges (Latin and most alphabets, some punctuation) is 1; any other, CJK above all, is 2. A post may weigh 280.

Returning: each link becomes a t.co link of 23 characters derived from its target, so that the same target always gives
the same link; `&`, `<` and `>` are escaped; links, hashtags, cashtags and mentions are listed as entities with code
point offsets into the returned text.

Simpler than X in one point: a link with a scheme may have any alphabetic top-level domain, and only a fixed list makes
a bare `example.com` a link.
"""

import hashlib
import html
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

MAX_WEIGHT = 280
LINK_WEIGHT = 23
EMOJI_WEIGHT = 2
MAX_CODE_POINTS = 25_000
"""X's limit for its longest posts; nothing longer is even looked at."""

_LIGHT_RANGES = ((0, 4351), (8192, 8205), (8208, 8223), (8242, 8247))
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# Extended_Pictographic of Unicode's emoji-data.txt, without the plain digits and signs that only a keycap makes emoji.
_PICTOGRAPH = (
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u2388\u23cf\u23e9-\u23f3"
    "\u23f8-\u23fa\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705"
    "\u2708-\u2712\u2714\u2716\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763-\u2767"
    "\u2795-\u2797\u27a1\u27b0\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299"
    "\U0001f000-\U0001f0ff\U0001f10d-\U0001f10f\U0001f12f\U0001f16c-\U0001f171\U0001f17e\U0001f17f\U0001f18e"
    "\U0001f191-\U0001f19a\U0001f201-\U0001f20f\U0001f21a\U0001f22f\U0001f232-\U0001f23a\U0001f23c-\U0001f23f"
    "\U0001f249-\U0001f3fa\U0001f400-\U0001f53d\U0001f546-\U0001f64f\U0001f680-\U0001f6ff\U0001f774-\U0001f77f"
    "\U0001f7d5-\U0001f7ff\U0001f80c-\U0001f80f\U0001f90c-\U0001f93a\U0001f93c-\U0001f945\U0001f947-\U0001faff]"
)
_ONE = f"{_PICTOGRAPH}(?:\ufe0f|[\U0001f3fb-\U0001f3ff])?"
_EMOJI = re.compile(
    "[0-9#*]\ufe0f?\u20e3"  # keycap
    "|[\U0001f1e6-\U0001f1ff]{2}"  # flag of a country
    "|\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f"  # flag of a region
    f"|(?!{_PICTOGRAPH}\ufe0e){_ONE}(?:\u200d{_ONE})*"  # one picture, or several joined; not one asked for as text
    "|[\U0001f3fb-\U0001f3ff]"  # a skin tone on its own
)

_GENERIC_DOMAINS = (
    "com net org edu gov mil int info biz name pro mobi tel asia cat jobs travel aero coop museum app dev xyz online "
    "site store tech shop blog cloud news live link page art bot social"
)
_COUNTRY_DOMAINS = (
    "ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bw by bz ca cc cd "
    "cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj fk fm fo fr ga gd ge "
    "gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh "
    "ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw "
    "mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb "
    "sc sd se sg sh si sk sl sm sn so sr ss st su sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug uk "
    "us uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw"
)
_LISTED = "|".join(sorted((_GENERIC_DOMAINS + " " + _COUNTRY_DOMAINS).split(), key=len, reverse=True))
_LABEL = "[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_IN_PATH = "a-z0-9\u00c0-\u024f\u0400-\u04ff!*';:=+,.$/%\\[\\]_~@|&()#?-"
_LINK = re.compile(
    "(?<![a-z0-9@＠$#＃_.-])"
    f"(?:https?://(?:{_LABEL}\\.)+(?:xn--[a-z0-9-]+|[a-z]{{2,63}})|(?:{_LABEL}\\.)+(?:{_LISTED})(?![a-z0-9@_-]|\\.[a-z0-9]))"
    f"(?::[0-9]+)?(?:[/?#][{_IN_PATH}]*)?",
    re.IGNORECASE,
)
_LINK_ENDS_WITH = re.compile("[a-z0-9\u00c0-\u024f\u0400-\u04ff=_#/+&~%-]", re.IGNORECASE)

_TAGS = (
    ("hashtags", "tag", re.compile(r"(?<![\w&/])[#＃](\w*[^\W\d_]\w*)")),
    ("cashtags", "tag", re.compile(r"(?<![\w&/$])\$([A-Za-z]{1,6})(?!\w)")),
    ("mentions", "username", re.compile(r"(?<![\w@＠/])[@＠](\w{1,15})(?!\w|@)", re.ASCII)),
)


@dataclass(frozen=True, slots=True)
class Link:
    """A link in a text: `text[start:end]`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """Text as X returns it, and its entities (kind → list of objects with start, end and more)."""

    text: str
    entities: dict[str, list[dict[str, object]]]


def weight(text: str) -> int:
    """How much of MAX_WEIGHT a text takes. Beyond MAX_CODE_POINTS only code points are counted."""
    if len(text) > MAX_CODE_POINTS:
        return len(text)
    text = unicodedata.normalize("NFC", text)
    total = at = 0
    for link in links(text):
        total += _weight_without_links(text[at : link.start]) + LINK_WEIGHT
        at = link.end
    return total + _weight_without_links(text[at:])


def links(text: str) -> Iterator[Link]:
    """The links of a text, from left to right."""
    for match in _LINK.finditer(text):
        end = _trimmed_end(text, match.start(), match.end())
        yield Link(match.start(), end)


def t_co(target: str) -> str:
    """The short link of a target: 23 characters, the same for the same target."""
    number = int.from_bytes(hashlib.sha256(target.encode()).digest()[:8])
    name = ""
    for _ in range(10):
        number, digit = divmod(number, 62)
        name += _BASE62[digit]
    return f"https://t.co/{name}"


def render(text: str) -> Rendered:
    """A text as X returns it."""
    text = unicodedata.normalize("NFC", text)
    written, at = "", 0
    urls: list[dict[str, object]] = []
    for link in links(text):
        target = text[link.start : link.end]
        written += html.escape(text[at : link.start], quote=False)
        urls.append(_url_entity(target, len(written)))
        written += t_co(_with_scheme(target))
        at = link.end
    written += html.escape(text[at:], quote=False)
    entities = {"urls": urls} if urls else {}
    for kind, key, pattern in _TAGS:
        found = [_tag_entity(match, key) for match in pattern.finditer(written)]
        if found:
            entities[kind] = found
    return Rendered(written, entities)


def _weight_without_links(text: str) -> int:
    total = at = 0
    for emoji in _EMOJI.finditer(text):
        total += _weight_of_code_points(text[at : emoji.start()]) + EMOJI_WEIGHT
        at = emoji.end()
    return total + _weight_of_code_points(text[at:])


def _weight_of_code_points(text: str) -> int:
    return sum(1 if any(low <= ord(c) <= high for low, high in _LIGHT_RANGES) else 2 for c in text)


def _trimmed_end(text: str, start: int, end: int) -> int:
    """Leave a sentence's punctuation out of a link; a closing bracket stays when the link opened it."""
    while not _LINK_ENDS_WITH.match(text[end - 1]):
        if text[end - 1] == ")" and text.count("(", start, end) >= text.count(")", start, end):
            break
        end -= 1
    return end


def _with_scheme(target: str) -> str:
    return target if "://" in target else f"http://{target}"


def _url_entity(target: str, start: int) -> dict[str, object]:
    shown = re.sub(r"^https?://(www\.)?", "", target, flags=re.IGNORECASE)
    return {
        "start": start,
        "end": start + LINK_WEIGHT,
        "url": t_co(_with_scheme(target)),
        "expanded_url": _with_scheme(target),
        "display_url": shown if len(shown) <= 27 else shown[:26] + "…",
    }


def _tag_entity(match: re.Match[str], key: str) -> dict[str, object]:
    return {"start": match.start(), "end": match.end(), key: match.group(1)}
