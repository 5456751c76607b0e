"""Prometheus metrics of the gateway. Labels are route templates and method names, never raw paths."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
UNMATCHED = "unmatched"

# Seconds. A relay answers in about a millisecond; the top is the default deadline.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class HttpMetrics(Collector):
    """What every HTTP request counts. Plain numbers of one event loop, made into metrics when somebody asks: prometheus-client's own
    counters take a lock for each, which cost as much as routing did."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, int], int] = {}
        self._times: dict[
            str, list[float]
        ] = {}  # by route: a count for each bucket and for what is above, then the sum

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one HTTP answer; status 499 is a client that went away."""
        key = (method, route, status)
        self._answers[key] = self._answers.get(key, 0) + 1
        times = self._times.get(route)
        if times is None:
            times = self._times[route] = [0.0] * (len(_BUCKETS) + 2)
        times[bisect_left(_BUCKETS, seconds)] += 1
        times[-1] += seconds

    def collect(self) -> Iterator[Metric]:
        """As metrics of Prometheus."""
        counted = CounterMetricFamily(
            "gateway_http_requests", "HTTP requests answered.", labels=["method", "route", "status"]
        )
        for (method, route, status), count in list(self._answers.items()):
            counted.add_metric([method, route, str(status)], count)
        yield counted
        timed = HistogramMetricFamily(
            "gateway_http_request_seconds",
            "Time from the first byte to the end of the answer.",
            labels=["route"],
        )
        for route, (*counts, total) in list(self._times.items()):
            edges = [*map(floatToGoString, _BUCKETS), "+Inf"]
            timed.add_metric([route], list(zip(edges, accumulate(counts), strict=True)), total)
        yield timed


class Metrics:
    """The counters of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.http = HttpMetrics()
        self._registry.register(self.http)
        self._relayed = Counter(
            "gateway_grpc_relayed_total",
            "Calls relayed as gRPC, gRPC-Web or Connect.",
            ["method", "code"],
            registry=self._registry,
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

    def show(self, name: str, what: str, read: Callable[[], float]) -> None:
        """A gauge whose value is read whenever the metrics are."""
        Gauge(name, what, registry=self._registry).set_function(read)

    def relayed(self, method: str, code: str) -> None:
        """Count one call by full method name and status code name; HTTP answers are counted by `http`."""
        self._relayed.labels(method, code).inc()

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)
