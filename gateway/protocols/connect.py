"""Connect (connectrpc.com/docs/protocol): a unary call is one plain HTTP exchange, a stream is envelopes.

Unary errors have HTTP's status and a JSON body, trailing metadata are headers that begin with `trailer-`. A stream is 200 throughout;
how it ended is its last envelope, flag 0x02, in JSON. Answers are not compressed here.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from protobuf import Registry

from gateway.exchange import Exchange
from gateway.metadata import RequestHeaders
from gateway.protocols import envelopes
from gateway.protocols.compression import expand, require_supported
from gateway.protocols.connect_error import error_json
from gateway.protocols.dialect import Dialect, StreamDialect, UnaryDialect
from gateway.protocols.failure import Failure
from gateway.protocols.forms import Form
from gateway.protocols.headers import Header, outwards, texts
from gateway.protocols.procedures import Procedure
from gateway.settings import Limits
from gateway.transcoding.errors import HTTP_STATUS, Json, invalid
from gateway.transcoding.rendering import dump

STREAM_TYPE: Final = "application/connect+"
END: Final = 0x02
_JSON: Final = b"application/json"
_MILLISECONDS: Final = re.compile(r"[0-9]{1,10}")


class _Connect(Dialect):
    """What both kinds have in common."""

    def __init__(self, form: Form, registry: Registry) -> None:
        self._form = form
        self._registry = registry

    def timeout(self, headers: RequestHeaders) -> float | None:
        text = headers.get(b"connect-timeout-ms")
        if text is None:
            return None
        if _MILLISECONDS.fullmatch(text) is None:
            raise invalid("connect-timeout-ms", "expected up to 10 digits", "MALFORMED_REQUEST")
        return int(text) / 1000


class ConnectUnary(_Connect, UnaryDialect):
    """One unary call by POST; see `Dialect`."""

    @property
    def _type(self) -> bytes:
        return f"application/{self._form.name}".encode()

    async def request(self, exchange: Exchange, procedure: Procedure, limits: Limits) -> bytes:
        _require_version(
            exchange.headers.get(b"connect-protocol-version") or "1", "1", "connect-protocol-version"
        )
        encoding = require_supported(exchange.headers.get(b"content-encoding"))
        body = await exchange.read_body(limits.max_body_bytes, limits.body_timeout_seconds)
        return self._form.read(procedure, expand(body, encoding, limits.max_body_bytes))

    async def answer(
        self,
        exchange: Exchange,
        procedure: Procedure,
        wire: bytes,
        initial: Any,
        trailing: Any,
        headers: Sequence[Header],
    ) -> None:
        body = self._form.write(procedure, wire)
        said = [*outwards(initial), *outwards(trailing, "trailer-"), *headers]
        await exchange.respond(200, self._type, body, said)

    async def fail(self, exchange: Exchange, failure: Failure) -> None:
        status = HTTP_STATUS.get(failure.code, 500)
        headers = [*outwards(failure.trailing, "trailer-"), *failure.headers]
        await exchange.respond(status, _JSON, dump(error_json(failure, self._registry)), headers)


class ConnectGet(ConnectUnary):
    """One unary call by GET: the message is in the query. Parameters that Connect does not know are left alone, as it says."""

    def __init__(self, form: Form, registry: Registry, query: dict[str, str]) -> None:
        super().__init__(form, registry)
        self._query = query

    async def request(self, exchange: Exchange, procedure: Procedure, limits: Limits) -> bytes:
        query = self._query
        _require_version(query.get("connect", "v1"), "v1", "connect")
        encoding = require_supported(query.get("compression"))
        if "message" not in query:
            raise invalid("message", "expected in the query", "MALFORMED_REQUEST")
        data = _from_url(query["message"]) if query.get("base64") == "1" else query["message"].encode()
        return self._form.read(procedure, expand(data, encoding, limits.max_body_bytes))


class ConnectStream(_Connect, StreamDialect):
    """One call with a stream of answers; see `Dialect`."""

    @property
    def _type(self) -> bytes:
        return f"{STREAM_TYPE}{self._form.name}".encode()

    async def request(self, exchange: Exchange, procedure: Procedure, limits: Limits) -> bytes:
        encoding = require_supported(exchange.headers.get(b"connect-content-encoding"))
        most = limits.max_body_bytes + envelopes.HEAD_BYTES
        body = await exchange.read_body(most, limits.body_timeout_seconds)
        return self._form.read(procedure, envelopes.open_one(body, limits.max_body_bytes, encoding))

    async def start(self, exchange: Exchange, initial: Any) -> None:
        await exchange.start(200, [(b"content-type", self._type), *outwards(initial)])

    async def item(self, exchange: Exchange, procedure: Procedure, wire: bytes) -> None:
        await exchange.piece(envelopes.seal(0, self._form.write(procedure, wire)))

    async def end(self, exchange: Exchange, trailing: Any, failure: Failure | None) -> None:
        await exchange.piece(self._ending(trailing, failure), last=True)

    async def fail(self, exchange: Exchange, failure: Failure) -> None:
        await exchange.respond(200, self._type, self._ending(failure.trailing, failure), failure.headers)

    def _ending(self, trailing: Any, failure: Failure | None) -> bytes:
        made: Json = {}
        if failure is not None:
            made["error"] = error_json(failure, self._registry)
        metadata: dict[str, list[str]] = {}
        for key, value in texts(trailing):
            metadata.setdefault(key, []).append(value)
        if metadata:
            made["metadata"] = metadata
        return envelopes.seal(END, dump(made))


def query_of(text: str) -> dict[str, str]:
    """The query of a GET; raises GatewayError for a parameter of Connect's that is given twice or is no UTF-8."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=32)
    except ValueError:
        raise invalid("message", "the query cannot be read", "MALFORMED_REQUEST") from None
    query = dict(pairs)
    if len(query) != len(pairs):
        raise invalid("message", "a parameter is given twice", "MALFORMED_REQUEST")
    return query


def _from_url(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise invalid("message", "expected URL-safe base64", "MALFORMED_REQUEST") from None


def _require_version(given: str, known: str, where: str) -> None:
    if given != known:
        raise invalid(where, f"expected {known}", "MALFORMED_REQUEST")
