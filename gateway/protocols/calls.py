"""A service's call on behalf of an HTTP client: cancelled when the client goes away, and told how it failed."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from gateway.backends import Backend
from gateway.exchange import GONE, ClientGoneError, Exchange
from gateway.metadata import Metadata
from gateway.protocols.failure import Failure, of_call
from gateway.transcoding.schema import Method

INITIAL_SECONDS = 1.0
"""How long a stream's headers wait for the service's: a watch may have nothing to say for hours."""


class CallFailedError(Exception):
    """The call ended with a status that is not OK."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.name)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Call:
    """One call under way."""

    handle: Any
    backend: Backend
    deadline: float | None

    @contextmanager
    def failing(self, exchange: Exchange) -> Iterator[None]:
        """Around every wait for the service; raises CallFailedError, or ClientGoneError when nobody waits any more."""
        try:
            with exchange.watch(self.handle.cancel):
                yield
        except grpc.aio.AioRpcError as error:
            if exchange.status == GONE:
                raise ClientGoneError from None
            raise CallFailedError(of_call(error, self.backend, self.deadline)) from None
        except asyncio.CancelledError:
            if exchange.status == GONE:
                raise ClientGoneError from None
            raise

    async def initial(self) -> Any:
        """The service's initial metadata; none when they take longer than a stream's headers may wait."""
        try:
            return await asyncio.wait_for(self.handle.initial_metadata(), INITIAL_SECONDS)
        except TimeoutError:
            return ()


def begin(backend: Backend, method: Method, wire: bytes, metadata: Metadata, timeout: float | None) -> Call:
    """Begin a call with one request message; `timeout` in seconds."""
    deadline = None if timeout is None else time.monotonic() + timeout
    call = backend.call(method.path, method.kind, retryable=method.retryable)
    return Call(call(wire, metadata=metadata, timeout=timeout), backend, deadline)
