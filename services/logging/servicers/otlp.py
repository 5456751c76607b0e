"""LogsService of OpenTelemetry: what collectors and SDKs export, taken in like records of our own.

Good records are stored and the others counted, with the first reason, as OTLP has it. What is over the bound is refused whole and at
once, with the time after which to export it again.
"""

import asyncio
import pkgutil
from datetime import timedelta
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc

import vivesphere
from mesh.clock import Clock
from mesh.context import current_call
from mesh.errors import ResourceExhausted
from services.logging.domain.records import Record
from services.logging.otlp import Refused, records_of
from services.logging.servicers.intake import CONSOLE_SERVICE, Keep

MAX_EXPORTS: Final = 8
"""Exports that are taken in at the same time; half of the database's connections."""
RETRY: Final = timedelta(seconds=1)
RECORDS_A_TURN: Final = 100
"""Records converted before others get their turn."""
_OWN_NAMES: Final = frozenset(
    {"gateway", CONSOLE_SERVICE, *(module.name for module in pkgutil.iter_modules(vivesphere.__path__))}
)


class OtlpServicer(logs_service_pb2_grpc.LogsServiceServicer):
    """See the module."""

    def __init__(self, keep: Keep, clock: Clock) -> None:
        self._keep = keep
        self._clock = clock
        self._running = 0

    async def Export(
        self, request: logs_service_pb2.ExportLogsServiceRequest, context: Any
    ) -> logs_service_pb2.ExportLogsServiceResponse:
        """Store what can be stored, count the rest."""
        if self._running >= MAX_EXPORTS:
            raise ResourceExhausted("OVERLOADED", "too many exports at once", retry_after=RETRY)
        self._running += 1
        try:
            return await self._export(request)
        finally:
            self._running -= 1

    async def _export(
        self, request: logs_service_pb2.ExportLogsServiceRequest
    ) -> logs_service_pb2.ExportLogsServiceResponse:
        call = current_call()
        if call is None:
            raise RuntimeError("this is a bug: records are taken in outside of a call")
        good: list[Record] = []
        reasons: list[str] = []
        items = records_of(request, self._clock.now(), call.actor, _OWN_NAMES - {call.peer})
        for count, item in enumerate(items):
            if count % RECORDS_A_TURN == 0:
                await asyncio.sleep(0)
            if isinstance(item, Refused):
                reasons.append(item.why)
            else:
                good.append(item)
        refused = await self._keep(good) if good else ()
        reasons += ["the database refuses it"] * len(refused)
        return _answer(reasons)


def _answer(reasons: list[str]) -> logs_service_pb2.ExportLogsServiceResponse:
    answer = logs_service_pb2.ExportLogsServiceResponse()
    if reasons:
        answer.partial_success.rejected_log_records = len(reasons)
        answer.partial_success.error_message = f"{len(reasons)} records rejected; the first: {reasons[0]}"
    return answer
