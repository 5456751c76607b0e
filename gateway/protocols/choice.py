"""Which dialect a request is in, by its HTTP method, Content-Type and Accept."""

from typing import Final

from protobuf import Registry

from gateway.exchange import Exchange
from gateway.protocols.connect import STREAM_TYPE, ConnectGet, ConnectStream, ConnectUnary, query_of
from gateway.protocols.dialect import Dialect, StreamDialect, UnaryDialect
from gateway.protocols.forms import FORMS, PROTO
from gateway.protocols.grpc_web import TEXT_TYPE, TYPE, GrpcWeb
from gateway.protocols.procedures import Procedure
from gateway.transcoding.errors import GatewayError, invalid, malformed
from gateway.transcoding.transcoder import wrong_method

_UNARY_PREFIX: Final = "application/"
TAKEN: Final = b"application/json, application/proto, application/grpc-web+proto, application/connect+proto"


class Choice:
    """Chooses; `registry` resolves the types of errors' details."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def of(self, exchange: Exchange) -> Dialect | None:
        """The dialect of a POST; None for what is none of ours."""
        kind = exchange.headers.content_type
        if kind.startswith(TYPE):
            return _grpc_web(kind, exchange.headers.get(b"accept") or "")
        if kind.startswith(STREAM_TYPE):
            form = FORMS.get(kind.removeprefix(STREAM_TYPE))
            return None if form is None else ConnectStream(form, self._registry)
        form = FORMS.get(kind.removeprefix(_UNARY_PREFIX)) if kind.startswith(_UNARY_PREFIX) else None
        return None if form is None else ConnectUnary(form, self._registry)

    def for_call(self, exchange: Exchange, procedure: Procedure) -> Dialect:
        """The dialect of a call; raises GatewayError 405 or 415 when there is none that fits the method."""
        if exchange.method == "GET" and procedure.by_get:
            return self._by_get(exchange)
        if exchange.method != "POST":
            raise wrong_method(["GET", "POST"] if procedure.by_get else ["POST"])
        found = self.of(exchange)
        wanted = UnaryDialect if procedure.method.kind == "unary" else StreamDialect
        if found is None or not isinstance(found, wanted):
            raise unsupported(procedure)
        return found

    def _by_get(self, exchange: Exchange) -> Dialect:
        query = query_of(exchange.query)
        form = FORMS.get(query.get("encoding", ""))
        if form is None:
            raise malformed("expected encoding=json or encoding=proto in the query", http_status=415)
        return ConnectGet(form, self._registry, query)


def unsupported(procedure: Procedure) -> GatewayError:
    """415 with what would do."""
    stream = procedure.method.kind != "unary"
    kinds = "application/grpc-web+proto or application/connect+proto" if stream else TAKEN.decode()
    error = invalid("content-type", f"expected {kinds}", "MALFORMED_REQUEST")
    error.http_status = 415
    error.headers = [(b"accept-post", TAKEN)]
    return error


def _grpc_web(kind: str, accept: str) -> Dialect | None:
    """None for a message form that is neither protobuf nor JSON."""
    base, _, name = kind.partition("+")
    form = FORMS.get(name) if name else PROTO
    if form is None or base not in (TYPE, TEXT_TYPE):
        return None
    text = base == TEXT_TYPE
    text_answer = TEXT_TYPE in accept if TYPE in accept else text
    return GrpcWeb(form, text=text, text_answer=text_answer)
