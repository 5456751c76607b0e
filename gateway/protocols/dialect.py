"""What a protocol has to know how to do. A dialect is made for one call; `door.py` drives it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from gateway.exchange import Exchange
from gateway.metadata import RequestHeaders
from gateway.protocols.failure import Failure
from gateway.protocols.headers import Header
from gateway.protocols.procedures import Procedure
from gateway.settings import Limits


class Dialect(ABC):
    """One call as its client speaks. Methods that read raise GatewayError."""

    @abstractmethod
    def timeout(self, headers: RequestHeaders) -> float | None:
        """Seconds that the client gives the call; None when it says nothing."""

    @abstractmethod
    async def request(self, exchange: Exchange, procedure: Procedure, limits: Limits) -> bytes:
        """The one request message, as wire bytes."""

    @abstractmethod
    async def fail(self, exchange: Exchange, failure: Failure) -> None:
        """Answer a call that failed before anything was sent."""


class UnaryDialect(Dialect):
    """For calls with one answer."""

    @abstractmethod
    async def answer(
        self,
        exchange: Exchange,
        procedure: Procedure,
        wire: bytes,
        initial: Any,
        trailing: Any,
        headers: Sequence[Header],
    ) -> None:
        """Send the answer. Raises GatewayError before anything is sent."""


class StreamDialect(Dialect):
    """For calls with a stream of answers."""

    @abstractmethod
    async def start(self, exchange: Exchange, initial: Any) -> None:
        """Begin."""

    @abstractmethod
    async def item(self, exchange: Exchange, procedure: Procedure, wire: bytes) -> None:
        """Send one answer. Raises GatewayError before anything of it is sent."""

    @abstractmethod
    async def end(self, exchange: Exchange, trailing: Any, failure: Failure | None) -> None:
        """End what was begun, well or with a failure."""
