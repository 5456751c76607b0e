"""Trace ids survive the way through the mesh, and nothing malformed gets into it."""

import os
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mesh.telemetry.metrics import RpcMetrics, render
from mesh.telemetry.tracing import SpanSink, Trace, exporter, parse_traceparent

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"  # W3C Trace Context, section 3.2.4


def test_a_traceparent_is_read_and_written_back() -> None:
    """Every hop reads the header of the one before."""
    trace = parse_traceparent(GOOD)
    assert trace == Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", 1)
    assert trace is not None
    assert trace.traceparent == GOOD
    child = trace.child()
    assert (child.trace_id, child.parent_span_id) == (trace.trace_id, trace.span_id)
    assert child.span_id != trace.span_id


@pytest.mark.parametrize(
    "header",
    ["", "garbage", GOOD.upper(), GOOD + "-extra", "ff" + GOOD[2:], GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
     GOOD.replace("00f067aa0ba902b7", "0" * 16), GOOD + "\n", GOOD[:-1]],
)  # fmt: skip
def test_a_malformed_traceparent_begins_a_new_trace(header: str) -> None:
    """Ids go into logs and headers; only the standard's own form may."""
    assert parse_traceparent(header) is None


def test_a_later_version_with_more_fields_is_read() -> None:
    """The standard asks readers to take what they know of later versions."""
    assert parse_traceparent("cc" + GOOD[2:] + "-more") is not None


def test_spans_carry_the_ids_that_logs_carry() -> None:
    """Otherwise nobody can get from a slow span to its log lines."""
    exported = InMemorySpanExporter()
    sink = SpanSink("tester", "tester-1", exported)
    trace = Trace.new().child()
    sink.finished("/a/b", trace, 1_000, 2_000, {"rpc.code": "OK"}, failed=True)
    sink.close()
    (span,) = exported.get_finished_spans()
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == trace.trace_id
    assert f"{span.context.span_id:016x}" == trace.span_id
    assert f"{span.parent.span_id:016x}" == trace.parent_span_id
    assert span.resource.attributes["service.name"] == "tester"


def test_without_an_endpoint_nothing_is_imported_and_nothing_exported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenTelemetry's imports cost a good part of a second of every start."""
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert exporter("tester", "tester-1") is None
    code = "import sys, mesh.telemetry.tracing; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60, env=path)  # noqa: S603 - our own code
    assert done.returncode == 0


def test_metrics_are_exposed_in_prometheus_form() -> None:
    """Dashboards and alerts read these names."""
    metrics = RpcMetrics()
    metrics.started("/a/B")
    metrics.finished("/a/B", "OK", 0.01)
    text = render().decode()
    assert 'vivesphere_rpc_server_calls_total{code="OK",method="/a/B"} 1.0' in text
    assert 'vivesphere_rpc_server_in_flight{method="/a/B"} 0.0' in text
    assert 'vivesphere_rpc_server_duration_seconds_bucket{le="0.01",method="/a/B"} 1.0' in text
