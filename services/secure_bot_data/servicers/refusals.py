"""Readings that the chain refuses, put on the access trail.

A caller without permission, second factor, certificate or well-formed request never reaches RevealBotSecret or LeaseBotSecret, and
is just whom an auditor looks for. What the two methods refuse themselves is written by `domain.reading`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.audit import AuditTrail
from mesh.clock import Clock
from mesh.context import Call
from mesh.errors import InvalidArgument
from mesh.identity.peer import GATEWAY
from services.secure_bot_data.convert import to_ref
from services.secure_bot_data.domain.model import Access, AccessKind, Caller, SecretRef
from services.secure_bot_data.store.trail import PostgresTrail

READINGS: Final[Mapping[str, AccessKind]] = {
    "/vivesphere.secure_bot_data.v1.BotSecretService/RevealBotSecret": AccessKind.REVEAL,
    "/vivesphere.secure_bot_data.v1.BotSecretService/LeaseBotSecret": AccessKind.LEASE,
}
MAX_REASON_CHARS: Final = 500
"""What the contract allows; a refused request may hold more."""


class RefusedReadings:
    """Writes them. `new_id` gives UUIDv7."""

    def __init__(self, trail: PostgresTrail, clock: Clock, new_id: Callable[[], str]) -> None:
        self._trail = trail
        self._clock = clock
        self._new_id = new_id

    def follow(self, audit: AuditTrail) -> None:
        """Have the audit trail tell of every refused reading."""
        for path in READINGS:
            audit.on_refusal(path, self._note)

    async def _note(self, connection: AsyncConnection, call: Call) -> None:
        request = call.request
        ref = _about(request)
        if ref is None:
            return
        access = Access(
            id=self._new_id(),
            ref=ref,
            kind=READINGS[call.path],
            time=self._clock.now(),
            caller=Caller(_actor(call), call.address or call.host, call.request_id),
            reason=request.reason.replace("\0", "")[:MAX_REASON_CHARS],
            denied_reason=call.reason,
        )
        await self._trail.join(connection, access)


def _about(request: Any) -> SecretRef | None:
    """The secret that was asked for; None if there can be none of that name, or no bot that could list the row."""
    try:
        ref = to_ref(request.bot_id, request.name)
    except InvalidArgument:
        return None
    return ref if ref.name else None


def _actor(call: Call) -> str:
    """As far as it is known: empty where no credential held and no service called."""
    nobody = call.principal is None and call.peer in ("", GATEWAY)
    return "" if nobody else call.actor
