"""What a failed gRPC call means to the client of the gateway.

A service of the mesh says why with details. A failure without them is gRPC's own, made on this side: the service could not
be reached, or the deadline passed; those get the gateway's reason and never the address of a service.
"""

import time
from typing import Final

import grpc

from gateway.backends import Backend
from gateway.http2.calls import AnswerTooLargeError
from gateway.metadata import details_of
from gateway.transcoding.errors import (
    DEADLINE_EXCEEDED,
    UNAVAILABLE,
    ErrorAnswer,
    GatewayError,
    StatusRenderer,
    unavailable,
)
from gateway.transcoding.errors import answer as answer_of

STOPPING: Final = GatewayError(UNAVAILABLE, "SHUTTING_DOWN", "the gateway is stopping; connect again")
CORE_TOO_LARGE: Final = "CLIENT: Received message larger than max"  # what gRPC's core says of an answer; it has no code of its own


def own_error(error: grpc.aio.AioRpcError, backend: Backend, deadline: float | None) -> GatewayError | None:
    """The gateway's own error for a failure made on this side; None when the service itself answered.

    `deadline` is a time of time.monotonic().
    """
    code = error.code().value[0]
    if _is_too_large(error):  # 429 would make clients come again for the same answer
        return GatewayError(code, "MESSAGE_TOO_LARGE", "the answer is over the limit", http_status=500)
    if code == UNAVAILABLE and not backend.is_connected():
        return unavailable(backend.name)
    if code == DEADLINE_EXCEEDED and deadline is not None and time.monotonic() >= deadline:
        return GatewayError(
            DEADLINE_EXCEEDED,
            "DEADLINE_TOO_SHORT",
            f"the deadline passed before {backend.name} answered",
            metadata={"service": backend.name},
        )
    return None


def _is_too_large(error: grpc.aio.AioRpcError) -> bool:
    if isinstance(error, AnswerTooLargeError):
        return True
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and CORE_TOO_LARGE in (error.details() or "")


def to_http(
    error: grpc.aio.AioRpcError, backend: Backend, deadline: float | None, statuses: StatusRenderer
) -> ErrorAnswer:
    """The HTTP answer for a failed call."""
    details = details_of(error.trailing_metadata())
    own = own_error(error, backend, deadline) if details is None else None
    if own is not None:
        return answer_of(own)
    code: int = error.code().value[0]
    return statuses.render(code, error.details() or "", details)
