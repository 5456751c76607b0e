"""The call that is being served, as the domain wants it: who calls, from where, and what the trail says of it."""

from mesh.context import Call, Principal, current_call
from mesh.errors import Internal, PermissionDenied, Unauthenticated
from services.authentication.domain.session import Client


def _call() -> Call:
    call = current_call()
    if call is None:
        raise Internal("INTERNAL", "no call is being served")
    return call


def principal() -> Principal:
    """The signed-in caller. Raises Unauthenticated if there is none, which the access rule has ruled out before."""
    caller = _call().principal
    if caller is None:
        raise Unauthenticated("CREDENTIAL_MISSING", "sign in first")
    return caller


def in_session() -> Principal:
    """The signed-in caller with a session. Raises as `principal` does, and PermissionDenied (SESSION_REQUIRED) for an API key."""
    caller = principal()
    if not caller.session_id:
        raise PermissionDenied("SESSION_REQUIRED", "this needs a signed-in session; an API key is not enough")
    return caller


def client() -> Client:
    """The other end of the call."""
    call = _call()
    return Client(call.address, call.user_agent)


class CallTrail:
    """Implements `store.ports.Trail`: tells the audit record of the current call what it is about."""

    def about(self, resource: str) -> None:
        """See `Trail.about`."""
        _call().resource = resource
