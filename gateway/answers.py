"""What one REST call answers with, once the service has: the message rendered, or the failure as a status.

Shared by every kind of call. Metadata of a unary answer goes into headers, initial and trailing; a stream's headers leave before its
trailing metadata is known, which is left out: an item for it would be one that no reader of results and errors expects.
"""

import secrets

from loguru import logger

from gateway.transcoding.codec import CodecError
from gateway.transcoding.errors import GatewayError, internal
from gateway.transcoding.schema import Method
from gateway.transcoding.transcoder import Endpoint


def rendered(endpoint: Endpoint, answered: bytes) -> tuple[bytes, bytes]:
    """Content type and body for the one answer of a call that went well; raises GatewayError when it cannot be rendered."""
    try:
        return endpoint.renderer.unary(answered)
    except CodecError:
        raise unprintable(endpoint.method) from None


def unprintable(method: Method) -> GatewayError:
    """INTERNAL for an answer that is no message, or none that JSON can hold; logged under its incident id."""
    incident = secrets.token_hex(8)
    logger.bind(incident=incident, method=method.path).error("response cannot be sent over HTTP")
    return internal(incident)
