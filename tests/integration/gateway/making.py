"""Requests made at random from descriptors: valid ones, ones that are nearly so, and wild ones.

A request is a dictionary as the vectors have it: `method`, `path`, `headers`, `body`. Paths come from the templates, queries and bodies
from the fields of the request message, values from what each type takes and from what it nearly takes.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from protobuf import DescEnum, DescField, DescFieldValueList, DescFieldValueMap, DescMessage, ScalarType

from gateway.transcoding import fields
from gateway.transcoding.schema import HttpBinding, Method, Schema
from gateway.transcoding.template import REST, STAR, parse

Request = dict[str, Any]
Segment = Callable[[Any], st.SearchStrategy[str]]
JSON_TYPE = ["Content-Type", "application/json"]

_INTEGERS = [
    "0",
    "1",
    "-1",
    "5",
    "2147483647",
    "-2147483648",
    "2147483648",
    "4294967295",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
]
_NEARLY = [
    "",
    "007",
    "+5",
    "1_000",
    "0x10",
    "1.0",
    "1.5",
    "1e3",
    " 1",
    "1 ",
    "-0",
    "abc",
    "\u0661",
    "NaN",
    "Infinity",
    "true",
    "null",
]
_TEXTS = [
    "",
    "a",
    "a b",
    "a/b",
    "a%b",
    "a+b",
    "a:b",
    "7:cancel",
    "ä",
    "日本",
    "😀",
    "..",
    ".",
    "*",
    "**",
    "{x}",
    "a=b&c",
    "#",
    "?",
    "~!$&'()*,;=:@",
    "x" * 100,
]
_BY_KIND: dict[str, list[str]] = {
    "bool": ["true", "false", "True", "1", "0", "yes", ""],
    "bytes": ["AQI=", "AQI", "-_8", "+/8=", "!", "A", "AQI=="],
    "enum": ["COLOR_RED", "COLOR_GREEN", "1", "0", "2", "99", "-1", "color_red", "RED", "COLOR_RED ", "1.0"],
    "double": ["0", "1.5", "-1.5", "1e3", "1e400", "1e39", ".5", "5.", "-0.0", "1e-400"],
    "google.protobuf.Timestamp": ["2030-01-31T12:00:00Z", "2030-01-31T12:00:00.5+02:00", "2030-02-30T00:00:00Z", "2030-01-31", "0", "2030-01-31t12:00:00z"],
    "google.protobuf.Duration": ["1s", "1.5s", "-0.5s", "1h", "1", "s", "315576000001s"],
    "google.protobuf.FieldMask": ["", "title", "title,sub.text", "updateMask", "camelCase.a", "a,,b", "a_b", "*"],
}  # fmt: skip


def requests(schema: Schema, leaving: Iterable[str] = ()) -> st.SearchStrategy[Request]:
    """Requests to every binding of every method that is no client stream, apart from those named."""
    left = set(leaving)
    kinds = [
        _to(method, binding)
        for method in schema.methods.values()
        if method.kind in ("unary", "server_streaming") and method.name not in left
        for binding in method.bindings
    ]
    return st.one_of(st.one_of(kinds), st.one_of(kinds).flatmap(_bent))


@st.composite
def _to(draw: Any, method: Method, binding: HttpBinding) -> Request:
    """A request by the rule: variables and a body of their types, and some of the fields in the query."""
    path = path_to(draw, method, binding)
    names = [] if binding.body == "*" else list(method.input.fields)
    query = draw(st.lists(st.sampled_from(names).flatmap(parameter), max_size=3)) if names else []
    request: Request = {
        "method": binding.http_method,
        "path": path + ("?" + "&".join(query) if query else ""),
    }
    if binding.body:
        field = fields.find(method.input, binding.body) if binding.body != "*" else None
        values = message_of(method.input, 2) if field is None else field_of(field, 2)
        if takes_bytes(method, binding):
            values = st.text(max_size=20)
        request |= {
            "headers": [JSON_TYPE],
            "body": json.dumps(draw(values), ensure_ascii=draw(st.booleans())),
        }
    return request


def takes_bytes(method: Method, binding: HttpBinding) -> bool:
    """Whether the body is a google.api.HttpBody, which takes anything."""
    field = fields.find(method.input, binding.body) if binding.body not in ("", "*") else None
    taken = method.input if field is None else fields.element_of(field)
    return isinstance(taken, DescMessage) and taken.type_name == fields.HTTP_BODY


def path_to(draw: Any, method: Method, binding: HttpBinding, segment: Segment | None = None) -> str:
    """A path that the template matches, its variables filled by their types, or with segments of another making."""
    segment = segment or segments
    template = parse(binding.template)
    kinds: dict[int, Any] = {}
    for variable in template.variables:
        desc, field = method.input, None
        for name in variable.field_path.split("."):
            field = fields.find(desc, name)
            assert field is not None
            desc = fields.submessage(field) or desc
        if field is not None and not variable.multiple:
            kinds[variable.start] = fields.element_of(field)
    made: list[str] = []
    for index, one in enumerate(template.segments):
        if one == STAR:
            made.append(draw(segment(kinds.get(index, ScalarType.STRING))))
        elif one == REST:
            made += draw(st.lists(segment(ScalarType.STRING), max_size=3))
        else:
            made.append(one)
    return "/" + "/".join(made) + (":" + template.verb if template.verb else "")


@st.composite
def segments(draw: Any, element: Any) -> str:
    """A segment for a variable of this type."""
    return escaped(draw, draw(texts(element)))


def escaped(draw: Any, text: str) -> str:
    """The text percent-encoded as one segment or value, with or without what may stay as it is."""
    safe = draw(st.sampled_from(["", "~!$&'()*+,;=:@"]))
    return quote(text.encode("utf-8", "surrogatepass"), safe=safe)


def texts(element: Any) -> st.SearchStrategy[str]:
    """Texts for a path or a query that a type takes, nearly takes, or does not."""
    return st.sampled_from(known(element)) | st.sampled_from(_NEARLY + _TEXTS) | st.text(max_size=4)


def known(element: Any) -> list[str]:
    """Texts that mostly are of the type."""
    if isinstance(element, DescEnum):
        return _BY_KIND["enum"]
    if isinstance(element, DescMessage):
        inner = fields.wrapped(element) if fields.is_wrapper(element) else None
        return known(inner) if inner is not None else _BY_KIND.get(element.type_name, _TEXTS)
    if element in fields.INT_SCALARS:
        return _INTEGERS
    name = element.name.lower() if isinstance(element, ScalarType) else ""
    return _BY_KIND["double"] if name in ("float", "double") else _BY_KIND.get(name, _TEXTS)


@st.composite
def parameter(draw: Any, field: DescField) -> str:
    """`name=value` for a field, or for a field inside it."""
    parts, element = [draw(st.sampled_from([field.name, field.json_name]))], fields.element_of(field)
    below = fields.submessage(field)
    while below is not None and draw(st.booleans()):
        field = draw(st.sampled_from(list(below.fields)))
        parts.append(draw(st.sampled_from([field.name, field.json_name])))
        element, below = fields.element_of(field), fields.submessage(field)
    name = ".".join(parts)
    if isinstance(field.value, DescFieldValueMap) and draw(st.booleans()):
        name += f"[{draw(st.sampled_from(['a', 'b', '1', '']))}]"
    return f"{name}={escaped(draw, draw(texts(element)))}"


def message_of(desc: DescMessage, depth: int) -> st.SearchStrategy[Any]:
    """A JSON object of some of the fields, by either name."""
    if not (depth and desc.fields):
        return st.just({})
    keys = st.lists(st.sampled_from(list(desc.fields)), max_size=3, unique=True)
    return keys.flatmap(
        lambda chosen: st.fixed_dictionaries(
            {},
            optional={
                one.json_name if one.number % 2 else one.name: field_of(one, depth - 1) for one in chosen
            },
        )
    )


def field_of(field: DescField, depth: int) -> st.SearchStrategy[Any]:
    """A JSON value for the field."""
    value = _value(fields.element_of(field), depth)
    if isinstance(field.value, DescFieldValueList):
        return st.lists(value, max_size=2) | value
    if isinstance(field.value, DescFieldValueMap):
        return st.dictionaries(st.sampled_from(["a", "1", ""]), value, max_size=2)
    return value


def _value(element: Any, depth: int) -> st.SearchStrategy[Any]:
    """A JSON value that a type takes or nearly takes."""
    if isinstance(element, DescMessage) and not fields.has_special_json(element):
        return message_of(element, depth) | st.none()
    likely: st.SearchStrategy[Any] = st.sampled_from(known(element))
    if (
        isinstance(element, DescMessage)
        and not fields.is_wrapper(element)
        and element.type_name not in _BY_KIND
    ):
        likely = st.recursive(
            st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
            lambda below: (
                st.lists(below, max_size=2) | st.dictionaries(st.text(max_size=2), below, max_size=2)
            ),
            max_leaves=3,
        )
    loose = st.sampled_from(
        [
            0,
            1,
            -1,
            5,
            1.0,
            1.5,
            1e3,
            2**31,
            2**63,
            1e39,
            True,
            False,
            None,
            "",
            "1",
            "x",
            [],
            {},
            ["a"],
            {"a": 1},
        ]
    )
    return likely | likely | loose


@st.composite
def _bent(draw: Any, request: Request) -> Request:
    """The same request with one thing wrong, or odd."""
    bent, kind = dict(request), draw(st.integers(0, 8))
    path, mark, query = request["path"].partition("?")
    if kind == 0:
        bent["method"] = draw(
            st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
        )
    elif kind == 1:
        bent["path"] = (
            path
            + draw(st.sampled_from(["/", "//", ":cancel", ":other", "%", "%zz", "%ff", "%c0%af", "/x"]))
            + mark
            + query
        )
    elif kind == 2:
        extra = draw(
            st.sampled_from(
                [
                    "nope=1",
                    "=x",
                    "&",
                    "%ff=1",
                    "string_value=%zz",
                    "a[0]=1",
                    "name=other",
                    "id=2",
                    "item.title=q",
                    "int32_list[0]=1",
                    "sub.nope=1",
                    "x",
                    "[]=1",
                ]
            )
        )
        bent["path"] = f"{path}?{query}&{extra}" if query else f"{path}?{extra}"
    elif kind == 3 and query:
        bent["path"] = f"{path}?{query}&{query}"
    elif kind == 4 and "body" in request:
        body = request["body"]
        bent["body"] = draw(
            st.sampled_from(
                [
                    body + "x",
                    body + " {}",
                    body[:-1],
                    body.replace('"', "'"),
                    "\ufeff" + body,
                    "[" + body + "]",
                    "",
                    "null",
                    "5",
                    '""',
                    "[" * 200,
                    body[:1] + '"nope":1' + ("," if len(body) > 2 else "") + body[1:],
                ]
            )
        )
    elif kind == 5 and "body" in request:
        bent["headers"] = [
            [
                "Content-Type",
                draw(
                    st.sampled_from(
                        [
                            "text/plain",
                            "application/xml",
                            "application/json; charset=utf-8",
                            "APPLICATION/JSON",
                            "application/x-www-form-urlencoded",
                        ]
                    )
                ),
            ]
        ]
    elif kind == 6 and "body" not in request:
        bent |= {"headers": [JSON_TYPE], "body": "{}"}
    elif kind == 7:
        cut = draw(st.integers(0, len(path)))
        bent["path"] = (
            (path[:cut] + draw(st.sampled_from(["%41", "%2F", "%3A", "//", ";", "A", "%"])) + path[cut:])
            + mark
            + query
        )
        if not bent["path"].startswith("/"):
            bent["path"] = "/" + bent["path"]
    return bent
