"""Calls to other services: one channel per service over mutual TLS, deadlines as budgets, errors as Python classes.

A channel accepts only the service it was made for (the certificate's name is checked, not the address), spreads calls over all
replicas (`round_robin`) and repeats UNAVAILABLE calls of methods that the contract marks idempotent. `invoke` passes on the caller's
own token, request id and trace, and what is left of the deadline less an allowance for our own work (boulder's shaving).
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf import descriptor_pool

from mesh.clock import Clock, SystemClock
from mesh.context import current_call
from mesh.contract import is_idempotent
from mesh.errors import DeadlineExceeded, Unavailable
from mesh.settings import ProcessSettings, TlsFiles, dns_name
from mesh.status import from_rpc_error

DEFAULT_TIMEOUT = timedelta(seconds=5)
OWN_WORK = timedelta(milliseconds=20)
"""Kept back from the caller's deadline for what we do with the answer."""
LEAST_USEFUL = timedelta(milliseconds=5)
KEEPALIVE_MS = 30_000
RECONNECT_MS = (100, 2_000)

Request = TypeVar("Request")
Response = TypeVar("Response")


def channel_credentials(tls: TlsFiles) -> grpc.ChannelCredentials:
    """Mutual TLS with this process's own certificate."""
    return grpc.ssl_channel_credentials(
        root_certificates=tls.ca_file.read_bytes(),
        private_key=tls.key_file.read_bytes(),
        certificate_chain=tls.cert_file.read_bytes(),
    )


def service_config(services: Sequence[str]) -> str:
    """gRPC service config for the named proto services: balancing, and retries where the contract allows them."""
    pool = descriptor_pool.Default()
    names = [
        {"service": service, "method": method.name}
        for service in services
        for method in pool.FindServiceByName(service).methods
        if is_idempotent(f"/{service}/{method.name}") and not method.server_streaming
    ]
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if names:
        config["methodConfig"] = [
            {
                "name": names,
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    return json.dumps(config)


def open_channel(settings: ProcessSettings, service: str, proto_services: Sequence[str]) -> grpc.aio.Channel:
    """A channel to `service`. Make one per process and target, inside the running loop, and close it at the end."""
    return grpc.aio.secure_channel(
        settings.target(service),
        channel_credentials(settings.tls),
        options=(
            ("grpc.ssl_target_name_override", dns_name(service)),
            ("grpc.service_config", service_config(proto_services)),
            ("grpc.enable_retries", 1),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS[0]),
            ("grpc.min_reconnect_backoff_ms", RECONNECT_MS[0]),
            ("grpc.max_reconnect_backoff_ms", RECONNECT_MS[1]),
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", settings.max_message_bytes),
            ("grpc.use_local_subchannel_pool", 1),
        ),
    )


async def invoke(
    method: Callable[..., Awaitable[Response]],
    request: object,
    *,
    timeout: timedelta = DEFAULT_TIMEOUT,
    clock: Clock | None = None,
) -> Response:
    """Call a unary method of another service for the call being served. Raises the MeshError that the other side raised."""
    budget = _budget(timeout, clock or SystemClock())
    try:
        return await method(request, timeout=budget, metadata=outgoing_metadata())
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None


async def subscribe(
    method: Callable[..., Any], request: object, *, silence: timedelta | None = None
) -> AsyncGenerator[Any, None]:
    """Messages of a server stream of another service until it ends. Raises the MeshError that ended it.

    `silence`: give the stream up as dead (Unavailable) when nothing has come for so long.
    """
    stream = method(request, metadata=outgoing_metadata())
    limit = None if silence is None else silence.total_seconds()
    try:
        while True:
            async with asyncio.timeout(limit):
                message = await stream.read()
            if message is grpc.aio.EOF:
                return
            yield message
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None
    except TimeoutError:
        raise Unavailable("SERVICE_UNAVAILABLE", "the stream of another service fell silent") from None
    finally:
        stream.cancel()


def outgoing_metadata() -> tuple[tuple[str, str], ...]:
    """What travels along: the user's token, the request id, the trace."""
    call = current_call()
    if call is None:
        return ()
    pairs = [("x-request-id", call.request_id)]
    if call.authorization:
        pairs.append(("authorization", call.authorization))
    if call.trace is not None:
        pairs.append(("traceparent", call.trace.traceparent))
    return tuple(pairs)


def _budget(timeout: timedelta, clock: Clock) -> float:
    call = current_call()
    if call is None or call.deadline is None:
        return timeout.total_seconds()
    left = call.deadline - clock.monotonic() - OWN_WORK.total_seconds()
    if left < LEAST_USEFUL.total_seconds():
        raise DeadlineExceeded(
            "DEADLINE_TOO_SHORT", "too little of the deadline is left to ask another service"
        )
    return min(timeout.total_seconds(), left)
