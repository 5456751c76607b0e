"""Channels to the services: one each, made once in the running loop, closed at the end.

A method belongs to the service that the third segment of its package names (`vivesphere.<service>.v1`); in stand-alone mode
one backend has everything. What a package of ours adopts of other contracts belongs to the same service. Messages pass as raw bytes. A channel that cannot connect fails its calls at once instead of
queueing them, and tries again within two seconds. Calls with one request go by `gateway.http2`, everything else by gRPC's core, which does
those as well where the settings ask for it. Only what the contract marks NO_SIDE_EFFECTS or IDEMPOTENT is retried,
in both; by gRPC's core through the service config; not where a request_id that may be missing is what makes it idempotent.
"""

import json
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from gateway.http2.channel import Channel, Target, parse_target, tls_context
from gateway.settings import GatewaySettings, Limits
from gateway.transcoding.schema import Method, Schema

MESH_PREFIX = "vivesphere."
RECONNECT_MILLISECONDS = 2_000  # longest pause between two attempts to connect, and longest attempt
ANSWER_TIMES = 4  # a page of answers may be larger than any request
KEEPALIVE_MILLISECONDS = 30_000  # servers of the mesh permit a ping every 10 s

RETRY_POLICY = {
    "maxAttempts": 3,
    "initialBackoff": "0.05s",
    "maxBackoff": "0.5s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


class Backend:
    """One service and the channels to it."""

    def __init__(
        self,
        name: str,
        channel: grpc.aio.Channel,
        unary: Channel | None = None,
        streamed: Channel | None = None,
    ) -> None:
        """`unary` carries the unary calls and `streamed` the streams of answers; None leaves them to `channel`."""
        self.name = name
        self.channel = channel
        self._unary = unary
        self._streamed = streamed
        self._calls: dict[tuple[str, str], Any] = {}

    def call(self, path: str, kind: str, *, retryable: bool = False) -> Any:
        """The raw-bytes multicallable of a method; made once each. `kind` is one of schema.Kind."""
        made = self._calls.get((path, kind))
        if made is None:
            if kind == "unary" and self._unary is not None:
                made = self._unary.unary(path, retryable=retryable)
            elif kind == "server_streaming" and self._streamed is not None:
                made = self._streamed.stream(path, retryable=retryable)
            else:
                made = _FACTORIES[kind](self.channel, path)
            self._calls[(path, kind)] = made
        return made

    def is_connected(self) -> bool:
        """True when the last attempt to reach the service succeeded and the connection stands."""
        if any(own is not None and own.is_connected for own in (self._unary, self._streamed)):
            return True
        return self.channel.get_state() is grpc.ChannelConnectivity.READY

    async def close(self) -> None:
        """Close the channels; calls in flight are cancelled."""
        for own in (self._unary, self._streamed):
            if own is not None:
                await own.close()
        await self.channel.close()


_FACTORIES = {
    "unary": lambda channel, path: channel.unary_unary(path),
    "server_streaming": lambda channel, path: channel.unary_stream(path),
    "client_streaming": lambda channel, path: channel.stream_unary(path),
    "bidi_streaming": lambda channel, path: channel.stream_stream(path),
}


@dataclass(frozen=True, slots=True)
class Backends:
    """All backends; `only` serves every method where it is set."""

    by_service: dict[str, Backend]
    only: Backend | None = None
    adopted: Mapping[str, str] = field(default_factory=dict)
    """See `Schema.adopted`."""

    def of(self, grpc_service: str) -> Backend | None:
        """The backend of a full gRPC service name such as vivesphere.bot_manager.v1.PostService."""
        return self.only or self.by_service.get(owner_of(grpc_service, self.adopted) or "")

    def all(self) -> list[Backend]:
        """Every backend once, in order of name."""
        return [self.only] if self.only else [self.by_service[name] for name in sorted(self.by_service)]

    async def close(self) -> None:
        """Close every channel; calls in flight are cancelled."""
        for backend in self.all():
            await backend.close()


def service_of(grpc_service: str) -> str | None:
    """`vivesphere.bot_manager.v1.PostService` → `bot_manager`; None for names of another form."""
    parts = grpc_service.split(".")
    return parts[1] if grpc_service.startswith(MESH_PREFIX) and len(parts) == 4 else None


def owner_of(grpc_service: str, adopted: Mapping[str, str]) -> str | None:
    """The service of the mesh that serves a gRPC service of ours or one that was adopted; None if none does."""
    package = adopted.get(grpc_service)
    return service_of(grpc_service if package is None else f"{package}.{grpc_service.rpartition('.')[2]}")


def mesh_backends(settings: GatewaySettings, limits: Limits, schema: Schema) -> Backends:
    """A channel over mutual TLS to every service of the descriptor set; raises OSError for an unreadable file."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=settings.tls_ca_file.read_bytes(),
        private_key=settings.tls_key_file.read_bytes(),
        certificate_chain=settings.tls_cert_file.read_bytes(),
    )
    tls = tls_context(
        settings.tls_ca_file.read_bytes(), str(settings.tls_cert_file), str(settings.tls_key_file)
    )
    made = {}
    owners = {service: owner_of(service, schema.adopted) for service in schema.services}
    for name in sorted({found for found in owners.values() if found}):
        dns_name = name.replace("_", "-")
        target = settings.targets.get(name, f"dns:///{dns_name}:9000")
        methods = (method for method in schema.methods.values() if owners[method.service] == name)
        options = [*_options(methods, limits), ("grpc.ssl_target_name_override", dns_name)]
        channel = grpc.aio.secure_channel(target, credentials, options=options)
        made[name] = Backend(name, channel, *_own_channels(_target(target, limits, tls, dns_name), limits))
    return Backends(made, adopted=schema.adopted)


def single_backend(target: str, limits: Limits, schema: Schema) -> Backends:
    """One plaintext channel for everything."""
    options = _options(schema.methods.values(), limits)
    channel = grpc.aio.insecure_channel(target, options=options)
    return Backends({}, Backend("backend", channel, *_own_channels(_target(target, limits), limits)))


def _own_channels(target: Target, limits: Limits) -> tuple[Channel, Channel] | tuple[()]:
    """For unary calls and for streams of answers; none where gRPC's core does it all."""
    return () if limits.grpc_core else (Channel(target), Channel(target, streamed=True))


def _target(target: str, limits: Limits, tls: ssl.SSLContext | None = None, server_name: str = "") -> Target:
    host, port = parse_target(target)
    return Target(host, port, limits.max_body_bytes * ANSWER_TIMES, tls, server_name)


def _options(methods: Iterable[Method], limits: Limits) -> list[tuple[str, Any]]:
    return [
        ("grpc.service_config", json.dumps(service_config(methods))),
        ("grpc.max_receive_message_length", limits.max_body_bytes * ANSWER_TIMES),
        ("grpc.max_send_message_length", limits.max_body_bytes),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", RECONNECT_MILLISECONDS),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MILLISECONDS),
        ("grpc.keepalive_time_ms", KEEPALIVE_MILLISECONDS),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]


def service_config(methods: Iterable[Method]) -> dict[str, Any]:
    """The gRPC service config: round robin, and retries for what may be repeated."""
    names = [{"service": method.service, "method": method.name} for method in methods if method.retryable]
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if names:
        config["methodConfig"] = [{"name": names, "retryPolicy": RETRY_POLICY}]
    return config
