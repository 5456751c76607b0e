"""What the contract says of each route that the edge has to know; read from descriptors once, at the start.

- Whether its answer can hold a secret: a field, at any depth, that is marked `debug_redact` or lives in a cookie. Such an
  answer is never compressed. So is none whose body the service made itself: nobody knows what it holds.
- Where its answer and its request have an etag (AIP-154): a text field `etag` of the message, or of the one resource that
  `response_body` or `body` names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from protobuf import DescField, DescFieldValueScalar, DescMessage, ScalarType

from gateway.browser.contract import CookieContract, reachable
from gateway.transcoding import fields
from gateway.transcoding.schema import HttpBinding, Schema
from gateway.transcoding.transcoder import Endpoint

ETAG = "etag"

Place = tuple[DescField, ...]
"""The fields that lead to an etag, outermost first; empty for none."""


@dataclass(frozen=True, slots=True)
class Traits:
    """Of one route."""

    compressible: bool
    answer_etag: Place
    request_etag: Place


def traits_of(schema: Schema, endpoints: Iterable[Endpoint]) -> Mapping[Endpoint, Traits]:
    """The traits of every endpoint."""
    cookies = CookieContract(schema)
    secret: dict[DescMessage, bool] = {}

    def has_secret(desc: DescMessage) -> bool:
        if desc not in secret:
            secret[desc] = any(_is_secret(cookies, field) for one in reachable(desc) for field in one.fields)
        return secret[desc]

    made = {}
    for endpoint in endpoints:
        method, binding = endpoint.method, _binding_of(endpoint)
        one_answer = method.kind == "unary" and not endpoint.renderer.raw
        made[endpoint] = Traits(
            compressible=one_answer and not has_secret(method.output),
            answer_etag=_answer_place(method.output, binding) if one_answer else (),
            request_etag=_request_place(method.input, binding) if method.kind == "unary" else (),
        )
    return made


def _binding_of(endpoint: Endpoint) -> HttpBinding:
    wanted = (endpoint.http_method, endpoint.label)
    return next(one for one in endpoint.method.bindings if (one.http_method, one.template) == wanted)


def _is_secret(cookies: CookieContract, field: DescField) -> bool:
    options = field.proto.options
    return options is not None and (bool(options.debug_redact) or cookies.is_cookie(field))


def _answer_place(desc: DescMessage, binding: HttpBinding) -> Place:
    return _below(desc, binding.response_body) if binding.response_body else _place(desc)


def _request_place(desc: DescMessage, binding: HttpBinding) -> Place:
    return _place(desc) or (_below(desc, binding.body) if binding.body not in ("", "*") else ())


def _below(desc: DescMessage, name: str) -> Place:
    field = fields.find(desc, name)
    resource = fields.submessage(field) if field is not None else None
    found = _place(resource) if resource is not None else ()
    return (field, *found) if field is not None and found else ()


def _place(desc: DescMessage) -> Place:
    field = fields.find(desc, ETAG)
    if field is None or fields.oneof_of(field) is not None:
        return ()
    is_text = isinstance(field.value, DescFieldValueScalar) and field.value.scalar is ScalarType.STRING
    return (field,) if is_text else ()
