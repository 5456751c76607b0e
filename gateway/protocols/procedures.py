"""The methods that can be called by their own names, found by path; made once at the start.

Left out are paths that a REST template takes, and streams that would carry a cookie's field past the cookies (`gateway.browser`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.browser.contract import CookieContract
from gateway.transcoding import fields, template
from gateway.transcoding.binding import RequestBinder
from gateway.transcoding.codec import Codec, MessageCodec
from gateway.transcoding.schema import HttpBinding, Method, Schema
from gateway.transcoding.transcoder import Transcoder


@dataclass(frozen=True, slots=True, eq=False)  # one object a method, so tables may be kept by procedure
class Procedure:
    """One method. `binder` is None where the request is any bytes (google.api.HttpBody), which have no JSON."""

    method: Method
    by_get: bool
    """Whether Connect may ask by GET: unary, NO_SIDE_EFFECTS, and no cookie has a part in it."""
    binder: RequestBinder | None
    response: MessageCodec

    @property
    def http_method(self) -> str:
        return "POST"

    @property
    def label(self) -> str:
        """What metrics call it."""
        return self.method.path


def find_procedures(transcoder: Transcoder, *, cookies: bool) -> dict[str, Procedure]:
    """Procedures by path, without those that REST has; with `cookies` the contract's cookie options count."""
    contract = CookieContract(transcoder.schema) if cookies else None
    return {
        procedure.label: procedure
        for procedure in _all(transcoder.schema, transcoder.codec, contract)
        if not transcoder.takes("POST", procedure.label)
    }


def _all(schema: Schema, codec: Codec, contract: CookieContract | None) -> Iterator[Procedure]:
    for method in schema.methods.values():
        touches_cookies = contract is not None and bool(contract.use_of(method))
        if touches_cookies and method.kind != "unary":
            continue
        by_get = method.kind == "unary" and not touches_cookies and method.reads_only
        yield Procedure(method, by_get, _binder(schema, method, codec), codec.message(method.output))


def _binder(schema: Schema, method: Method, codec: Codec) -> RequestBinder | None:
    if method.input.type_name == fields.HTTP_BODY:
        return None
    binding = HttpBinding("POST", method.path, "*", "")
    return RequestBinder(method, binding, template.parse(method.path), codec, frozenset(), schema.registry)
