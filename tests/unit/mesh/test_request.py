"""What is read of gRPC's call: while there is one, and never afterwards."""

from dataclasses import replace
from typing import Any

import pytest

from mesh.interceptors.request import call_from
from tests.fakes.clock import ManualClock
from tests.fakes.contracts import PLAIN


class Context:
    """An RPC whose peer is the gateway, and that counts who asks."""

    def __init__(self) -> None:
        self.asked = 0

    def auth_context(self) -> dict[str, list[bytes]]:
        self.asked += 1
        return {"peer_spiffe_id": [b"spiffe://vivesphere/gateway"]}

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-forwarded-for", "192.0.2.1"),)

    def time_remaining(self) -> float | None:
        return None


def test_the_peer_of_a_unary_call_is_looked_up_when_somebody_asks() -> None:
    """Most calls are not asked, and the look-up is a good part of what the stack costs."""
    context: Any = Context()
    call = call_from(context, PLAIN, ManualClock())
    assert context.asked == 0
    assert (call.peer, call.address, context.asked) == ("gateway", "192.0.2.1", 1)
    call.origin.detach()
    assert (call.peer, call.address, context.asked) == ("gateway", "192.0.2.1", 1)


def test_nothing_is_asked_once_the_call_is_over() -> None:
    """gRPC's call is freed by then; a task that was left behind may still log."""
    context: Any = Context()
    call = call_from(context, PLAIN, ManualClock())
    call.origin.detach()
    assert (call.peer, call.address, call.user_agent, call.actor) == ("", "", "", "anonymous")
    assert context.asked == 0


@pytest.mark.parametrize("side", ["request_streaming", "response_streaming"])
def test_the_peer_of_a_stream_is_known_from_the_beginning(side: str) -> None:
    """Its generator may be closed after the call is freed."""
    context: Any = Context()
    call = call_from(context, replace(PLAIN, **{side: True}), ManualClock())
    assert context.asked == 1
    call.origin.detach()
    assert call.peer == "gateway"
