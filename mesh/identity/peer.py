"""Which service is at the other end: the SPIFFE ID in its certificate, checked by TLS before any of our code runs."""

import grpc.aio

TRUST_DOMAIN = "vivesphere"
_PREFIX = f"spiffe://{TRUST_DOMAIN}/"
GATEWAY = "gateway"


def spiffe_id(service: str) -> str:
    """The SPIFFE ID in the certificate of a service of this mesh."""
    return f"{_PREFIX}{service}"


def peer_service(context: "grpc.aio.ServicerContext[object, object]") -> str:
    """Service name of the peer, or "" if its certificate carries no SPIFFE ID of this mesh."""
    identities = context.auth_context().get("peer_spiffe_id")
    if not identities:
        return ""
    uri = next(iter(identities)).decode("ascii", "replace")
    return uri.removeprefix(_PREFIX) if uri.startswith(_PREFIX) else ""
