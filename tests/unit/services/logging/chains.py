"""Chains for tests: events that differ in everything, chained with salts that are known."""

import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.logging.domain.chain import GENESIS, AuditEvent, ChainedEvent, link, plain_link

BEGINNING = datetime(2026, 11, 25, 12, tzinfo=UTC)


def event(number: int) -> AuditEvent:
    """An event like no other."""
    return AuditEvent(
        id=str(UUID(int=number)),
        time=BEGINNING + timedelta(seconds=number),
        service="bot_manager",
        actor=f"actor-{number}",
        action=f"/vivesphere.bot_manager.v1.BotService/Method{number}",
        resource=f"bots/{number}",
        outcome="OK",
        reason="",
        bot_id="",
        request_id=f"request-{number}",
        trace_id="",
        peer="127.0.0.1",
        peer_identity="spiffe://vivesphere/gateway",
        user_agent="curl/8 (é)",
        session_id="",
        request={"number": number, "share": number / 7, "names": ["ä", None, True]},
    )


def salt(number: int) -> bytes:
    """The salt of event `number`."""
    return hashlib.sha256(b"salt %d" % number).digest()


def chain(length: int, *, plain: int = 0) -> list[ChainedEvent]:
    """A sound chain; the first `plain` events are of format 1."""
    events: list[ChainedEvent] = []
    last = GENESIS
    for number in range(1, length + 1):
        made = event(number)
        events.append(
            plain_link(number, made, last) if number <= plain else link(number, made, last, salt(number))
        )
        last = events[-1].hash
    return events
