"""Laws of the process: stand-alone mode, start, stop, mutual TLS."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.backends import mesh_backends
from gateway.readiness import state
from gateway.settings import GatewaySettings, Limits
from gateway.transcoding.schema import Schema
from tests.integration.gateway.backend import ScriptedBackend, echo_behaviours
from tests.integration.gateway.conftest import free_port, start_backend, wait_for_port
from tests.unit.gateway.support import compile_text, echo_set, guest_set

ROOT = Path(__file__).parents[3]
BROWSER = {"sec-fetch-site": "same-origin"}


async def spawn(*arguments: str) -> asyncio.subprocess.Process:
    """`python -m gateway` with these arguments."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *arguments, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


@asynccontextmanager
async def standalone(
    descriptors: Path, backend: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A started stand-alone gateway and its address."""
    port = free_port()
    process = await spawn("--descriptors", str(descriptors), "--backend", backend, "--http-port", str(port))
    try:
        await wait_for_port(port)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), 15)


async def test_standalone_serves_any_descriptor_set_and_recovers_with_its_backend(tmp_path: Path) -> None:
    """Transcoding knows nothing of the product; a backend that comes back is served again without a restart."""
    (tmp_path / "set.binpb").write_bytes(echo_set())
    port = free_port()
    async with (
        standalone(tmp_path / "set.binpb", f"127.0.0.1:{port}") as (_, url),
        httpx.AsyncClient() as client,
    ):
        answer = await client.get(f"{url}/api/v1/things/1", timeout=2)
        assert answer.status_code == 503
        assert answer.json()["details"][0]["reason"] == "SERVICE_UNAVAILABLE"
        assert str(port) not in answer.text
        server, _ = await start_backend(ScriptedBackend(echo_set()), port)
        async with asyncio.timeout(30):
            while (answer := await client.get(f"{url}/api/v1/things/1")).status_code != 200:
                await asyncio.sleep(0.05)
        assert answer.json() == {"id": "1"}
        assert (await client.get(f"{url}/readyz")).status_code == 200
        assert (await client.get(url)).status_code == 404
        await server.stop(0)


async def test_a_stop_lets_calls_in_flight_end(tmp_path: Path) -> None:
    """A deployment must not cut answers off; streams end with a reason, and the process is gone within seconds."""
    (tmp_path / "set.binpb").write_bytes(echo_set())
    backend = ScriptedBackend(echo_set())
    backend.behaviours |= echo_behaviours(backend)
    server, port = await start_backend(backend)
    async with (
        standalone(tmp_path / "set.binpb", f"127.0.0.1:{port}") as (process, url),
        httpx.AsyncClient(timeout=10) as client,
    ):
        call = asyncio.create_task(client.get(f"{url}/api/v1/sleep?seconds=1"))
        async with client.stream("GET", f"{url}/api/v1/count/2000000000") as stream:
            lines = stream.aiter_lines()
            assert "result" in json.loads(await anext(lines))
            async with asyncio.timeout(30):
                while len(backend.seen) < 2:
                    await asyncio.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            last = [line async for line in lines][-1]
        assert json.loads(last)["error"]["details"][0]["reason"] == "SHUTTING_DOWN"
        assert (await call).status_code == 200
        assert await asyncio.wait_for(process.wait(), 5) == 0
    await server.stop(0)


async def test_a_defect_is_logged_without_what_the_client_sent(tmp_path: Path) -> None:
    """A traceback with the values of variables would put cookies, tokens and passwords into a log."""
    (tmp_path / "set.binpb").write_bytes(echo_set())
    backend = ScriptedBackend(echo_set())

    class Garbage:
        def SerializeToString(self) -> bytes:
            return b"\xff"

    async def garbage(request: Any, context: Any) -> Any:
        return Garbage()

    backend.behaviours["Download"] = garbage
    server, port = await start_backend(backend)
    async with (
        standalone(tmp_path / "set.binpb", f"127.0.0.1:{port}") as (process, url),
        httpx.AsyncClient() as client,
    ):
        secrets = {"cookie": "guest-refresh=canary-1", "authorization": "Bearer canary-2"}
        answer = await client.get(f"{url}/api/v1/download/canary-3", headers={**secrets, **BROWSER})
        assert answer.status_code == 500
        process.terminate()
        assert process.stdout is not None
        output = (await asyncio.wait_for(process.stdout.read(), 15)).decode()
    incident = answer.json()["message"].rpartition(" ")[2]
    assert incident in output
    assert "canary" not in output
    await server.stop(0)


async def test_standalone_takes_nobody_for_a_browser(tmp_path: Path) -> None:
    """A transcoder for any contract has no sessions to keep: fields stay where they are, whoever asks."""
    (tmp_path / "set.binpb").write_bytes(guest_set())
    server, port = await start_backend(ScriptedBackend(guest_set()))
    async with (
        standalone(tmp_path / "set.binpb", f"127.0.0.1:{port}") as (_, url),
        httpx.AsyncClient() as client,
    ):
        headers = {"sec-fetch-site": "cross-site", "cookie": "guest-refresh=c"}
        answer = await client.put(f"{url}/api/v1/look/1", json={}, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"id": "1"})
        assert "set-cookie" not in answer.headers
    await server.stop(0)


async def test_a_start_that_cannot_work_says_why(tmp_path: Path) -> None:
    """A taken port, a contract with two methods on one route, half a command line: one line, no trace."""
    (tmp_path / "set.binpb").write_bytes(echo_set())
    doubled = """syntax = "proto3"; package p.v1; import "google/api/annotations.proto"; message M { string a = 1; }
        service S {
          rpc One(M) returns (M) { option (google.api.http) = { get: "/x/{a}" }; }
          rpc Two(M) returns (M) { option (google.api.http) = { get: "/x/*" }; }
        }"""
    (tmp_path / "doubled.binpb").write_bytes(compile_text(doubled))
    listening = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    common = ["--backend", "127.0.0.1:1", "--http-port"]
    cases = [
        (["--descriptors", str(tmp_path / "set.binpb"), *common, str(port)], 1, [str(port)]),
        (
            ["--descriptors", str(tmp_path / "doubled.binpb"), *common, str(free_port())],
            1,
            ["S/One", "S/Two"],
        ),
        (["--descriptors", str(tmp_path / "missing.binpb"), *common, str(free_port())], 1, ["missing.binpb"]),
        (["--backend", "127.0.0.1:1"], 2, ["--descriptors"]),
    ]
    for arguments, code, words in cases:
        process = await spawn(*arguments)
        output, _ = await asyncio.wait_for(process.communicate(), 10)
        text = output.decode()
        assert process.returncode == code, text
        assert "Traceback" not in text
        for word in words:
            assert word in text
    listening.close()
    await listening.wait_closed()


class Authority:
    """A certificate authority for one test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        builder = self._builder(name, self._key).issuer_name(name)
        self._certificate = builder.add_extension(x509.BasicConstraints(True, 0), True).sign(
            self._key, hashes.SHA256()
        )
        self.file = directory / "ca.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    @staticmethod
    def _builder(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder().subject_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1)).not_valid_after(now + timedelta(hours=1))
        )  # fmt: skip

    def issue(self, service: str) -> tuple[Path, Path]:
        """Certificate and key files for a service of the mesh."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [
            x509.UniformResourceIdentifier(f"spiffe://vivesphere/{service}"),
            x509.DNSName(service.replace("_", "-")),
        ]
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, service)]), key)
        builder = builder.issuer_name(self._certificate.subject)
        certificate = builder.add_extension(x509.SubjectAlternativeName(names), False).sign(
            self._key, hashes.SHA256()
        )
        files = self._directory / f"{service}.pem", self._directory / f"{service}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files


async def test_the_mesh_is_reached_with_the_gateways_certificate_and_only_the_intended_service(
    tmp_path: Path,
) -> None:
    """Another service on the same address is not taken for the one that was meant."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("gateway")
    identities: list[str] = []

    class Health(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> object:  # type: ignore[override]  # raw handler
            async def check(request: bytes, context: grpc.aio.ServicerContext) -> bytes:  # type: ignore[type-arg]  # not generic at run time
                identities.extend(one.decode() for one in context.auth_context()["peer_spiffe_id"])
                return b"\x08\x01"

            return grpc.unary_unary_rpc_method_handler(check)

    targets = {}
    servers = []
    for name in ("echo", "other"):
        server_cert, server_key = authority.issue(name)
        credentials = grpc.ssl_server_credentials(
            [(server_key.read_bytes(), server_cert.read_bytes())], authority.file.read_bytes(), True
        )
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Health(),))
        targets[name] = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
        await server.start()
        servers.append(server)
    for target, expected in ((targets["echo"], "SERVING"), (targets["other"], "UNREACHABLE")):
        settings = GatewaySettings(
            targets={"echo": target}, tls_cert_file=cert, tls_key_file=key, tls_ca_file=authority.file
        )
        backends = mesh_backends(settings, Limits(), Schema(echo_set()))
        assert [backend.name for backend in backends.all()] == ["echo"]
        assert await state(backends.all()[0], "") == expected
        await backends.close()
    assert identities == ["spiffe://vivesphere/gateway"]
    for server in servers:
        await server.stop(0)
