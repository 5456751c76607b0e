"""Single values for examples: the same every time, of the right type, within the rules, and telling where the contract tells.

What a comment gives as an example (`for example "posts.write"`) comes first, then what the rules list, then a value of the
rule's format, then one made of the field's name. A value that does not fit the rules is never given; where none is found there
is none (None).
"""

import base64
import math
import re
from collections.abc import Iterator
from typing import Any, Final

from protobuf import DescEnum, DescMessage, ScalarType

from gateway.openapi import patterns, prose
from gateway.openapi import rules as keywords
from gateway.transcoding import fields
from gateway.transcoding.fields import INT_SCALARS, Element

UUID: Final = "0190f3c4-7d2a-7c31-9b5e-2f4a6d8c0e1{}"
FUTURE: Final = "2030-01-31T09:00:00Z"
PAST: Final = "2026-01-31T09:00:00Z"
_FORMATS: Final = {
    "uuid": UUID, "email": "ann{}@example.com", "hostname": "example.com", "ipv4": "192.0.2.{}", "ip": "192.0.2.{}",
    "ipv6": "2001:db8::{}", "uri": "https://example.com/{}", "uri_ref": "/path/{}", "address": "example.com",
}  # fmt: skip
_SPANS: Final = (3600, 300, 60, 1, 86400, 900, 10, 604800)
_WRAPPED: Final = {
    "BoolValue": ScalarType.BOOL, "StringValue": ScalarType.STRING, "BytesValue": ScalarType.BYTES,
    "DoubleValue": ScalarType.DOUBLE, "FloatValue": ScalarType.FLOAT, "Int32Value": ScalarType.INT32,
    "Int64Value": ScalarType.INT64, "UInt32Value": ScalarType.UINT32, "UInt64Value": ScalarType.UINT64,
}  # fmt: skip
_PLAIN: Final = {"Struct": {"key": "value"}, "Value": "value", "ListValue": ["value"], "Empty": {}}
_UUID_WORD: Final = re.compile(r"\bUUID")
_FOREIGN: Final = re.compile(r"\bIds? on X\b|\bid that X\b")
_NUMBER: Final = re.compile(r"(?:for example|such as) ([0-9]{1,9})\b", re.IGNORECASE)
_TELLING: Final = {
    "text": "Good morning", "display_name": "Morning news", "description": "What it is for", "reason": "asked for by its owner",
    "comment": "as agreed", "message": "what happened, in a sentence", "username": "ann", "handle": "morning_news",
    "password": "correct horse battery staple", "current_password": "correct horse battery staple",
    "new_password": "an even longer battery staple", "filename": "sunrise.png", "time_zone": "Europe/Berlin",
    "url": "https://example.com/hook", "otp": "123456", "email": "ann@example.com", "alt_text": "The sun over the sea",
}  # fmt: skip


