"""What a child sees of the caller's environment."""

import pytest

from cli.environment import inherited

TALKATIVE = (
    "GRPC_TRACE", "GRPC_VERBOSITY", "SSLKEYLOGFILE", "PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONINSPECT",
    "LOGURU_DIAGNOSE", "LOGURU_BACKTRACE",
)  # fmt: skip
STEERING = ("PGOPTIONS", "PGPASSWORD", "VAULT_TOKEN", "BAO_TOKEN", "NATS_URL", "VIVESPHERE_ADMIN_PASSWORD")
WANTED = ("PATH", "VIVESPHERE_LOG_LEVEL", "OTEL_EXPORTER_OTLP_ENDPOINT", "PYTHONFAULTHANDLER")


@pytest.mark.parametrize("name", [*TALKATIVE, *STEERING])
def test_what_would_make_a_library_talk_or_obey_is_not_passed_on(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """gRPC prints the headers of every call, tokens among them, for GRPC_TRACE; a forgotten variable of a shell must not do that to a mesh."""
    monkeypatch.setenv(name, "all")
    assert name not in inherited()


@pytest.mark.parametrize("name", WANTED)
def test_everything_else_is_passed_on(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Proxies, locale, telemetry: whoever starts the mesh decides."""
    monkeypatch.setenv(name, "1")
    assert inherited()[name] == "1"
