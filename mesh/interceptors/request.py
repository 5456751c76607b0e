"""Reads the call's context out of gRPC: peer, request id, trace, client address, deadline."""

import re

from mesh.clock import Clock
from mesh.context import Call
from mesh.contract import MethodPolicy
from mesh.identity.peer import GATEWAY, peer_service
from mesh.ids import new_id
from mesh.interceptors.chain import ServicerContext
from mesh.telemetry.tracing import parse_traceparent

DEFAULT_DEADLINE_SECONDS = 30.0
"""Deadline of a call that brings none. Streams bring their own or run until they end."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_MAX_USER_AGENT = 256


class RpcOrigin:
    """Where an RPC comes from. Client address and agent are believed from the gateway only.

    gRPC frees its call when the RPC is over, and a question to it afterwards ends the process (SIGSEGV). The generator of a stream may
    be closed later than that, as may a task that a handler leaves behind, so a stream's peer is looked up at its beginning and nothing
    is asked once the origin is detached.
    """

    __slots__ = ("_context", "_metadata", "_peer")

    def __init__(self, context: ServicerContext, metadata: dict[str, str]) -> None:
        self._context: ServicerContext | None = context
        self._metadata = metadata
        self._peer: str | None = None

    @property
    def peer(self) -> str:
        """See Origin."""
        if self._peer is None:
            self._peer = "" if self._context is None else peer_service(self._context)
        return self._peer

    def detach(self) -> None:
        """See Origin."""
        self._context = None

    @property
    def address(self) -> str:
        """See Origin."""
        return self._metadata.get("x-forwarded-for", "") if self.peer == GATEWAY else ""

    @property
    def host(self) -> str:
        """See Origin. gRPC writes `ipv4:127.0.0.1:50332` and `ipv6:%5B::1%5D:50332`."""
        if self._context is None:
            return ""
        _, _, address = self._context.peer().partition(":")
        return address.rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]")

    @property
    def user_agent(self) -> str:
        """See Origin. gRPC overwrites `user-agent` on the way, so the gateway sends the client's under another name."""
        name = "x-user-agent" if self.peer == GATEWAY else "user-agent"
        return self._metadata.get(name, "")[:_MAX_USER_AGENT]


def call_from(context: ServicerContext, policy: MethodPolicy, clock: Clock) -> Call:
    """The call's context."""
    metadata: dict[str, str] = {}
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            metadata.setdefault(key, value)
    request_id = metadata.get("x-request-id", "")
    above = parse_traceparent(metadata.get("traceparent", ""))
    started = clock.monotonic()
    remaining = context.time_remaining()
    guarded = remaining is not None
    origin = RpcOrigin(context, metadata)
    if policy.response_streaming or policy.request_streaming:
        _ = origin.peer  # looked up while there is somebody to ask
    elif remaining is None:
        remaining = DEFAULT_DEADLINE_SECONDS
    return Call(
        path=policy.path,
        policy=policy,
        request_id=request_id if _REQUEST_ID.fullmatch(request_id) else new_id(),
        origin=origin,
        trace=above.child() if above else None,
        authorization=metadata.get("authorization", ""),
        started=started,
        deadline=None if remaining is None else started + remaining,
        guarded=guarded,
    )
