"""Why this gateway and Envoy answered one request otherwise: the key of a decision, or None where nobody has decided it.

Each rule looks at the request as well as at both outcomes, so that a mistake of ours does not pass for a decision.
"""

import json
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from tests.integration.gateway.probing import Answer

Outcome = tuple[Answer, list[tuple[str, list[Any]]]]
"""The answer, and the calls that the backend saw."""

_WELL_KNOWN = (
    "duration",
    "timestamp",
    "created",
    "field_mask",
    "update_mask",
    "struct_value",
    "extra",
    "value",
    "list_value",
    "any_value",
)
_LISTS = ("sub_list", "items", "sub_map", "string_map", "int_map", "attrs", "labels")
_MASKS = ("field_mask", "update_mask")
_VERB = ":cancel"
_INTEGERS = re.compile(r"[+-]?0*\d+(\.0*)?([eE][+-]?\d+)?|\s*[+-]?\d+\s*")


def explain(request: Any, ours: Outcome, envoys: Outcome) -> str | None:
    """The key of the decision that tells the two apart."""
    for rule in _RULES:
        if key := rule(request, ours, envoys):
            return key
    return None


def reason(answer: Answer) -> tuple[str, str]:
    """The reason and the message of a refusal of ours."""
    if answer.status < 400 or not answer.body:
        return "", ""
    body = json.loads(answer.body)
    return next((one["reason"] for one in body["details"] if "reason" in one), ""), body["message"]


def _taken(outcome: Outcome) -> bool:
    """Whether a request was passed on, even as a message that no service can read. A status does not tell: a call may be there to fail."""
    return bool(outcome[1]) or b"Error parsing message" in outcome[0].body


def _method(request: Any, ours: Outcome, envoys: Outcome) -> str | None:
    if ours[0].status == 405 and envoys[0].status in (400, 404):
        return "method"
    if request["method"] == "OPTIONS" and ours[0].status in (204, 404) and envoys[0].status == 404:
        return "method"
    # HEAD as a GET: Envoy knows no such route, whatever it would say to a GET
    return "method" if request["method"] == "HEAD" and envoys[0].status == 404 else None


def _path(request: Any, ours: Outcome, envoys: Outcome) -> str | None:
    path, _, query = request["path"].partition("?")
    if (
        ours[0].status == 400
        and reason(ours[0])[0] == "MALFORMED_REQUEST"
        and (_broken(path) or _broken(query))
    ):
        return "edge"
    if ours[0].status == 404 and (path.endswith("/") or "//" in path):
        return "slash"
    if path.endswith(_VERB) and envoys[0].status == 404:
        return "verb"
    return None


def _broken(text: str) -> bool:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        return True
    try:
        unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return True
    return False


def _query(request: Any, ours: Outcome, envoys: Outcome) -> str | None:
    query = request["path"].partition("?")[2]
    kind, message = reason(ours[0])
    if kind == "CONFLICTING_FIELD" and message.endswith(
        ("the path fills this field", "the body fills this field")
    ):
        return "disjoint"
    if kind == "CONFLICTING_FIELD" and message.endswith("is given twice"):
        return "once"
    if kind == "UNKNOWN_FIELD" and message.endswith("no such query parameter"):
        first = message.partition(":")[0].partition(".")[0]
        if _proto(first) in _WELL_KNOWN or _proto(first).endswith("_wrapper"):
            return "well_known"
        if _proto(first) in _LISTS:
            return "map"
        return "unknown" if _taken(envoys) and re.search(r"(^|&)(=|[^=&]*(&|$))", query) else None
    if "[" in query or "%5B" in query:
        return "map"
    return "plus" if "+" in query else None


def _proto(name: str) -> str:
    return re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), name)


def _value(request: Any, ours: Outcome, envoys: Outcome) -> str | None:
    """Values in path and query: spelling, open enums, forms of well-known types."""
    path, _, query = request["path"].partition("?")
    kind, message = reason(ours[0])
    field = message.partition(":")[0]
    given = [
        unquote_to_bytes(one).decode("utf-8", "replace")
        for one in (*re.split("[/:]", path), *(part.partition("=")[2] for part in query.split("&")))
    ]
    if kind == "INVALID_FIELD" and _taken(envoys):
        is_number = message.endswith("integer in decimal digits") or ": expected one of " in message
        if is_number and any(_INTEGERS.fullmatch(one) for one in given):
            return "spelling"
        if message.endswith(("expected a number", "in the range of float")) and any(
            _floats(one) for one in given
        ):
            return "spelling"
        if message.endswith("true or false") and {"0", "1", "True", "yes"} & set(given):
            return "spelling"
        if message.endswith("base64 string") and any(" " in one for one in given):
            return "spelling"
        if _proto(field) in _WELL_KNOWN or "is a message" in message:
            return "well_known"
        if _proto(field).split("[")[0] in _LISTS:
            return "map"
    if (
        ours[0].status == 200
        and envoys[0].status == 400
        and any(re.fullmatch(r"-?\d{1,10}", one) for one in given)
        and "color" in json.dumps(ours[1])
    ):
        return "enum"
    # a path of a mask that begins with a capital: ProtoJSON writes `_a` so, Envoy takes it for `a`
    if (
        ours[0].status == envoys[0].status == 200
        and _without_masks(ours[1]) == _without_masks(envoys[1])
        and any(re.search("(^|[.,])[A-Z]", one) for one in given)
    ):
        return "well_known"
    return None


def _floats(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return re.fullmatch(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", text) is None


def _body(request: Any, ours: Outcome, envoys: Outcome) -> str | None:
    if "body" not in request:
        return None
    kind, message = reason(ours[0])
    if message == "this method takes no body":
        return "bodiless"
    if ours[0].status == 415:
        return "media"
    if kind == "UNKNOWN_FIELD" and message.endswith("has no such field"):
        return "unknown"
    if kind == "CONFLICTING_FIELD":
        return "once" if "as well" in message or "twice" in message else "disjoint"
    if kind == "MALFORMED_REQUEST":
        return "deep" if "levels deep" in message else "json"
    if kind == "INVALID_FIELD" and _taken(envoys):
        return "json"
    if request["method"] == "PATCH" and _without_masks(ours[1]) == _without_masks(envoys[1]):
        return "patch"
    return None


def _without_masks(calls: Any) -> Any:
    return [
        (method, [{key: value for key, value in one.items() if key not in _MASKS} for one in requests])
        for method, requests in calls
    ]


_RULES = (_method, _path, _body, _query, _value)
