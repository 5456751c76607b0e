"""An OTLP collector on the loopback that keeps what it is sent."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


@dataclass
class Collector(TraceServiceServicer):  # type: ignore[misc]  # the generated class is untyped
    """Spans with their attributes, events and status, as they came."""

    endpoint: str = ""
    exports: list[bytes] = field(default_factory=list)

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        """See TraceService."""
        self.exports.append(request.SerializeToString())
        return ExportTraceServiceResponse()

    @property
    def received(self) -> bytes:
        """Everything so far."""
        return b"\n".join(self.exports)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens on a free port."""
    server, collector = grpc.server(ThreadPoolExecutor(2)), Collector()
    add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(1).wait()
