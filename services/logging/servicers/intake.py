"""Taking in records from callers: the part of LogService that writes."""

from mesh.clock import Clock
from mesh.context import current_call
from mesh.database import Database
from mesh.errors import InvalidArgument
from mesh.ids import new_id
from mesh.interceptors.stages import validate
from services.logging import convert
from services.logging.domain.records import CONSOLE, Record, Rejected
from services.logging.store.writing import RecordWriter
from vivesphere.logging.v1 import log_record_pb2, log_service_pb2

CONSOLE_SERVICE = "console"


class Intake:
    """Judges records one by one and stores the good ones."""

    def __init__(self, database: Database, store: RecordWriter, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock

    async def batch(
        self, request: log_service_pb2.IngestLogBatchRequest
    ) -> log_service_pb2.IngestLogBatchResponse:
        """Store the good records, say what is wrong with the others."""
        accepted: list[tuple[int, Record]] = []
        rejected: list[Rejected] = []
        for index, message in enumerate(request.records):
            verdict = self._judge(index, message)
            if isinstance(verdict, Rejected):
                rejected.append(verdict)
            else:
                accepted.append((index, verdict))
        if accepted:
            async with self._database.transaction() as connection:
                refused = await self._store.add(connection, [record for _, record in accepted])
            names = {refusal.record.id for refusal in refused}
            rejected += [
                Rejected(index, "INVALID_FIELD", "", "the database refuses it")
                for index, record in accepted
                if record.id in names
            ]
        return log_service_pb2.IngestLogBatchResponse(
            accepted_count=len(request.records) - len(rejected),
            rejected=[
                log_service_pb2.RejectedLogRecord(
                    index=item.index, reason=item.reason, field=item.field, message=item.message
                )
                for item in sorted(rejected, key=lambda item: item.index)
            ],
        )

    def _judge(self, index: int, message: log_record_pb2.LogRecord) -> Record | Rejected:
        """What a user sends is of the console, and by that user, whatever it says of itself."""
        call = current_call()
        if message.category != CONSOLE:
            return Rejected(
                index, "LOG_CATEGORY_NOT_ALLOWED", "category", "users may send the category CONSOLE only"
            )
        message.ClearField("observed_time")
        message.service, message.actor = CONSOLE_SERVICE, call.actor if call else ""
        try:
            validate(message)
        except InvalidArgument as error:
            first = error.violations[0]
            return Rejected(index, error.reason, first.field, first.description)
        return convert.record_from(message, self._clock.now(), id=new_id())
