"""A message as the client writes it: protobuf, whose bytes pass as they are, or ProtoJSON, read as strictly as REST's bodies.

Protobuf is read once all the same (a microsecond for a small message): a service that cannot read a request calls it a failure of its
own, and the mistake is the client's.
"""

from typing import Final, Protocol

from gateway.answers import unprintable
from gateway.protocols.procedures import Procedure
from gateway.transcoding.binding import RequestParts
from gateway.transcoding.codec import CodecError
from gateway.transcoding.depth import too_deep
from gateway.transcoding.errors import UNIMPLEMENTED, GatewayError, malformed


class Form(Protocol):
    """How a client writes messages."""

    name: str

    def read(self, procedure: Procedure, data: bytes) -> bytes:
        """A request as wire bytes; raises GatewayError."""

    def write(self, procedure: Procedure, wire: bytes) -> bytes:
        """An answer's wire bytes as the client reads them; raises GatewayError INTERNAL for what has no such form."""


class _Proto:
    name = "proto"

    def read(self, procedure: Procedure, data: bytes) -> bytes:
        desc = procedure.method.input
        try:
            desc.type.from_binary(data)
        except RecursionError:
            raise too_deep() from None
        except ValueError:
            raise malformed(f"the message is no {desc.type_name}") from None
        return data

    def write(self, procedure: Procedure, wire: bytes) -> bytes:
        return wire


class _Json:
    name = "json"

    def read(self, procedure: Procedure, data: bytes) -> bytes:
        if procedure.binder is None:
            raise GatewayError(
                UNIMPLEMENTED, "NOT_IMPLEMENTED", "this method takes any bytes, which have no JSON"
            )
        return procedure.binder.bind([], RequestParts(body=data))

    def write(self, procedure: Procedure, wire: bytes) -> bytes:
        try:
            return procedure.response.to_json(wire)
        except CodecError:
            raise unprintable(procedure.method) from None


PROTO: Final[Form] = _Proto()
JSON: Final[Form] = _Json()
FORMS: Final = {form.name: form for form in (PROTO, JSON)}
