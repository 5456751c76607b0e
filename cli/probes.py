"""Questions that tell whether a process does its job: grpc.health.v1 over mutual TLS, and HTTP 200."""

import asyncio
import os
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.layout import TlsFiles

PROBE_SECONDS = 2.0


async def grpc_serves(address: str, dns_name: str, tls: TlsFiles) -> bool:
    """Whether the server at `address`, which must prove to be `dns_name`, says SERVING for itself as a whole."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=tls.ca_file.read_bytes(),
        private_key=tls.key_file.read_bytes(),
        certificate_chain=tls.cert_file.read_bytes(),
    )
    options = [("grpc.ssl_target_name_override", dns_name), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_SECONDS)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def http_ok(host: str, port: int, path: str, *, tls: bool = False) -> bool:
    """Whether GET `path` answers 200 there. With `tls` over HTTPS, whatever name the certificate has: a machine asks itself."""
    return await asyncio.to_thread(_get_status, host, port, path, tls) == HTTPStatus.OK


def gateway_has_tls(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the gateway's HTTP door speaks TLS in this environment."""
    return bool(environ.get("VIVESPHERE_HTTP_TLS_CERT_FILE"))


def _get_status(host: str, port: int, path: str, tls: bool) -> int:
    connection = _over_tls(host, port) if tls else HTTPConnection(host, port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


def _over_tls(host: str, port: int) -> HTTPSConnection:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate is for the name that clients know
    return HTTPSConnection(host, port, timeout=PROBE_SECONDS, context=context)
