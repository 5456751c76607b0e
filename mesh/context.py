"""What is known of the call that is being served: carried in a context variable, so that logs, audit and outgoing calls see it.

Set by the interceptor for each RPC; code that runs outside an RPC (workers, loops) sees None, or sets a `Call` of its own with
`background_call` so that what it does can be traced just the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from mesh.contract import MethodPolicy
from mesh.ids import new_id
from mesh.telemetry.tracing import Trace

if TYPE_CHECKING:
    from mesh.identity.streams import Lifeline


@dataclass(frozen=True, slots=True)
class Principal:
    """A signed-in user, as its access token or API key says. `roles` are role ids valid for the whole fleet."""

    user_id: str
    session_id: str
    """Empty for an API key."""
    token_id: str
    """`jti` of an access token; id of an API key."""
    roles: tuple[str, ...]
    expire_time: datetime
    second_factor_time: datetime | None = None
    """When a second factor was last proved in the session."""
    password_change_required: bool = False
    """The caller has yet to change a one-time password, and may do little else."""
    scope: frozenset[str] | None = None
    """Permissions an API key is limited to, wildcards unexpanded; None for a session, which has all that its roles grant."""


class Origin(Protocol):
    """Where a call comes from. Looked up when somebody asks, since most calls are not asked, and only while the call is served."""

    @property
    def peer(self) -> str:
        """Service name out of the peer's SPIFFE ID; empty where there is none."""

    @property
    def address(self) -> str:
        """Client address as the gateway saw it; empty where unknown."""

    @property
    def host(self) -> str:
        """Network address of the peer itself; empty where there is none."""

    @property
    def user_agent(self) -> str:
        """What the client calls itself; empty where unknown."""

    def detach(self) -> None:
        """The call is over: what was not looked up by now stays unknown."""


@dataclass(frozen=True, slots=True)
class Nowhere:
    """The origin of work that no RPC started."""

    peer: str = ""
    address: str = ""
    host: str = ""
    user_agent: str = ""

    def detach(self) -> None:
        """See Origin."""


@dataclass(slots=True)
class Call:
    """One RPC being served, or one piece of background work."""

    path: str
    request_id: str
    origin: Origin = field(default_factory=Nowhere, repr=False)
    trace: Trace | None = None
    """This call's own span; None where the caller began no trace."""
    policy: MethodPolicy | None = None
    principal: Principal | None = None
    authorization: str = field(default="", repr=False)
    """The caller's own `authorization` header, passed on to services that are called for it."""
    auth_fault: str = ""
    """Why the credential was refused, in fixed words for the log; the caller is not told."""
    lifeline: "Lifeline | None" = field(default=None, repr=False)
    """Ends an open stream whose credential is revoked; None for unary calls and for callers without a user's credential."""
    bot_id: str = ""
    resource: str = ""
    """What the call is about, as a path such as `bots/0190…`; a handler may set it for the trail."""
    started: float = 0.0
    """Monotonic seconds."""
    deadline: float | None = None
    """Monotonic seconds; None where there is none."""
    guarded: bool = False
    """True where gRPC itself cancels the call at its deadline, because the client gave one."""
    outcome: str = ""
    """gRPC status name once known."""
    reason: str = ""
    """ErrorReason of a failed call."""
    request: Any = field(default=None, repr=False)
    """The request message, kept for the audit trail of methods that are audited; None for streams."""
    entered: int = 0
    """How many stages of the chain the call has passed on its way in."""
    admitted: bool = False
    """True once every stage has let the call in; until then its handler knows nothing of it."""
    audited: bool = False
    """True once a record of this call is committed."""

    @property
    def peer(self) -> str:
        """Service name out of the peer's SPIFFE ID; empty where there is none."""
        return self.origin.peer

    @property
    def trace_id(self) -> str:
        """Trace id in lower-case hex; empty where there is no trace."""
        return self.trace.trace_id if self.trace else ""

    @property
    def span_id(self) -> str:
        """This call's span id in lower-case hex; empty where there is no trace."""
        return self.trace.span_id if self.trace else ""

    @property
    def address(self) -> str:
        """Client address as the gateway saw it; empty where unknown."""
        return self.origin.address

    @property
    def host(self) -> str:
        """Network address of the peer itself; empty where there is none."""
        return self.origin.host

    @property
    def user_agent(self) -> str:
        """What the client calls itself; empty where unknown."""
        return self.origin.user_agent

    @property
    def actor(self) -> str:
        """Who acts, as the trail names it: the user's id, the SPIFFE ID of a service that acts by itself, or "anonymous"."""
        if self.principal is not None:
            return self.principal.user_id
        if self.peer and self.peer != "gateway":
            return f"spiffe://vivesphere/{self.peer}"
        return "anonymous"


_current: ContextVar[Call | None] = ContextVar("vivesphere_call", default=None)


def current_call() -> Call | None:
    """The call being served in this task, or None."""
    return _current.get()


def set_call(call: Call) -> None:
    """Make `call` the current one for the rest of this task; gRPC gives every RPC a task of its own."""
    _current.set(call)


@contextmanager
def background_call(path: str, *, bot_id: str = "") -> Iterator[Call]:
    """A call for work that no RPC started: `path` names the loop or consumer, for example `bot_manager/publish`."""
    call = Call(path=path, request_id=new_id(), bot_id=bot_id)
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)


@contextmanager
def calling_with(authorization: str) -> Iterator[Call]:
    """Calls made inside carry this credential, or none, instead of the caller's, and have no deadline but their own.

    Request id and trace stay, so that what is done on the way to judging a call can be found with it.
    """
    outer = _current.get()
    request_id, trace = (new_id(), None) if outer is None else (outer.request_id, outer.trace)
    call = Call(path="" if outer is None else outer.path, request_id=request_id, trace=trace)
    call.authorization = authorization
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)
