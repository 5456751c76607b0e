"""What went wrong with a call, before a dialect says it: code, message, details and metadata of a status."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc

from gateway import failures
from gateway.backends import Backend
from gateway.metadata import details_of
from gateway.transcoding.errors import GatewayError

RESOURCE_EXHAUSTED: Final = 8
NAMES: Final = {code.value[0]: code.name for code in grpc.StatusCode}
_UNKNOWN: Final = 2
_UNIMPLEMENTED: Final = 12


@dataclass(frozen=True, slots=True)
class Failure:
    """A status that is not OK. `details` is a serialised google.rpc.Status, `headers` go along over HTTP."""

    code: int
    message: str
    details: bytes | None = None
    trailing: Any = ()
    headers: Sequence[tuple[bytes, bytes]] = ()

    @property
    def name(self) -> str:
        """The code's name, such as NOT_FOUND."""
        return NAMES[self.code]


def own(error: GatewayError) -> Failure:
    """A refusal of the gateway's, with the codes that remote procedure calls have for it."""
    code = _AS_CALLS_SAY.get(error.reason, error.code)
    status = error.to_status()
    status.code = code
    return Failure(code, error.message, status.SerializeToString(), headers=tuple(error.headers))


# gRPC's own words for what HTTP says as 413 and 404.
_AS_CALLS_SAY: Final = {"MESSAGE_TOO_LARGE": RESOURCE_EXHAUSTED, "ROUTE_NOT_FOUND": _UNIMPLEMENTED}


def of_call(error: grpc.aio.AioRpcError, backend: Backend, deadline: float | None) -> Failure:
    """How a service's call ended; `deadline` is a time of time.monotonic()."""
    trailing = error.trailing_metadata()
    details = details_of(trailing)
    made_here = failures.own_error(error, backend, deadline) if details is None else None
    if made_here is not None:
        return own(made_here)
    code: int = error.code().value[0]
    return Failure(code if code in NAMES else _UNKNOWN, error.details() or "", details, trailing)
