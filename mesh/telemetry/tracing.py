"""Trace ids after W3C Trace Context, carried along always; spans exported over OTLP only where an endpoint is set.

Without `OTEL_EXPORTER_OTLP_ENDPOINT` nothing of OpenTelemetry is imported. With it, `exporter` returns an object that turns finished
calls into spans with the ids that logs and outgoing calls already carry, and sends them in batches from a thread of its own.
"""

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
SAMPLED: Final = 1
# https://www.w3.org/TR/trace-context-2/#traceparent-header: later versions may append fields, version ff and ids of zeros are invalid.
_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Trace:
    """Where in which trace: ids in lower-case hex. `parent_span_id` is empty at the root."""

    trace_id: str
    span_id: str
    flags: int = SAMPLED
    parent_span_id: str = ""

    @classmethod
    def new(cls) -> Self:
        """A trace that begins here."""
        return cls(new_trace_id(), new_span_id())

    def child(self) -> Self:
        """A new span below this one."""
        return replace(self, span_id=new_span_id(), parent_span_id=self.span_id)

    @property
    def traceparent(self) -> str:
        """The header for a call that this span makes."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def new_trace_id() -> str:
    """32 hex digits, not all zero."""
    return f"{secrets.randbits(128) or 1:032x}"


def new_span_id() -> str:
    """16 hex digits, not all zero."""
    return f"{secrets.randbits(64) or 1:016x}"


def parse_traceparent(header: str) -> Trace | None:
    """The caller's span, or None if the header is missing or malformed: then a new trace begins."""
    match = _TRACEPARENT.fullmatch(header)
    if match is None or (match[1] == "00" and match[5]):
        return None
    return Trace(match[2], match[3], int(match[4], 16))


class SpanSink:
    """Finished spans on their way to the OTLP endpoint. `close` flushes, within the SDK's own time limit of 30 seconds."""

    def __init__(self, service: str, instance: str, span_exporter: "SpanExporter") -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._resource = Resource.create({"service.name": service, "service.instance.id": instance})
        self._processor = BatchSpanProcessor(span_exporter)

    def finished(
        self,
        name: str,
        trace: Trace,
        start_ns: int,
        end_ns: int,
        attributes: Mapping[str, str | int | float | bool],
        *,
        failed: bool = False,
        client: bool = False,
    ) -> None:
        """Hand over one span; Unix times in nanoseconds. Drops silently what does not fit into the SDK's bounded queue."""
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        def context(span_id: str) -> SpanContext:
            return SpanContext(int(trace.trace_id, 16), int(span_id, 16), False, TraceFlags(trace.flags))

        self._processor.on_end(
            ReadableSpan(
                name=name,
                context=context(trace.span_id),
                parent=context(trace.parent_span_id) if trace.parent_span_id else None,
                resource=self._resource,
                attributes=dict(attributes),
                kind=SpanKind.CLIENT if client else SpanKind.SERVER,
                status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
                start_time=start_ns,
                end_time=end_ns,
            )
        )

    def close(self) -> None:
        """Flush and stop."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # the SDK leaves it without annotations


def exporter(service: str, instance: str) -> SpanSink | None:
    """Where spans go, or None if no endpoint is set in the environment."""
    if not os.environ.get(ENDPOINT):
        return None
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return SpanSink(service, instance, OTLPSpanExporter())
