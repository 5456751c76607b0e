"""Laws of settings, service ownership and the service config."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.assembly import compiled
from gateway.backends import owner_of, service_config, service_of
from gateway.door import peer_address
from gateway.settings import Limits, Transcoding, parse_targets, read_settings
from gateway.transcoding.binding import RequestParts
from gateway.transcoding.schema import Schema
from tests.unit.gateway.support import echo_set


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """One prefix for all; limits have one of their own."""
    for name, value in {
        "TLS_CERT_FILE": "c", "TLS_KEY_FILE": "k", "TLS_CA_FILE": "a", "HTTP_PORT": "18080",
        "TARGETS": "authentication=127.0.0.1:1,bot_manager=127.0.0.1:2", "GATEWAY_MAX_BODY_BYTES": "1000",
    }.items():  # fmt: skip
        monkeypatch.setenv("VIVESPHERE_" + name, value)
    settings = read_settings()
    assert settings.targets == {"authentication": "127.0.0.1:1", "bot_manager": "127.0.0.1:2"}
    assert (settings.http_port, settings.grpc_port, settings.tls_key_file) == (18080, 9090, Path("k"))
    assert Limits().max_body_bytes == 1000


def test_choices_of_transcoding_reach_the_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters that mean nothing are skipped, long variables are decoded as chosen, answers have the chosen names, by either library."""
    chosen = {"IGNORED_QUERY_PARAMETERS": "key, $alt", "PATH_DECODING": "all", "JSON_PROTO_NAMES": "true"}
    for name, value in chosen.items():
        monkeypatch.setenv("VIVESPHERE_GATEWAY_" + name, value)
    for codec in ("protobuf-py", "json_format"):
        monkeypatch.setenv("VIVESPHERE_GATEWAY_JSON_CODEC", codec)
        transcoder = compiled(Schema(echo_set()), Transcoding())
        endpoint, values = transcoder.route("GET", "/api/v1/deep/a%2Fb")
        assert values == ["deep/a/b"]
        wire = endpoint.bind(values, RequestParts(query="key=1&%24alt=json&publishNow=true"))
        assert json.loads(endpoint.renderer.unary(wire)[1]) == {"id": "deep/a/b", "publish_now": True}
    monkeypatch.setenv("VIVESPHERE_GATEWAY_PATH_DECODING", "some")
    with pytest.raises(ValidationError, match="path_decoding"):
        Transcoding()


@pytest.mark.parametrize("text", ["a", "a=", "=b", "a=b,c"])
def test_a_malformed_target_is_quoted(text: str) -> None:
    """A typing mistake in a deployment must be found in seconds."""
    with pytest.raises(ValueError, match="expected name=host:port"):
        parse_targets(text)


def test_a_missing_certificate_refuses_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no way into the mesh without one."""
    for name in ("CERT", "KEY", "CA"):
        monkeypatch.delenv(f"VIVESPHERE_TLS_{name}_FILE", raising=False)
    with pytest.raises(ValidationError, match="tls_cert_file"):
        read_settings()


def test_the_package_names_the_service() -> None:
    """A new service needs no change here."""
    assert service_of("vivesphere.bot_manager.v1.PostService") == "bot_manager"
    assert service_of("vivesphere.trends.v1.TrendService") == "trends"
    assert service_of("grpc.health.v1.Health") is None
    assert service_of("vivesphere.bot_manager.PostService") is None


def test_only_what_the_contract_marks_may_be_retried() -> None:
    """Repeating a create that did arrive would post twice; with an optional request_id only its caller can tell."""
    config = service_config(Schema(echo_set()).methods.values())
    assert [name["method"] for name in config["methodConfig"][0]["name"]] == ["GetThing", "ListThings"]
    assert "methodConfig" not in service_config([])


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:5", "127.0.0.1"),
        ("ipv6:%5B::1%5D:5", "::1"),
        ("ipv6:[::1]:5", "::1"),
        ("unix:/a", "unix:/a"),
    ],
)
def test_a_peer_is_an_address_without_its_port(peer: str, address: str) -> None:
    """x-forwarded-for holds addresses."""
    assert peer_address(peer) == address


def test_an_adopted_contract_belongs_to_the_service_that_adopts_it() -> None:
    """The descriptor set says so; a contract that nobody adopted is nobody's."""
    schema = Schema((Path(__file__).parents[3] / "generated" / "vivesphere.binpb").read_bytes())
    foreign = "opentelemetry.proto.collector.logs.v1.LogsService"
    assert schema.adopted == {foreign: "vivesphere.logging.v1"}
    assert owner_of(foreign, schema.adopted) == "logging"
    assert owner_of("vivesphere.trends.v1.TrendService", schema.adopted) == "trends"
    assert owner_of("opentelemetry.proto.collector.trace.v1.TraceService", schema.adopted) is None
    assert schema.methods[f"/{foreign}/Export"].kind == "unary"


def test_a_stream_may_be_given_any_time() -> None:
    """What gRPC cannot count would be over at once, and is no deadline instead."""
    limits = Limits()
    assert limits.timeout(3600.0, streaming=True) == 3600.0
    assert limits.timeout(99_999_999 * 3600.0, streaming=True) is None
    assert limits.timeout(99_999_999 * 3600.0, streaming=False) == limits.max_deadline_seconds
