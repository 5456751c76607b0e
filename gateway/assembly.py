"""The one place where the gateway's parts meet: settings → schema → backends → doors → serve until told to stop."""

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loguru import logger

from gateway.backends import Backends, mesh_backends, single_backend
from gateway.browser.authority import is_loopback
from gateway.browser.sessions import Browsers
from gateway.door import GrpcDoor, GrpcServer
from gateway.edge.admission import Admission
from gateway.edge.cors import cors_of
from gateway.health import HealthService
from gateway.http import HttpDoor
from gateway.metrics import Metrics
from gateway.openapi.document import About
from gateway.openapi.published import PRODUCT, Published, about_descriptors
from gateway.pages import Pages
from gateway.protocols.door import procedure_door
from gateway.proxies import Proxies
from gateway.readiness import Readiness
from gateway.relay import RestRelay
from gateway.resume import resumable_streams
from gateway.server import HttpServer
from gateway.settings import GatewaySettings, Limits, Transcoding
from gateway.shipping import shipping
from gateway.tls import TlsFiles
from gateway.transcoding import urls
from gateway.transcoding.codec import Codec, JsonStyle, ProtobufPyCodec
from gateway.transcoding.google_codec import GoogleCodec
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder

STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_KEPT_ENCODED = {"unreserved": urls.RESERVED, "except_slash": urls.SLASH, "all": urls.NOTHING}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to serve and where. `grpc_port` None leaves the gRPC door and the landing page out; without `browsers` there are no
    cookies and no cross-origin check."""

    descriptors: Path
    http_host: str
    http_port: int
    grpc_host: str
    grpc_port: int | None
    browsers: bool
    about: About
    """What the OpenAPI document says of what is served."""
    http_tls: TlsFiles | None
    grpc_tls: TlsFiles | None
    connect: Callable[[Limits, Schema], Backends]
    ship: Callable[[str], AbstractAsyncContextManager[None]]
    """Ships log records of this instance while it is entered."""

    @property
    def instance(self) -> str:
        """Which gateway this is, in log records."""
        return f"gateway-{socket.gethostname()}-{self.http_port}"


def mesh_plan(settings: GatewaySettings) -> Plan:
    """The mesh's gateway."""
    return Plan(
        descriptors=settings.descriptors,
        http_host=settings.http_host,
        http_port=settings.http_port,
        grpc_host=settings.grpc_host,
        grpc_port=settings.grpc_port,
        browsers=True,
        about=PRODUCT,
        http_tls=settings.http_tls,
        grpc_tls=settings.grpc_tls,
        connect=lambda limits, schema: mesh_backends(settings, limits, schema),
        ship=lambda instance: shipping(settings, instance),
    )


def standalone_plan(descriptors: Path, backend: str, http_host: str, http_port: int) -> Plan:
    """A transcoder in front of one plaintext backend, for any descriptor set."""
    return Plan(
        descriptors=descriptors,
        http_host=http_host,
        http_port=http_port,
        grpc_host=http_host,
        grpc_port=None,
        browsers=False,
        about=about_descriptors(descriptors),
        http_tls=None,
        grpc_tls=None,
        connect=lambda limits, schema: single_backend(backend, limits, schema),
        ship=lambda instance: nullcontext(),
    )


def compiled(schema: Schema, chosen: Transcoding) -> Transcoder:
    """The routes of a descriptor set. Raises what is wrong with it."""
    style = JsonStyle(proto_names=chosen.json_proto_names, defaults=chosen.json_defaults)
    codec: Codec = (
        ProtobufPyCodec(schema.registry, style)
        if chosen.json_codec == "protobuf-py"
        else GoogleCodec(schema.raw, style)
    )
    return Transcoder(schema, codec, chosen.ignored_query_parameters, _KEPT_ENCODED[chosen.path_decoding])


async def serve(plan: Plan, limits: Limits) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Raises what makes a start impossible: a bad contract, a taken port."""
    async with plan.ship(plan.instance):
        await _serve(plan, limits)


async def _serve(plan: Plan, limits: Limits) -> None:
    schema = Schema(plan.descriptors.read_bytes())
    transcoder = compiled(schema, Transcoding())
    cors = cors_of(limits.cors_origins)
    allows = cors.allows if cors is not None else None
    browsers = Browsers(schema, transcoder.endpoints, allows) if plan.browsers else None
    resumable = resumable_streams(schema)
    metrics = Metrics()
    backends = plan.connect(limits, schema)
    readiness = Readiness(backends)
    admission = Admission(limits)
    grpc_server = None
    try:
        if plan.grpc_port is not None:
            proxies = Proxies(limits.trusted_proxies)
            health = HealthService(schema, backends, readiness)
            door = GrpcDoor(schema, backends, health, metrics, proxies, admission)
            grpc_server = GrpcServer(door, plan.grpc_host, plan.grpc_port, limits, plan.grpc_tls)
            await grpc_server.start()
        grpc_address = f"{plan.grpc_host}:{grpc_server.port}" if grpc_server else None
        pages = Pages(readiness, metrics, grpc_address, Published(schema, plan.about))
        relay = RestRelay(transcoder, backends, limits, browsers, resumable)
        procedures = procedure_door(
            transcoder, backends, limits, metrics, browsers=plan.browsers, allows=allows
        )
        http_door = HttpDoor(relay, pages, metrics, limits, procedures, admission)
        http_server = HttpServer(http_door, plan.http_host, plan.http_port, limits, plan.http_tls)
        logger.bind(http_port=plan.http_port, grpc=grpc_address, routes=len(transcoder.endpoints)).info(
            "gateway serves"
        )
        warn_of_plaintext(plan)
        await _until_stopped(http_server.start())
        readiness.draining = True
        logger.info("gateway drains")
        await asyncio.gather(http_server.stop(), *([grpc_server.stop()] if grpc_server else []))
    finally:
        await backends.close()


def warn_of_plaintext(plan: Plan) -> None:
    """Passwords and tokens pass here. In a container every address is meant, and who publishes the port knows better: so no refusal."""
    doors = [("http", plan.http_host, plan.http_tls)]
    if plan.grpc_port is not None:
        doors.append(("grpc", plan.grpc_host, plan.grpc_tls))
    for door, host, tls in doors:
        if tls is None and not is_loopback(host):
            logger.bind(door=door, host=host).warning("door speaks plaintext beyond loopback")


async def _until_stopped(server: "asyncio.Future[None]") -> None:
    """Return on a signal, after which another one ends the process at once; raise when the server ends by itself."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOPPING_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    waiting = loop.create_task(stop.wait(), name="gateway stop signal")
    either: list[asyncio.Future[Any]] = [waiting, server]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for number in STOPPING_SIGNALS:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    if server.done():
        server.result()
        raise RuntimeError("the HTTP server ended by itself")
