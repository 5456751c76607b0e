"""The way to the vault: which address answers, whether it is there, and who may try.

`ask` runs one request on a worker thread, goes through the addresses until one answers as the active node, and turns everything
that is not an answer into an error of the mesh. It keeps the state that health shows, and a breaker: after a few failures calls
fail at once instead of waiting for a time-out each, and one trial per back-off finds out when the vault is back.
A write whose request may have left is never sent to a second address.
"""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

import urllib3
from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.secret import Secret
from mesh.vault.backoff import Backoff
from mesh.vault.verdicts import (
    RETRY_AFTER,
    Verdict,
    judge,
    outcome_unknown,
    permission_lost,
    sealed,
    standby,
    throttled,
    unavailable,
)
from mesh.vault.wire import Answer, Lost, Request, Wire
from mesh.vault.workers import Workers

# One time-out in a healthy system must not turn the next calls away.
TOLERANCE: Final = 3
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
# Where another address may do better, the one that tells most last: what no node of a cluster can do is said in its words.
TRY_NEXT: Final = (Verdict.AWAY, Verdict.SEALED, Verdict.STANDBY, Verdict.BROKEN)


class VaultState(Enum):
    """What health shows. Only READY serves."""

    READY = "ready"
    SEALED = "sealed"
    STANDBY = "standby"
    UNREACHABLE = "unreachable"
    DENIED = "denied"


AWAY: Final = {
    VaultState.SEALED: sealed,
    VaultState.STANDBY: standby,
    VaultState.UNREACHABLE: unavailable,
    VaultState.DENIED: permission_lost,
}
"""The error that each state but READY means."""

STATES: Final = {Verdict.SEALED: VaultState.SEALED, Verdict.STANDBY: VaultState.STANDBY}


class Link:
    """Exchanges with one vault under any token."""

    def __init__(
        self,
        addresses: Sequence[str],
        session: urllib3.PoolManager,
        workers: Workers,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._addresses = tuple(checked_address(address) for address in addresses)
        if not self._addresses:
            raise ValueError("a vault needs at least one address")
        self._session = session
        self._workers = workers
        self._backoff = Backoff(clock, jitter, TOLERANCE)
        self._active = 0
        self.state = VaultState.UNREACHABLE

    @property
    def left(self) -> timedelta:
        """Time until the vault may be tried again."""
        return self._backoff.left

    def admit(self) -> None:
        """Raises Unavailable while the vault is away and it is not yet time for a trial."""
        if left := self._backoff.admit():
            raise AWAY.get(self.state, unavailable)(max(left, RETRY_AFTER))

    async def ask(
        self, request: Request, token: Secret | None, deadline: float, *, repeatable: bool
    ) -> Answer:
        """The answer, for the operation to judge further. `repeatable`: doing it twice is the same as once.

        Raises Unavailable, OutcomeUnknown (only when not repeatable) or ResourceExhausted.
        """
        try:
            answer = await self._workers.run(
                lambda: self._go_round(request, token, deadline, repeatable), deadline
            )
        except Lost as lost:
            state, status, may_be_done = VaultState.UNREACHABLE, None, lost.sent
        else:
            verdict = judge(answer)
            if verdict not in TRY_NEXT:
                self._become(VaultState.READY, answer.status)
                return _served(answer, verdict)
            state, status = STATES.get(verdict, VaultState.UNREACHABLE), answer.status
            may_be_done = verdict is Verdict.BROKEN
        self._become(state, status)
        raise outcome_unknown() if may_be_done and not repeatable else AWAY[state]()

    def _go_round(self, request: Request, token: Secret | None, deadline: float, repeatable: bool) -> Answer:
        """On a worker thread: the first usable answer, else the one that tells most; Lost when there was none.

        A repeatable request that got lost is sent once more at the end: most often its pooled connection was stale.
        """
        outcome: Answer | Lost = Lost(sent=False)
        telling = outcome
        count, first = len(self._addresses), self._active
        for step in range(count + 1):
            again = repeatable and isinstance(outcome, Lost) and outcome.sent
            if step == count and not again:
                break
            index = (first + step) % count
            outcome = _attempt(request, Wire(self._session, self._addresses[index], token, deadline))
            # An address that failed is the last choice of the next call: a hanging one leaves no time to ask another in this one.
            self._active = index if _usable(outcome) else (index + 1) % count
            if _final(outcome, repeatable):
                telling = outcome
                break
            telling = max(telling, outcome, key=_telling)
            if time.monotonic() >= deadline:
                break
        if isinstance(telling, Lost):
            raise telling
        return telling

    def _become(self, state: VaultState, status: int | None) -> None:
        if state is VaultState.READY:
            self._backoff.succeeded()
        else:
            self._backoff.failed()
        if state is not self.state:
            logger.bind(state=state.value, was=self.state.value, status=status).info("vault state changed")
            self.state = state


def _served(answer: Answer, verdict: Verdict) -> Answer:
    """The answer when it decides something; the error of an answer that a healthy vault gives instead."""
    error: MeshError | None = None
    if verdict is Verdict.THROTTLED:
        error = throttled(answer)
    elif verdict is Verdict.MISROUTED:
        error = unavailable()
    if error is None:
        return answer
    logger.bind(status=answer.status).warning("vault refused a request")
    raise error


def _telling(outcome: Answer | Lost) -> int:
    """How much an outcome that is no answer says about the vault."""
    return -1 if isinstance(outcome, Lost) else TRY_NEXT.index(judge(outcome))


def _usable(outcome: Answer | Lost) -> bool:
    return isinstance(outcome, Answer) and judge(outcome) not in TRY_NEXT


def _final(outcome: Answer | Lost, repeatable: bool) -> bool:
    """Whether no other address may be asked: it is answered, or a write may have been done."""
    may_be_done = outcome.sent if isinstance(outcome, Lost) else judge(outcome) is Verdict.BROKEN
    return _usable(outcome) or (may_be_done and not repeatable)


def _attempt(request: Request, wire: Wire) -> Answer | Lost:
    try:
        answer = request(wire)
    except Lost as lost:
        return lost
    if not isinstance(answer, Answer):
        raise TypeError("hvac returned something else than the answer it got")
    return answer


def checked_address(address: str) -> str:
    """Only https, or http to this very machine; no path, query or credentials. Raises ValueError."""
    parts = urlsplit(address.strip().rstrip("/"))
    plain = parts.scheme == "http" and parts.hostname in LOOPBACK
    if not (parts.scheme == "https" or plain) or not parts.hostname or parts.username is not None:
        raise ValueError("a vault address is https://host:port")
    if parts.path or parts.query or parts.fragment:
        raise ValueError("a vault address is https://host:port without a path")
    return parts.geturl()
