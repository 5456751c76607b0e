"""Requests that come compressed, which some clients do without being asked: gzip or zstd, within the limit for messages."""

from typing import Final

from gateway.edge.inflate import plain
from gateway.transcoding.errors import UNIMPLEMENTED, GatewayError

IDENTITY: Final = "identity"
_SUPPORTED: Final = (IDENTITY, "gzip", "zstd")


def require_supported(encoding: str | None) -> str:
    """The encoding that a header names, identity where there is none; raises GatewayError UNIMPLEMENTED with those that would do."""
    if not encoding:
        return IDENTITY
    if encoding not in _SUPPORTED:
        raise GatewayError(
            UNIMPLEMENTED, "NOT_IMPLEMENTED", f"supported encodings are {', '.join(_SUPPORTED)}"
        )
    return encoding


async def expand(data: bytes, encoding: str, limit: int) -> bytes:
    """What was compressed, at most `limit` bytes. Raises GatewayError. Nothing compressed is nothing, as Connect says."""
    return await plain(data, encoding, limit) if data else data
