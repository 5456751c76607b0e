"""Reads the call's context out of gRPC: peer, request id, trace, client address, deadline."""

import re

from mesh.clock import Clock
from mesh.context import Call
from mesh.contract import MethodPolicy
from mesh.identity.peer import GATEWAY, peer_service
from mesh.ids import new_id
from mesh.interceptors.chain import ServicerContext

DEFAULT_DEADLINE_SECONDS = 30.0
"""Deadline of a call that brings none. Streams bring their own or run until they end."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}", re.ASCII)
_MAX_USER_AGENT = 256


def call_from(context: ServicerContext, policy: MethodPolicy, clock: Clock) -> Call:
    """The call's context. Client address is believed from the gateway only."""
    metadata: dict[str, str] = {}
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            metadata.setdefault(key, value)
    peer = peer_service(context)
    request_id = metadata.get("x-request-id", "")
    trace = _TRACEPARENT.fullmatch(metadata.get("traceparent", ""))
    started = clock.monotonic()
    remaining = context.time_remaining()
    if remaining is None and not (policy.response_streaming or policy.request_streaming):
        remaining = DEFAULT_DEADLINE_SECONDS
    return Call(
        path=policy.path,
        policy=policy,
        request_id=request_id if _REQUEST_ID.fullmatch(request_id) else new_id(),
        peer=peer,
        address=metadata.get("x-forwarded-for", "") if peer == GATEWAY else "",
        user_agent=_user_agent(metadata, peer)[:_MAX_USER_AGENT],
        trace_id=trace.group(1) if trace else "",
        span_id=trace.group(2) if trace else "",
        authorization=metadata.get("authorization", ""),
        started=started,
        deadline=None if remaining is None else started + remaining,
    )


def _user_agent(metadata: dict[str, str], peer: str) -> str:
    """The client's own: gRPC overwrites `user-agent` on the way, so the gateway sends it under another name."""
    if peer == GATEWAY:
        return metadata.get("x-user-agent", "")
    return metadata.get("user-agent", "")