def value(element: Element, rule: Any, name: str, comment: str, number: int, *, past: bool) -> Any:
    """A value of a type. `rule` are its FieldRules or None; `number` tells the values of a list apart, from 0; `past` is for
    times that have been."""
    inner = rule.type.value if rule is not None and rule.type is not None else None
    if isinstance(element, DescEnum):
        return _enum(element, inner, number)
    if isinstance(element, DescMessage):
        return _message(element, inner, name, comment, number, past=past)
    if element is ScalarType.STRING:
        return _text(inner, name, comment, number)
    if element is ScalarType.BYTES:
        size = max(1, inner.len or inner.min_len) if inner is not None else 8
        return base64.b64encode((b"example" * (size // 7 + 1))[: max(size, min(7, size))]).decode()
    if element is ScalarType.BOOL:
        return inner.const if inner is not None and inner.has_field("const") else True
    return _number(element, inner, comment, number)


def _message(element: DescMessage, rule: Any, name: str, comment: str, number: int, *, past: bool) -> Any:
    """A well-known type; None for every other message."""
    short = element.name
    if not element.type_name.startswith("google.protobuf."):
        return None
    if short in _WRAPPED:
        return value(_WRAPPED[short], None, name, comment, number, past=past)
    if short == "Timestamp":
        return _time(rule, past=past)
    if short == "Duration":
        return _span(rule)
    return _PLAIN.get(short)


def _text(rule: Any, name: str, comment: str, number: int) -> str | None:
    for one in _texts(rule, name, comment, number):
        if fits(rule, one):
            return one
    return None


def _texts(rule: Any, name: str, comment: str, number: int) -> Iterator[str]:
    """Candidates, the most telling first."""
    said = prose.quoted_examples(comment)
    yield from said[number:]
    if name in _TELLING and not number:
        yield _TELLING[name]
    if rule is not None:
        if rule.has_field("const"):
            yield rule.const
        yield from rule.example[number:]
        yield from rule.in_[number:]
        if rule.well_known is not None and rule.well_known.value:
            yield _FORMATS.get(rule.well_known.field, "").format(number)
    if _UUID_WORD.search(comment):
        yield UUID.format(number)
    if _FOREIGN.search(comment):
        yield f"190000000000000000{number + 1}"
    words = name.replace("_", " ")
    for one in (words, name.replace("_", "-"), name):
        yield one if not number else f"{one} {number + 1}" if " " in one else f"{one}{number + 1}"
    if rule is None:
        return
    if rule.pattern and (made := patterns.text_for(rule.pattern)) is not None:
        yield made
        yield made + str(number)
        yield made * max(1, math.ceil((rule.len or rule.min_len or 1) / max(1, len(made))))
    least = rule.len or rule.min_len or rule.min_bytes or 1
    stretched = words * math.ceil(least / max(1, len(words)))
    yield stretched
    yield stretched[:least]
    yield words[: rule.max_len or rule.max_bytes or None]
    yield f"{rule.prefix}{rule.contains or name}{rule.suffix}"


def fits(rule: Any, text: str) -> bool:
    """Whether a text keeps these StringRules, as far as they are read here; the whole example is validated later."""
    if rule is None:
        return True
    size = len(text.encode())
    checks = (
        not rule.has_field("const") or text == rule.const,
        not rule.len or len(text) == rule.len,
        len(text) >= rule.min_len and size >= rule.min_bytes,
        not rule.has_field("max_len") or len(text) <= rule.max_len,
        not rule.has_field("max_bytes") or size <= rule.max_bytes,
        not rule.pattern or patterns.matches(rule.pattern, text),
        text.startswith(rule.prefix) and text.endswith(rule.suffix) and rule.contains in text,
        not rule.in_ or text in rule.in_,
        text not in rule.not_in,
        rule.well_known is None or not rule.well_known.value or _is_format(rule.well_known.field, text),
    )
    return all(checks)


def _is_format(kind: str, text: str) -> bool:
    if kind == "uuid":
        return re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text) is not None
    if kind == "uri":
        return "://" in text
    return kind not in ("email", "ipv4", "ipv6", "ip") or "@" in text or "." in text or "::" in text


def _enum(element: DescEnum, rule: Any, number: int) -> str | None:
    allowed = [one for one in element.values if rule is None or _listed(rule, one.number)]
    named = [one for one in allowed if one.number] or allowed
    return named[number % len(named)].name if named else None


def _listed(rule: Any, number: int) -> bool:
    if rule.has_field("const"):
        return bool(rule.const == number)
    return (not rule.in_ or number in rule.in_) and number not in rule.not_in


def _number(element: ScalarType, rule: Any, comment: str, number: int) -> Any:
    said = _NUMBER.search(comment)
    chosen: Any = (int(said[1]) if said else 1) + number
    if rule is not None:
        below, above = rule.less_than, rule.greater_than
        if rule.in_:
            chosen = rule.in_[number % len(rule.in_)]
        elif rule.has_field("const"):
            chosen = rule.const
        elif above is not None and chosen < above.value + (above.field == "gt"):
            chosen = above.value + (above.field == "gt") + number
        elif below is not None and chosen > below.value - (below.field == "lt"):
            chosen = below.value / 2 if element not in INT_SCALARS else below.value - (below.field == "lt")
    if element not in INT_SCALARS:
        return float(chosen)
    return str(chosen) if "64" in element.name else int(chosen)


def _time(rule: Any, *, past: bool) -> str:
    least, most = _bound(rule, "greater_than"), _bound(rule, "less_than")
    earliest = keywords.timestamp(least.value) if least is not None else ""
    latest = keywords.timestamp(most.value) if most is not None else "9999"
    candidates = (PAST, FUTURE) if past else (FUTURE, PAST)
    return next((one for one in candidates if earliest <= one < latest), earliest or PAST)


def _span(rule: Any) -> str:
    least, most = _bound(rule, "greater_than"), _bound(rule, "less_than")
    for seconds in _SPANS:
        over = least is None or seconds >= least.value.seconds + (least.field == "gt")
        under = most is None or seconds <= most.value.seconds - (most.field == "lt")
        if over and under:
            return f"{seconds}s"
    bound = least or most
    return "1s" if bound is None else keywords.duration(bound.value)


def _bound(rule: Any, side: str) -> Any:
    """One bound of TimestampRules or DurationRules that is a fixed value; None where there is none."""
    found = getattr(rule, side) if rule is not None else None
    return found if found is not None and found.field in ("lt", "lte", "gt", "gte") else None


def is_plain(element: Element) -> bool:
    """Whether `value` makes values of this type."""
    return not isinstance(element, DescMessage) or (
        element.type_name.startswith("google.protobuf.")
        and element.name not in ("Any", "FieldMask")
        and fields.has_special_json(element)
    )
