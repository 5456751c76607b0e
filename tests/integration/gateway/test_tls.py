"""Laws of TLS at both doors: real clients, an authority made here, certificates that change under a running gateway."""

import asyncio
import os
import shutil
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import pydantic
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from loguru import logger

from cli.probes import http_ok
from gateway.assembly import mesh_plan, warn_of_plaintext
from gateway.door import GrpcDoor, GrpcServer
from gateway.health import HealthService
from gateway.http import HttpDoor
from gateway.metrics import Metrics
from gateway.pages import Pages
from gateway.proxies import Proxies
from gateway.readiness import Readiness
from gateway.relay import RestRelay
from gateway.server import HttpServer
from gateway.settings import GatewaySettings, Limits
from gateway.tls import Renewals, TlsFiles
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder
from tests.integration.gateway.conftest import Running, free_port, wait_for_port
from tests.integration.gateway.test_grpc_door import SERVICE, fail, thing
from tests.integration.gateway.test_process import ROOT, Authority
from tests.unit.gateway.support import echo_set

NAME = "localhost"
SNI = {"sni_hostname": NAME}


@dataclass
class Doors:
    """Both doors with TLS, in front of the session's back end."""

    http_port: int
    grpc_port: int
    authority: Authority
    files: TlsFiles

    @property
    def context(self) -> ssl.SSLContext:
        """What a client trusts."""
        return ssl.create_default_context(cafile=str(self.authority.file))

    def presented(self, port: int, context: ssl.SSLContext | None = None) -> int:
        """Serial number of the certificate that a new connection is shown."""
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            (context or self.context).wrap_socket(plain, server_hostname=NAME) as wrapped,
        ):
            shown = wrapped.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number

    def renew(self) -> int:
        """Put a new certificate in place, as a renewing program does; its serial number."""
        certificate, key = self.authority.issue(NAME)
        put(certificate, self.files.certificate)
        put(key, self.files.key)
        return x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[Any]:
        """A gRPC client that trusts the authority."""
        credentials = grpc.ssl_channel_credentials(self.authority.file.read_bytes())
        options = [("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.grpc_port}", credentials, options) as made:
            yield made


def put(source: Path, target: Path) -> None:
    """Replace a file in one step."""
    shutil.copy(source, target.with_suffix(".new"))
    target.with_suffix(".new").replace(target)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Signs certificates for this test."""
    (tmp_path / "ca").mkdir()
    return Authority(tmp_path / "ca")


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> TlsFiles:
    """A certificate and key for localhost, where the doors read them."""
    made = TlsFiles(tmp_path / "tls.crt", tmp_path / "tls.key")
    certificate, key = authority.issue(NAME)
    put(certificate, made.certificate)
    put(key, made.key)
    return made


@pytest.fixture
async def doors(running: Running, authority: Authority, files: TlsFiles) -> AsyncIterator[Doors]:
    """Both doors of a second gateway."""
    schema, limits, metrics = Schema(echo_set()), Limits(drain_seconds=0.2), Metrics()
    readiness = Readiness(running.backends)
    health = HealthService(schema, running.backends, readiness)
    grpc_server = GrpcServer(
        GrpcDoor(schema, running.backends, health, metrics, Proxies()), "127.0.0.1", 0, limits, files
    )
    await grpc_server.start()
    relay = RestRelay(Transcoder(schema), running.backends, limits)
    door = HttpDoor(relay, Pages(readiness, metrics, None), metrics, limits)
    port = free_port()
    http_server = HttpServer(door, "127.0.0.1", port, limits, files, renewal_seconds=0.02)
    ended = http_server.start()
    await wait_for_port(port)
    yield Doors(port, grpc_server.port, authority, files)
    await asyncio.gather(http_server.stop(), grpc_server.stop())
    assert ended.done()
    assert ended.exception() is None


@pytest.mark.parametrize(("http2", "version"), [(False, "HTTP/1.1"), (True, "HTTP/2")])
async def test_https_speaks_the_version_that_the_client_asks_for(
    doors: Doors, http2: bool, version: str
) -> None:
    """ALPN: browsers get HTTP/2, which has no limit of six streams a host."""
    async with httpx.AsyncClient(verify=doors.context, http2=http2) as client:
        answer = await client.get(f"https://127.0.0.1:{doors.http_port}/healthz", extensions=SNI)
    assert (answer.status_code, answer.http_version) == (200, version)


async def test_grpc_is_served_over_tls_and_to_nobody_who_trusts_others(
    doors: Doors, running: Running, tmp_path: Path
) -> None:
    """The client knows whom it speaks to."""
    async with doors.channel() as channel:
        sent = thing(running, big=7)
        assert await channel.unary_unary(f"/{SERVICE}/CheckThing")(sent, timeout=10) == sent
    (tmp_path / "other").mkdir()
    stranger = replace(doors, authority=Authority(tmp_path / "other"))
    async with stranger.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{SERVICE}/CheckThing")(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.to_thread(stranger.presented, doors.http_port)


async def test_tls_1_2_is_taken_and_nothing_older(doors: Doors) -> None:
    """1.3 alone would shut out programs that are merely old; 1.1 is broken (RFC 8996)."""
    for port in (doors.http_port, doors.grpc_port):
        context = doors.context
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        await asyncio.to_thread(doors.presented, port, context)
        context = doors.context
        context.set_ciphers("DEFAULT@SECLEVEL=0")  # else this side would not offer it
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError, match=r"ALERT_|EOF"):
            await asyncio.to_thread(doors.presented, port, context)


async def test_plaintext_is_not_answered_where_tls_is_spoken(doors: Doors) -> None:
    """A token must not travel in the open because somebody forgot an s."""
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"http://127.0.0.1:{doors.http_port}/healthz")


async def test_renewed_certificates_are_shown_and_streams_go_on(doors: Doors, running: Running) -> None:
    """A certificate of ninety days must not mean a restart in eighty, nor cut off who is being served."""
    async with (
        doors.channel() as channel,
        httpx.AsyncClient(verify=doors.context, timeout=20) as client,
        client.stream(
            "GET", f"https://127.0.0.1:{doors.http_port}/api/v1/count/100000", extensions=SNI
        ) as answer,
    ):
        lines = answer.aiter_lines()
        assert "result" in await anext(lines)
        stream = channel.unary_stream(f"/{SERVICE}/Count")(fail(running, 0, "", after=100_000))
        assert await stream.read() == thing(running)
        serial = doors.renew()
        for port in (doors.http_port, doors.grpc_port):
            async with asyncio.timeout(30):
                while await asyncio.to_thread(doors.presented, port) != serial:
                    await asyncio.sleep(0.02)
        for _ in range(300):
            assert "result" in await anext(lines)
        assert await stream.read() == thing(running, big=1)
        stream.cancel()


def test_half_a_renewal_changes_nothing(files: TlsFiles, authority: Authority, tmp_path: Path) -> None:
    """Two files cannot be replaced in one step; between the steps they do not fit together."""
    renewals = Renewals(files, "test")
    assert not renewals.renewed()
    certificate, key = authority.issue(NAME)
    put(key, files.key)
    assert not renewals.renewed()
    put(certificate, files.certificate)
    assert renewals.renewed()
    assert not renewals.renewed()
    files.key.unlink()
    assert not renewals.renewed()


def test_tls_that_cannot_work_refuses_the_start(
    tmp_path: Path, authority: Authority, files: TlsFiles
) -> None:
    """Falling back to plaintext is what nobody asked for; the message names the files and quotes nothing of them."""
    other = TlsFiles(files.certificate, authority.issue("other")[1])
    garbage = TlsFiles(files.certificate, tmp_path / "garbage")
    garbage.key.write_text("-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n")
    for wrong in (other, garbage, TlsFiles(files.certificate, tmp_path / "missing")):
        with pytest.raises(OSError, match="no TLS with") as caught:
            wrong.require_usable()
        assert str(wrong.key) in str(caught.value)
        assert "canary" not in str(caught.value)


def settings(files: TlsFiles, authority: Authority, **more: Any) -> GatewaySettings:
    """Settings of a mesh's gateway."""
    mesh: dict[str, Any] = {
        "tls_cert_file": files.certificate,
        "tls_key_file": files.key,
        "tls_ca_file": authority.file,
    }
    return GatewaySettings(**mesh, **more)


def test_a_certificate_without_a_key_is_a_mistake(files: TlsFiles, authority: Authority) -> None:
    """Half a setting would be plaintext."""
    with pytest.raises(pydantic.ValidationError, match="VIVESPHERE_GRPC_TLS_CERT_FILE and _KEY_FILE"):
        settings(files, authority, grpc_tls_cert_file=files.certificate)


def test_plaintext_beyond_loopback_is_warned_of(files: TlsFiles, authority: Authority) -> None:
    """An operator reads it before somebody else reads passwords."""
    told: list[Any] = []
    sink = logger.add(lambda message: told.append(message.record["extra"]), level="WARNING")
    try:
        warn_of_plaintext(mesh_plan(settings(files, authority, http_host="127.0.0.1", grpc_host="::1")))
        assert told == []
        open_doors = settings(files, authority, http_host="0.0.0.0", grpc_host="192.0.2.1")  # noqa: S104 - not bound
        warn_of_plaintext(mesh_plan(open_doors))
        assert [(one["door"], one["host"]) for one in told] == [("http", "0.0.0.0"), ("grpc", "192.0.2.1")]  # noqa: S104
        told.clear()
        closed: dict[str, Any] = {"grpc_tls_cert_file": files.certificate, "grpc_tls_key_file": files.key}
        warn_of_plaintext(mesh_plan(settings(files, authority, grpc_host="192.0.2.1", **closed)))
        assert told == []
    finally:
        logger.remove(sink)


async def test_the_meshs_gateway_takes_tls_from_its_environment(
    files: TlsFiles, authority: Authority, tmp_path: Path
) -> None:
    """The settings reach both doors of the real process, and what watches over it knows."""
    (tmp_path / "set.binpb").write_bytes(echo_set())
    http_port, grpc_port = free_port(), free_port()
    environment = {
        "VIVESPHERE_HTTP_PORT": http_port, "VIVESPHERE_GRPC_PORT": grpc_port, "VIVESPHERE_DESCRIPTORS": tmp_path / "set.binpb",
        "VIVESPHERE_TLS_CERT_FILE": files.certificate, "VIVESPHERE_TLS_KEY_FILE": files.key, "VIVESPHERE_TLS_CA_FILE": authority.file,
        "VIVESPHERE_HTTP_TLS_CERT_FILE": files.certificate, "VIVESPHERE_HTTP_TLS_KEY_FILE": files.key,
        "VIVESPHERE_GRPC_TLS_CERT_FILE": files.certificate, "VIVESPHERE_GRPC_TLS_KEY_FILE": files.key,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", cwd=ROOT,
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        await wait_for_port(http_port)
        doors = Doors(http_port, grpc_port, authority, files)
        async with httpx.AsyncClient(verify=doors.context) as client:
            answer = await client.get(f"https://127.0.0.1:{http_port}/healthz", extensions=SNI)
            assert answer.status_code == 200
        assert await http_ok("127.0.0.1", http_port, "/healthz", tls=True)
        assert not await http_ok("127.0.0.1", http_port, "/healthz")
        async with doors.channel() as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            answered = await check(health_pb2.HealthCheckRequest(), timeout=10)
            assert answered.status == health_pb2.HealthCheckResponse.NOT_SERVING
    finally:
        process.terminate()
        output, _ = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 0
    assert b"plaintext" not in output
