"""The chain of stages that every call of every service passes, in one place and in one order.

A stage may act on the way in (`enter`, may refuse by raising a `MeshError`) and on the way out (`leave`, sees the outcome). Stages
that always run together are kept in one chain under one gRPC interceptor, since each further interceptor of gRPC's own wraps every
call once more. Errors are mapped by the adapter, outside of all stages, so that a refusal by any of them is told to the caller the same way.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import grpc.aio

from mesh.context import Call

ServicerContext: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Stage(Protocol):
    """One thing done around each call. `leave` runs for each stage whose `enter` was begun, from the inside out."""

    name: str

    async def enter(self, call: Call, request: Any, context: ServicerContext) -> None:
        """Look at the call before the handler. `request` is None for streamed requests."""

    async def leave(self, call: Call) -> None:
        """Look at the outcome (`call.outcome`, `call.reason`)."""


ORDER = (
    "observe",  # outermost: whatever happens further in is counted, timed and logged in one canonical line
    "overload",  # refuse before spending anything on the call
    "audit",  # before access, so that denied attempts are on the trail too
    "access",  # who are you, and may you: before a byte of the request is judged (AIP-211)
    "deadline",  # hopeless work is not begun
    "validation",  # last: only callers who may call learn what is wrong with their request
)
"""Names of the stages from the outside in. A test holds the assembled chain against it."""


class Chain:
    """Stages in order. Raises ValueError if they are not the ones in `ORDER`: a server without its guards must not start."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        names = tuple(stage.name for stage in stages)
        if names != ORDER:
            raise ValueError(f"this is a bug: stages are {names}, not {ORDER}")
        self._stages = tuple(stages)

    async def enter(self, call: Call, request: Any, context: ServicerContext) -> None:
        """Pass the call through every stage; the first refusal ends it."""
        for stage in self._stages:
            call.entered += 1
            await stage.enter(call, request, context)
        call.admitted = True

    async def leave(self, call: Call) -> None:
        """Tell the outcome to every stage that was entered, once. Only `audit` may raise: then the call fails."""
        while call.entered:
            call.entered -= 1
            await self._stages[call.entered].leave(call)
