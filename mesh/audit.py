"""Puts every audited call on the trail: the record and the action commit together, or neither does.

`AuditTrail.join` is a hook of the database: it runs inside the first transaction of an audited call and writes the record to the
outbox there. A call that ends without a transaction of its own, or fails, or is refused, gets its record when it leaves the chain.
If a call succeeded but its record cannot be written, the call fails: what is not on the trail was not done.

A call that the chain refuses never reaches its handler, so a service that keeps a trail of its own learns of it by `on_refusal` only.

What a service finds out or does by itself (a stolen token, a key rotated on schedule) is put on the trail by `note`, in the
transaction of what is done about it.

The record travels on `audit.<service>`; logging chains and keeps it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias

from loguru import logger
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.clock import Clock
from mesh.context import Call, current_call
from mesh.database import Database
from mesh.errors import MeshError
from mesh.ids import is_uuid, new_id
from mesh.interceptors.chain import ServicerContext
from mesh.outbox import Outbox
from mesh.redaction import redact_details, redact_message
from vivesphere.logging.v1 import log_record_pb2

MAX_PEER_CHARS = 64

RefusalHook = Callable[[AsyncConnection, Call], Awaitable[None]]


Conclude: TypeAlias = Callable[[AsyncConnection, Sequence[Call | None]], Awaitable[Callable[[], None] | None]]
"""`AuditTrail.conclude`, for stores that commit the actions of many calls at once."""


async def unaudited(connection: AsyncConnection, calls: Sequence[Call | None]) -> None:
    """A `Conclude` for whoever serves no calls."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Something that belongs on the trail and is no call: `action` is of the form "session.token_reused"."""

    action: str
    resource: str
    """What it was about, as a path such as `sessions/0190…`."""
    actor: str = ""
    """Who did it; empty: whoever calls, or the service itself outside of calls."""
    session_id: str = ""
    warning: bool = False
    """True for what somebody should look at."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What is to be known of it, as JSON: for a change, what was before and what is now. Redacted, and cut at 16 KiB."""


class AuditTrail:
    """The audit stage of a service's chain, and its hook into transactions."""

    name = "audit"

    def __init__(self, service: str, instance: str, database: Database, outbox: Outbox, clock: Clock) -> None:
        self._service = service
        self._instance = instance
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._on_refusal: dict[str, RefusalHook] = {}
        database.before_commit(self.join)

    def on_refusal(self, path: str, hook: RefusalHook) -> None:
        """Run `hook` in the transaction that records a refused call of the audited method at `path`.

        Refused: by a stage behind this one (access, deadline, validation), with `call.reason` saying why; the handler was not
        reached. The request, if any, is what the stranger sent: nothing of it has been checked. What the handler refuses itself is
        not told here, nor what overload turns away, which nobody has looked at.
        """
        self._on_refusal[path] = hook

    async def join(self, connection: AsyncConnection) -> Callable[[], None] | None:
        """Write the record of the call being served into its transaction, once."""
        call = current_call()
        return None if call is None else await self.conclude(connection, [call])

    async def conclude(
        self, connection: AsyncConnection, calls: Sequence[Call | None]
    ) -> Callable[[], None] | None:
        """Write the records of calls whose actions are committed together. What it returns is to be called after the commit."""
        written = [
            call
            for call in calls
            if call is not None and call.policy and call.policy.audit and not (call.audited or call.outcome)
        ]
        if not written:
            return None
        await self._add(connection, [self._record(call, "OK") for call in written])

        def audited() -> None:
            for call in written:
                call.audited = True

        return audited

    async def enter(self, call: Call, request: Any, context: ServicerContext) -> None:
        if call.policy is not None and call.policy.audit:
            call.request = request

    async def leave(self, call: Call) -> None:
        if call.policy is None or not call.policy.audit or (call.audited and call.outcome == "OK"):
            return
        try:
            async with self._database.transaction(concludes=False) as connection:
                await self._write(connection, call, call.outcome)
                await self._tell_refusal(connection, call)
        except MeshError as error:
            logger.bind(rpc_method=call.path, rpc_code=call.outcome, reason=error.reason).error(
                "audit record not written"
            )
            if call.outcome == "OK":
                raise
        else:
            call.audited = True

    async def note(self, connection: AsyncConnection, event: AuditEvent) -> None:
        """Put an event on the trail in the caller's transaction. What is known of the call being served is recorded with it."""
        record = self._base(current_call(), event.actor, warning=event.warning)
        record.body = event.action
        record.audit.action = event.action
        record.audit.resource = event.resource
        record.audit.outcome = "OK"
        record.audit.session_id = event.session_id
        if event.details:
            record.audit.request.update(redact_details(event.details))
        await self._add(connection, [record])

    async def _tell_refusal(self, connection: AsyncConnection, call: Call) -> None:
        hook = self._on_refusal.get(call.path)
        # A caller who hung up before anybody had decided was not refused and has no reason.
        if hook is not None and call.reason and not call.admitted:
            await hook(connection, call)

    async def _write(self, connection: AsyncConnection, call: Call, outcome: str) -> None:
        await self._add(connection, [self._record(call, outcome)])

    async def _add(self, connection: AsyncConnection, records: Sequence[log_record_pb2.LogRecord]) -> None:
        messages = [(record.id, record.SerializeToString()) for record in records]
        await self._outbox.add_many(connection, f"audit.{self._service}", messages)

    def _record(self, call: Call, outcome: str) -> log_record_pb2.LogRecord:
        record = self._base(call, call.actor, warning=outcome != "OK")
        record.body = f"{call.path.rpartition('/')[2]} {outcome}"
        record.audit.action = call.path
        record.audit.resource = call.resource
        record.audit.outcome = outcome
        record.audit.reason = call.reason
        record.audit.session_id = call.principal.session_id if call.principal else ""
        record.audit.duration.FromTimedelta(
            timedelta(seconds=max(0.0, self._clock.monotonic() - call.started))
        )
        if call.request is not None:
            record.audit.request.update(redact_message(call.request))
        return record

    def _base(self, call: Call | None, actor: str, *, warning: bool) -> log_record_pb2.LogRecord:
        """Who, when and where: the same for calls and events."""
        own = f"spiffe://vivesphere/{self._service}"
        record = log_record_pb2.LogRecord(
            id=new_id(),
            category=log_record_pb2.LOG_CATEGORY_USER_ACTIVITY,
            severity=log_record_pb2.SEVERITY_WARN if warning else log_record_pb2.SEVERITY_INFO,
            severity_text="WARN" if warning else "INFO",
            service=self._service,
            instance=self._instance,
            actor=actor or (call.actor if call else own),
        )
        if call is not None:
            record.bot_id = call.bot_id if is_uuid(call.bot_id) else ""
            record.request_id, record.trace_id, record.span_id = call.request_id, call.trace_id, call.span_id
            record.audit.peer = call.address[:MAX_PEER_CHARS]
            record.audit.peer_identity = f"spiffe://vivesphere/{call.peer}" if call.peer else ""
            record.audit.user_agent = call.user_agent
        now = self._clock.now()
        record.time.FromDatetime(now)
        record.observed_time.FromDatetime(now)
        return record
