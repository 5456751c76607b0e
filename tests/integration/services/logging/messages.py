"""Messages as services publish them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mesh.ids import new_id
from mesh.messaging import Message
from tests.fakes.logging import a_message
from vivesphere.logging.v1 import log_batch_pb2, log_record_pb2


def message(subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> Message:
    """A delivery."""
    return a_message(subject, payload, headers)


def record(body: str, **fields: Any) -> log_record_pb2.LogRecord:
    """A record of now."""
    made = log_record_pb2.LogRecord(
        **{
            "id": new_id(),
            "category": log_record_pb2.LOG_CATEGORY_DEBUG,
            "severity": log_record_pb2.SEVERITY_INFO,
            "body": body,
            **fields,
        }
    )
    made.time.FromDatetime(datetime.now(UTC))
    return made


def batch(*records: log_record_pb2.LogRecord, service: str = "bot_manager") -> bytes:
    """A LogBatch."""
    return log_batch_pb2.LogBatch(
        id=new_id(), service=service, instance="test-1", first_sequence=1, records=records
    ).SerializeToString()
