"""Taking in records from callers: the part of LogService that writes.

Who sends decides what may be sent. A user sends what the console in the browser reports, at a bounded rate, and the server says who and
what it was; a service of the mesh, known by its certificate, speaks for itself in every category but the one that makes the trail.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mesh.clock import Clock
from mesh.context import current_call
from mesh.errors import InvalidArgument, ResourceExhausted
from mesh.identity.peer import GATEWAY
from mesh.ids import new_id
from mesh.interceptors.stages import validate
from mesh.telemetry.records import cut_text
from services.logging import convert
from services.logging.domain.rates import CallerRates
from services.logging.domain.records import CONSOLE, TERMINAL, USER_ACTIVITY, Record, Rejected
from vivesphere.logging.v1 import log_record_pb2, log_service_pb2

CONSOLE_SERVICE: Final = "console"
MAX_CONSOLE_BODY_BYTES: Final = 8 * 1024
MAX_CONSOLE_ATTRIBUTES_BYTES: Final = 16 * 1024
MAX_ATTRIBUTES: Final = 64
"""The contract's."""
MAX_LISTED: Final = 1_000
"""Rejected records that the answer to a stream lists."""

Keep = Callable[[Sequence[Record]], Awaitable[Collection[str]]]
"""Stores records in one transaction and returns the ids of those that the database refuses for what is in them."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: a service of the mesh, or a user if `service` is empty."""

    service: str
    actor: str


class Intake:
    """Judges records one by one and stores the good ones."""

    def __init__(self, keep: Keep, rates: CallerRates, clock: Clock) -> None:
        self._keep = keep
        self._rates = rates
        self._clock = clock

    async def batch(
        self, request: log_service_pb2.IngestLogBatchRequest
    ) -> log_service_pb2.IngestLogBatchResponse:
        """Store the good records, say what is wrong with the others. Raises ResourceExhausted, Unavailable; nothing is stored then."""
        rejected = await self._take_in(request.records, 0)
        return log_service_pb2.IngestLogBatchResponse(
            accepted_count=len(request.records) - len(rejected), rejected=map(_rejection, rejected)
        )

    async def stream(
        self, requests: AsyncIterator[log_service_pb2.IngestLogsRequest]
    ) -> log_service_pb2.IngestLogsResponse:
        """The same for each message of a stream; what earlier messages brought stays stored whatever becomes of later ones."""
        response = log_service_pb2.IngestLogsResponse()
        count = accepted = 0
        async for request in requests:
            rejected = await self._take_in(request.records, count)
            count += len(request.records)
            accepted += len(request.records) - len(rejected)
            room = MAX_LISTED - len(response.rejected)
            response.rejected.extend(map(_rejection, rejected[:room]))
        response.accepted_count = min(accepted, convert.MAX_INT32)
        return response

    async def _take_in(self, messages: Collection[log_record_pb2.LogRecord], first: int) -> list[Rejected]:
        """What of these is not stored, by index; the first has index `first`."""
        sender = _sender()
        if not sender.service:
            wait = self._rates.take(sender.actor, len(messages))
            if wait:
                raise ResourceExhausted("OVERLOADED", "more records than a user may send", retry_after=wait)
        accepted: dict[int, Record] = {}
        rejected: list[Rejected] = []
        for index, message in enumerate(messages, first):
            verdict = self._judge(index, message, sender)
            if isinstance(verdict, Rejected):
                rejected.append(verdict)
            else:
                accepted[index] = verdict
        refused = await self._keep(list(accepted.values())) if accepted else ()
        rejected += _refusals(accepted, refused)
        return sorted(rejected, key=lambda item: item.index)

    def _judge(self, index: int, message: log_record_pb2.LogRecord, sender: Sender) -> Record | Rejected:
        fault = _fault_of_service(message, sender.service) if sender.service else _fault_of_user(message)
        if fault is None and len(message.attributes.fields) > MAX_ATTRIBUTES:
            fault = "INVALID_FIELD", "attributes", f"a record may have at most {MAX_ATTRIBUTES} attributes"
        if fault is None and message.HasField("audit"):
            fault = "INVALID_FIELD", "audit", "belongs to the category USER_ACTIVITY"
        if fault is not None:
            return Rejected(index, *fault)
        if not sender.service:
            message.ClearField("observed_time")
            message.service, message.actor = CONSOLE_SERVICE, sender.actor
        try:
            validate(message)
        except InvalidArgument as error:
            first = error.violations[0]
            return Rejected(index, error.reason, first.field, first.description)
        record = convert.record_from(message, self._clock.now(), id=new_id(), service=sender.service)
        return record if sender.service else _cut(record)


def _sender() -> Sender:
    call = current_call()
    if call is None:
        raise RuntimeError("this is a bug: records are taken in outside of a call")
    return Sender("" if call.peer == GATEWAY else call.peer, call.actor)


Fault = tuple[str, str, str]
"""Reason, field and sentence."""


def _fault_of_user(message: log_record_pb2.LogRecord) -> Fault | None:
    if message.category != CONSOLE:
        return "LOG_CATEGORY_NOT_ALLOWED", "category", "users may send the category CONSOLE only"
    if message.attributes.ByteSize() > MAX_CONSOLE_ATTRIBUTES_BYTES:
        limit = MAX_CONSOLE_ATTRIBUTES_BYTES // 1024
        return "INVALID_FIELD", "attributes", f"attributes of CONSOLE may take at most {limit} KiB"
    return None


def _fault_of_service(message: log_record_pb2.LogRecord, service: str) -> Fault | None:
    if message.category == USER_ACTIVITY:
        return "LOG_CATEGORY_NOT_ALLOWED", "category", "the trail is written by audited calls only"
    # Whoever starts processes passes on what they print.
    if message.service not in ("", service) and message.category != TERMINAL:
        return "INVALID_FIELD", "service", "a service speaks for itself only"
    return None


def _cut(record: Record) -> Record:
    """After redaction, which would not know half a secret."""
    body, cut = cut_text(record.body, MAX_CONSOLE_BODY_BYTES)
    if not cut:
        return record
    return replace(record, body=body, attributes={**record.attributes, "log.cut_bytes": cut})


def _refusals(accepted: dict[int, Record], ids: Collection[str]) -> Iterable[Rejected]:
    for index, record in accepted.items():
        if record.id in ids:
            yield Rejected(index, "INVALID_FIELD", "", "the database refuses it")


def _rejection(item: Rejected) -> log_service_pb2.RejectedLogRecord:
    return log_service_pb2.RejectedLogRecord(
        index=min(item.index, convert.MAX_INT32), reason=item.reason, field=item.field, message=item.message
    )
