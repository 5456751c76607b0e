"""The process's metrics, in the names and units of Prometheus, and their exposition as text.

One registry a process. Labels are bounded: methods come from the contracts, codes from gRPC, severities from the log model; ids and
addresses never become labels.
"""

from typing import Final, NamedTuple

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
# From the few hundred microseconds of a local read to the 30 s of the longest deadline.
LATENCY_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

registry: Final = CollectorRegistry()
ProcessCollector(registry=registry)
PlatformCollector(registry=registry)
GCCollector(registry=registry)

_calls = Counter(
    "vivesphere_rpc_server_calls", "Calls served, by outcome.", ("method", "code"), registry=registry
)
_latency = Histogram(
    "vivesphere_rpc_server_duration_seconds",
    "Time from the first stage to the last, streams until their end.",
    ("method",),
    buckets=LATENCY_SECONDS,
    registry=registry,
)
_in_flight = Gauge(
    "vivesphere_rpc_server_in_flight", "Calls being served now.", ("method",), registry=registry
)
outbox_oldest_age_seconds: Final = Gauge(
    "vivesphere_outbox_oldest_age_seconds",
    "Age of the oldest message that was committed and is not published; 0 when none waits.",
    registry=registry,
)
messaging_connected: Final = Gauge(
    "vivesphere_messaging_connected", "1 while there is a connection to NATS.", registry=registry
)
log_queue_records: Final = Gauge(
    "vivesphere_log_queue_records", "Log records in memory that wait to be shipped.", registry=registry
)
log_spool_bytes: Final = Gauge(
    "vivesphere_log_spool_bytes", "Log batches on disk that wait for NATS, in bytes.", registry=registry
)
log_dropped_records: Final = Counter(
    "vivesphere_log_dropped_records", "Log records shed, by severity.", ("severity",), registry=registry
)
log_console_dropped_lines: Final = Counter(
    "vivesphere_log_console_dropped_lines",
    "Log lines shed because standard output was read too slowly.",
    registry=registry,
)


FAILED: Final = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE", "DEADLINE_EXCEEDED"})
"""Codes that are the server's fault and not the caller's."""


class RpcTotals(NamedTuple):
    """Calls that ended since the process began, and those of them that failed by the server's fault."""

    calls: int
    failed_calls: int


class RpcMetrics:
    """Calls that this process serves. Looking a labelled child up costs more than counting, so each is looked up once."""

    def __init__(self) -> None:
        self._ended = self._failed = 0
        self._in_flight: dict[str, Gauge] = {}
        self._latency: dict[str, Histogram] = {}
        self._calls: dict[tuple[str, str], Counter] = {}

    def started(self, method: str) -> None:
        """A call came in. `method` is a path of the contract."""
        gauge = self._in_flight.get(method)
        if gauge is None:
            gauge = self._in_flight[method] = _in_flight.labels(method)
            self._latency[method] = _latency.labels(method)
        gauge.inc()

    def finished(self, method: str, code: str, seconds: float) -> None:
        """It ended; `code` is the name of its gRPC status."""
        counter = self._calls.get((method, code))
        if counter is None:
            counter = self._calls[method, code] = _calls.labels(method, code)
        counter.inc()
        self._ended += 1
        self._failed += code in FAILED
        self._in_flight[method].dec()
        self._latency[method].observe(seconds)

    def totals(self) -> RpcTotals:
        """What ended so far."""
        return RpcTotals(self._ended, self._failed)


def render() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(registry)


def serve_metrics(listen: str) -> None:
    """Let Prometheus scrape at `host:port`, from a thread of its own. Raises OSError if the address is taken."""
    host, _, port = listen.rpartition(":")
    start_http_server(int(port), addr=host, registry=registry)
