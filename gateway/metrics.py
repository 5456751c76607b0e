"""Prometheus metrics of the gateway. Labels are route templates and method names, never raw paths."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
UNMATCHED = "unmatched"

# Seconds. A relay answers in about a millisecond; the top is the default deadline.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The counters of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "gateway_http_requests_total",
            "HTTP requests answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "gateway_http_request_seconds", "Time from the first byte to the end of the answer.",
            ["route"], buckets=_BUCKETS, registry=self._registry,
        )  # fmt: skip
        self._relayed = Counter(
            "gateway_grpc_relayed_total",
            "Calls relayed as gRPC, gRPC-Web or Connect.",
            ["method", "code"],
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "gateway_http_in_flight", "HTTP requests being answered.", registry=self._registry
        )
        self.connections = Gauge(
            "gateway_http_connections",
            "HTTP connections that stand, at the last look.",
            registry=self._registry,
        )
        self.connections_closed = Counter(
            "gateway_http_connections_closed_total",
            "HTTP connections ended by the gateway: idle for too long, or making room for others.",
            ["reason"],
            registry=self._registry,
        )
        self._counted: dict[tuple[str, str, int], Counter] = {}
        self._timed: dict[str, Histogram] = {}

    def show(self, name: str, what: str, read: Callable[[], float]) -> None:
        """A gauge whose value is read whenever the metrics are."""
        Gauge(name, what, registry=self._registry).set_function(read)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one HTTP answer; status 499 is a client that went away."""
        key = (method, route, status)
        counter = self._counted.get(key)
        if counter is None:
            counter = self._counted[key] = self._requests.labels(*map(str, key))
        counter.inc()
        timed = self._timed.get(route)
        if timed is None:
            timed = self._timed[route] = self._seconds.labels(route)
        timed.observe(seconds)

    def relayed(self, method: str, code: str) -> None:
        """Count one call by full method name and status code name; REST calls are counted by `answered`."""
        self._relayed.labels(method, code).inc()

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)
