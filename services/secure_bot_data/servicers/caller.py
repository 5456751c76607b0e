"""What every method needs of the call that it serves: whom it is from, and which secret it is about."""

from typing import Any

import grpc.aio

from mesh.context import Call, current_call
from mesh.identity.peer import spiffe_id
from services.secure_bot_data.convert import to_ref
from services.secure_bot_data.domain.model import Caller, SecretRef

Context = grpc.aio.ServicerContext[Any, Any]


def about(bot_id: str, name: str = "") -> SecretRef:
    """The secret (or, without a name, the bot) that the call is about, noted for the audit trail."""
    ref = to_ref(bot_id, name)
    call = current_call()
    if call is not None:
        call.bot_id = ref.bot_id
        call.resource = f"bots/{ref.bot_id}/secrets/{name}" if name else f"bots/{ref.bot_id}"
    return ref


def caller() -> Caller:
    """Who makes the call that is being served."""
    call = _served()
    return Caller(call.actor, call.address or call.host, call.request_id)


def calling_service() -> str:
    """SPIFFE ID out of the certificate of the service that calls, whomever it acts for."""
    call = _served()
    if not call.peer:
        raise RuntimeError("this is a bug: a caller without a certificate of the mesh was let in")
    return spiffe_id(call.peer)


def _served() -> Call:
    call = current_call()
    if call is None:
        raise RuntimeError("this is a bug: a method is served outside of the chain")
    return call
