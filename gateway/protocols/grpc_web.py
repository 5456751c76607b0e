"""gRPC-Web (grpc/grpc, doc/PROTOCOL-WEB.md): gRPC's envelopes in a body, trailers as the last of them.

The HTTP status is 200 whatever happens; how a call ended is `grpc-status`, in a last envelope with flag 0x80, or among the headers
when nothing else is to be sent and it is small enough for the header buffers of proxies. With `application/grpc-web-text` every piece
is base64 by itself. Values of `-bin` trailers are base64 in either: the text form's exception for them would break the lines
they stand in, and no client follows it.
"""

import base64
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from gateway.exchange import Exchange
from gateway.metadata import RequestHeaders
from gateway.protocols import envelopes
from gateway.protocols.compression import require_supported
from gateway.protocols.dialect import StreamDialect, UnaryDialect
from gateway.protocols.failure import Failure
from gateway.protocols.forms import Form
from gateway.protocols.headers import Header, outwards, texts, unpadded
from gateway.protocols.procedures import Procedure
from gateway.settings import Limits

TYPE: Final = "application/grpc-web"
TEXT_TYPE: Final = "application/grpc-web-text"
TRAILERS: Final = 0x80
MAX_HEADER_TRAILERS: Final = (
    2048  # bytes; proxies in front have 4 KiB for all headers (nginx: proxy_buffer_size)
)

# Everything that may stand unescaped in grpc-message (gRPC over HTTP/2, "Percent-Encoded"): printable ASCII but %.
_SAFE: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")

Line = tuple[str, str]


class GrpcWeb(UnaryDialect, StreamDialect):
    """One call in gRPC-Web; see `Dialect`. `text` is for the request, `text_answer` for what goes back."""

    def __init__(self, form: Form, *, text: bool, text_answer: bool) -> None:
        self._form = form
        self._text = text
        self._text_answer = text_answer
        self._type = f"{TEXT_TYPE if text_answer else TYPE}+{form.name}".encode()

    def timeout(self, headers: RequestHeaders) -> float | None:
        return headers.timeout()

    async def request(self, exchange: Exchange, procedure: Procedure, limits: Limits) -> bytes:
        encoding = require_supported(exchange.headers.get(b"grpc-encoding"))
        most = limits.max_body_bytes + envelopes.HEAD_BYTES
        body = await exchange.read_body(most * 3 // 2 if self._text else most, limits.body_timeout_seconds)
        if self._text:
            body = envelopes.from_text(body)
        return self._form.read(procedure, envelopes.open_one(body, limits.max_body_bytes, encoding))

    async def answer(
        self,
        exchange: Exchange,
        procedure: Procedure,
        wire: bytes,
        initial: Any,
        trailing: Any,
        headers: Sequence[Header],
    ) -> None:
        message = self._piece(0, self._form.write(procedure, wire))
        ending = self._piece(TRAILERS, _block(_lines(None, trailing)))
        await exchange.respond(200, self._type, message + ending, [*outwards(initial), *headers])

    async def start(self, exchange: Exchange, initial: Any) -> None:
        await exchange.start(200, [(b"content-type", self._type), *outwards(initial)])

    async def item(self, exchange: Exchange, procedure: Procedure, wire: bytes) -> None:
        await exchange.piece(self._piece(0, self._form.write(procedure, wire)))

    async def end(self, exchange: Exchange, trailing: Any, failure: Failure | None) -> None:
        await exchange.piece(self._piece(TRAILERS, _block(_lines(failure, trailing))), last=True)

    async def fail(self, exchange: Exchange, failure: Failure) -> None:
        lines = _lines(failure, failure.trailing)
        block = _block(lines)
        if len(block) <= MAX_HEADER_TRAILERS:
            told = [(key.encode(), value.encode("latin-1", "replace")) for key, value in lines]
            await exchange.respond(200, self._type, b"", [*told, *failure.headers])
        else:
            await exchange.respond(200, self._type, self._piece(TRAILERS, block), failure.headers)

    def _piece(self, flags: int, message: bytes) -> bytes:
        sealed = envelopes.seal(flags, message)
        return base64.b64encode(sealed) if self._text_answer else sealed


def _lines(failure: Failure | None, trailing: Any) -> list[Line]:
    """Trailers: how the call ended, and the service's own."""
    if failure is None:
        return [("grpc-status", "0"), *texts(trailing)]
    lines = [("grpc-status", str(failure.code)), ("grpc-message", quote(failure.message, safe=_SAFE))]
    if failure.details is not None:
        lines.append(("grpc-status-details-bin", unpadded(failure.details)))
    return [*lines, *texts(trailing)]


def _block(lines: Sequence[Line]) -> bytes:
    return "".join(f"{key}: {value}\r\n" for key, value in lines).encode("latin-1", "replace")
