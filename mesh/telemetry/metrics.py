"""Counters of calls."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram


class RpcMetrics:
    """Calls by method and code, their time, and how many are in flight."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._handled = Counter("grpc_server_handled", "Calls finished.", ["method", "code"], registry=registry)
        self._seconds = Histogram("grpc_server_handling_seconds", "Time of calls.", ["method"], registry=registry)
        self._in_flight = Gauge("grpc_server_in_flight", "Calls in flight.", registry=registry)

    def started(self, method: str) -> None:
        self._in_flight.inc()

    def finished(self, method: str, code: str, seconds: float) -> None:
        self._in_flight.dec()
        self._handled.labels(method, code).inc()
        self._seconds.labels(method).observe(seconds)
