"""A message as the client writes it: protobuf, which passes as it is, or ProtoJSON, read as strictly as REST's bodies."""

from typing import Final, Protocol

from gateway.answers import unprintable
from gateway.protocols.procedures import Procedure
from gateway.transcoding.binding import RequestParts
from gateway.transcoding.codec import CodecError
from gateway.transcoding.errors import UNIMPLEMENTED, GatewayError


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
