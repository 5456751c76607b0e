"""The gRPC server of a service: mutual TLS, the chain around every method, health, reflection, channelz, graceful drain."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import grpc
import grpc.aio
from grpc_channelz.v1.channelz import add_channelz_servicer
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mesh.contract import ContractError
from mesh.health import Health
from mesh.interceptors.adapter import MeshInterceptor
from mesh.settings import ProcessSettings, TlsFiles

MIN_PING_INTERVAL_MS = 10_000
MAX_CONNECTION_AGE_MS = 30 * 60 * 1000
MAX_CONNECTION_GRACE_MS = 60 * 1000

Registrar = Callable[[Any, grpc.aio.Server], None]


class _Names:
    """Stands in for a server to learn which proto services a registration adds."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.ServiceRpcHandler]) -> None:
        """Notes the names; generated code of others may know this way alone."""
        self.seen.update(handler.service_name() for handler in handlers)

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Notes the name."""
        self.seen.add(service)


def check_complete(services: Sequence[str], servicers: Sequence[tuple[Registrar, Any]]) -> None:
    """Raises ContractError for a service of the contract that nobody serves: its callers would not even be checked."""
    names = _Names()
    for register, servicer in servicers:
        register(servicer, cast(grpc.aio.Server, names))
    missing = sorted(set(services) - names.seen)
    if missing:
        raise ContractError(f"this is a bug: nobody serves {', '.join(missing)}")


def server_credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Only peers with a certificate of the mesh's own authority get as far as a handshake."""
    return grpc.ssl_server_credentials(
        [(tls.key_file.read_bytes(), tls.cert_file.read_bytes())],
        root_certificates=tls.ca_file.read_bytes(),
        require_client_auth=True,
    )


def build_server(
    settings: ProcessSettings,
    tls: TlsFiles,
    interceptor: MeshInterceptor,
    health: Health,
    services: Sequence[str],
    servicers: Sequence[tuple[Registrar, Any]],
) -> tuple[grpc.aio.Server, int]:
    """A server that has its port but does not serve yet, and the port. Raises OSError if the address is taken."""
    server = grpc.aio.server(
        interceptors=(interceptor,),
        options=(
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", settings.max_message_bytes),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.max_connection_age_ms", MAX_CONNECTION_AGE_MS),
            ("grpc.max_connection_age_grace_ms", MAX_CONNECTION_GRACE_MS),
        ),
    )
    for register, servicer in servicers:
        register(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    reflection.enable_server_reflection([*services, reflection.SERVICE_NAME], server)
    add_channelz_servicer(server)
    try:
        port = server.add_secure_port(settings.listen, server_credentials(tls))
    except RuntimeError:
        port = 0
    if port == 0:
        raise OSError(f"cannot listen on {settings.listen}: the address is taken or not of this machine")
    return server, port
