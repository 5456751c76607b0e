"""Wild requests that arrive: nearly all of them are for a method that exists.

A request made of wild pieces alone finds no method and ends at the router, where few mistakes are. So the path comes from a template of
the contract, the query's names are fields of the request message or nearly so, and the body is one that the method might take. A third
is right in every part, a third is right but for one part, and a share is left to chance alone.
"""

import base64
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from gateway.transcoding import fields
from gateway.transcoding.schema import HttpBinding, Method, Schema
from tests.integration.gateway import fitting, forms, making, wild
from tests.integration.gateway.making import JSON_TYPE, Request

_files = st.binary(max_size=60) | forms.forms().map(b"".join)
PARTS = ("path", "query", "body")


def aimed(schema: Schema) -> st.SearchStrategy[Request]:
    """Requests as `ask` takes them, without headers but the body's own."""
    targets = [(method, binding) for method in schema.methods.values() for binding in method.bindings]
    keys = names_of(schema)
    target = one_of_them(targets)
    right = target.flatmap(lambda one: _at(*one, keys, ""))
    bent = st.tuples(target, st.sampled_from(PARTS)).flatmap(lambda one: _at(*one[0], keys, one[1]))
    by_chance = st.builds(_request, wild.METHODS, wild.PATHS, wild.queries(keys), wild.bodies(keys))
    valid = making.requests(schema)
    kinds = [right, right, right, bent, bent, bent, valid, valid, by_chance]
    # one_of would weigh them by the alternatives in each
    return st.sampled_from(kinds).flatmap(lambda kind: kind)


def one_of_them(items: Sequence[Any]) -> st.SearchStrategy[Any]:
    """As sampled_from, for things whose representation takes minutes to print; a mistake in a strategy prints all of it."""
    return st.integers(0, len(items) - 1).map(lambda index: items[index])


def names_of(schema: Schema) -> list[str]:
    """The names of all fields of request messages, of both kinds."""
    found: dict[str, None] = {}
    for method in schema.methods.values():
        for field in method.input.fields:
            found |= dict.fromkeys((field.name, field.json_name))
    return list(found)


def with_headers(
    requests: st.SearchStrategy[Request], headers: st.SearchStrategy[list[list[str]]]
) -> st.SearchStrategy[Request]:
    """The same requests with further headers."""
    return st.builds(
        lambda request, more: request | {"headers": [*request.get("headers", ()), *more]}, requests, headers
    )


def _request(method: str, path: str, query: str, body: bytes | None, kind: str = "") -> Request:
    made: Request = {"method": method, "path": f"{path}?{query}" if query else path}
    if body is not None:
        made["body"] = {"base64": base64.b64encode(body).decode()}
    if kind:
        made["headers"] = [["Content-Type", kind]]
    return made


@st.composite
def _at(draw: Any, method: Method, binding: HttpBinding, keys: list[str], wild_part: str) -> Request:
    """A request for one route, right but for one part."""
    path = making.path_to(draw, method, binding, _segment if wild_part == "path" else fitting.segment)
    query = draw(_query(method, binding, keys) if wild_part == "query" else fitting.query(method, binding))
    body, kinds = None, [JSON_TYPE[1], ""]
    if making.takes_bytes(method, binding):
        body = draw(_files if wild_part == "body" else st.just(b"".join(forms.FORM)))
        kinds = [*forms.TYPES[:2], "image/png", ""]
    elif wild_part == "body":
        body = draw(_bodies(method, binding, keys))
    elif binding.body:
        body = draw(fitting.body(method, binding))
    verb = binding.http_method
    if verb == "GET":
        verb = draw(st.sampled_from(["GET", "GET", "GET", "HEAD"]))
    return _request(verb, path, query, body, draw(st.sampled_from(kinds)) if body else "")


@st.composite
def _segment(draw: Any, element: Any) -> str:
    """A segment for a variable of this type: one that fits, nearly fits, or is anything."""
    if draw(st.integers(0, 2)) == 0:
        return str(draw(fitting.segment(element)))
    return str(draw(wild.PIECE)) if draw(st.booleans()) else making.escaped(draw, draw(making.texts(element)))


@st.composite
def _query(draw: Any, method: Method, binding: HttpBinding, keys: list[str]) -> str:
    """A query that is right, and then something done to it or put beside it."""
    query = draw(fitting.query(method, binding))
    how = draw(st.integers(0, 3))
    if how == 0:
        at = draw(st.integers(0, len(query)))
        odd = draw(st.sampled_from([".", "[", "]", "[a]", "=", "%5B", "_", "%", "&", "+"]))
        return str(query[:at] + odd + query[at:])
    if how == 1 and method.input.fields:
        more = draw(st.sampled_from(list(method.input.fields)).flatmap(making.parameter))
    elif how == 2 and query:
        more = query.partition("=")[0] + "=" + draw(st.sampled_from(wild.VALUES))
        query = query.partition("&")[2]
    else:
        more = draw(wild.queries(keys))
    return f"{query}&{more}" if query else str(more)


def _bodies(method: Method, binding: HttpBinding, keys: list[str]) -> st.SearchStrategy[bytes]:
    """Bodies that the method nearly takes, and others."""
    if not binding.body:
        return wild.bodies(keys)
    field = fields.find(method.input, binding.body) if binding.body != "*" else None
    values = making.message_of(method.input, 3) if field is None else making.field_of(field, 3)
    nearly = values.map(lambda value: json.dumps(value).encode())
    if method.kind in ("client_streaming", "bidi_streaming"):
        items = st.lists(nearly | wild.texts(keys), max_size=4)
        nearly = items.map(b"\n".join) | items.map(lambda made: b"[" + b",".join(made) + b"]")
    return st.one_of(nearly, wild.spoilt(fitting.body(method, binding)), wild.bodies(keys))
