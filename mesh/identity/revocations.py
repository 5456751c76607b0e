"""What is no longer to be trusted although it has not ended yet: this process's copy of authentication's feed of revocations.

A loop watches the feed (`AuthenticationService.WatchRevocations`): a snapshot first, then entries numbered without gaps, and a
heartbeat each second that says which number is the newest.

    no position ──── last part of a snapshot ────▶ at N ──── entry N+1, heartbeat up to N ────▶ at N+1, at N
         ▲                                           │
         └────── gap: any other entry, a higher ─────┘          a lost stream goes on after N
                 heartbeat, OUT_OF_RANGE

What was read stays in force through gaps and outages, but grows old: `fresh` tells whether something was heard within the bound, and
dangerous methods are refused when it was not. An entry of a kind that this version does not know may refuse anything, so the copy
counts as stale while it holds one. Entries are forgotten when they expire, since what they refuse has ended by itself by then; that
bounds the memory.

Where the feed comes from is an argument, because authentication reads its own from its database and not from itself over the network.
"""

import heapq
import math
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Final, Protocol, TypeAlias

from loguru import logger

from mesh.channels import subscribe
from mesh.clock import Clock
from mesh.errors import MeshError, OutOfRange, Unavailable
from mesh.identity.tokens import AccessToken
from mesh.tasks import Backoff
from vivesphere.authentication.v1 import authentication_service_pb2, revocation_pb2
from vivesphere.authentication.v1.revocation_pb2 import (
    REVOCATION_KIND_API_KEY,
    REVOCATION_KIND_SESSION,
    REVOCATION_KIND_SIGNING_KEY,
    REVOCATION_KIND_TOKEN,
    REVOCATION_KIND_UNSPECIFIED,
    REVOCATION_KIND_USER,
    Revocation,
)

SILENCE: Final = timedelta(seconds=3)
"""Heartbeats come each second; three missed ones mean the stream is dead."""
RETRY: Final = Backoff(first=timedelta(milliseconds=100), most=timedelta(seconds=2))
STEADY: Final = timedelta(seconds=5)
"""A stream that lasted so long was a good one: the pause after it is short again."""
ASK_AGAIN: Final = timedelta(seconds=1)

Event: TypeAlias = authentication_service_pb2.WatchRevocationsResponse
Source: TypeAlias = Callable[[int], AsyncGenerator[Event, None]]
"""Gives the events of WatchRevocations after the entry of this number, or from a snapshot for 0; may raise MeshError."""


class Listener(Protocol):
    """Wants to know at once what is revoked. Called in the loop that reads the feed, so it must neither wait nor raise."""

    def revoked(self, revocation: Revocation) -> None:
        """An entry came into force, alone or in a snapshot; it may have been told before."""

    def started_over(self) -> None:
        """A snapshot took the place of an unknown number of entries: some may have come and expired in between."""


class Revocations:
    """The copy and the loop that keeps it."""

    def __init__(self, source: Source, clock: Clock, max_age: Callable[[], timedelta]) -> None:
        """`max_age` is asked at each use, since it is a setting."""
        self._source = source
        self._clock = clock
        self._max_age = max_age
        self._held = _Held()
        self._position: int | None = None
        self._heard: float | None = None
        self._listeners: list[Listener] = []

    @property
    def loaded(self) -> bool:
        """Whether a snapshot was ever read."""
        return self._heard is not None

    def age(self) -> timedelta:
        """How long nothing was heard of the feed."""
        if self._heard is None:
            return timedelta.max
        return timedelta(seconds=self._clock.monotonic() - self._heard)

    @property
    def fresh(self) -> bool:
        """Whether the copy is good enough for dangerous methods."""
        return not self._held.unknown and self.age() <= self._max_age()

    def refuses(self, token: AccessToken) -> bool:
        """Whether the token was revoked."""
        held = self._held
        return (
            token.session_id in held.sessions
            or token.token_id in held.tokens
            or token.key_id in held.signing_keys
            or ((entry := held.users.get(token.subject)) is not None and token.issued_at <= entry.revoked_at)
        )

    def refuses_key(self, api_key_id: str) -> bool:
        """Whether the API key was revoked."""
        return api_key_id in self._held.api_keys

    def require_loaded(self) -> None:
        """Raises Unavailable (POLICY_NOT_LOADED) before the first snapshot: whether a token was revoked is unknown then."""
        if self._heard is None:
            raise Unavailable(
                "POLICY_NOT_LOADED",
                "revocations have not been read from authentication yet",
                retry_after=ASK_AGAIN,
            )

    def require_fresh(self) -> None:
        """Raises Unavailable (REVOCATIONS_STALE)."""
        if not self.fresh:
            raise Unavailable(
                "REVOCATIONS_STALE",
                "nothing was heard of revocations for too long to allow this now",
                retry_after=ASK_AGAIN,
            )

    async def check(self) -> None:
        """For health: raises Unavailable while dangerous methods are refused."""
        self.require_fresh()

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of everything from now on."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Follow the feed until cancelled."""
        failures = 0
        while True:
            began = self._clock.monotonic()
            try:
                await self._follow()
            except MeshError as error:
                if isinstance(error, OutOfRange):
                    self._position = None
                logger.bind(reason=error.reason).debug("revocation feed interrupted")
            lived = self._clock.monotonic() - began
            failures = 1 if lived > STEADY.total_seconds() else failures + 1
            await self._clock.sleep(RETRY.pause(failures))

    async def _follow(self) -> None:
        """One stream to its end, or to the first gap."""
        parts: list[revocation_pb2.RevocationSnapshot] = []
        async with aclosing(self._source(self._position or 0)) as events:
            async for event in events:
                if not self._take(event, parts):
                    self._position = None
                    logger.bind(event=event.WhichOneof("event")).warning("gap in the revocation feed")
                    return
                self._held.forget(self._clock.now().timestamp())

    def _take(self, event: Event, parts: list[revocation_pb2.RevocationSnapshot]) -> bool:
        """Whether the event goes on from where we are. `parts` are those of a snapshot whose last part is still to come."""
        kind = event.WhichOneof("event")
        if kind == "snapshot":
            parts.append(event.snapshot)
            if not event.snapshot.more:
                self._replace(parts)
                parts.clear()
            return True
        in_step = self._position is not None and not parts
        if kind == "revocation":
            if not in_step or event.revocation.sequence != (self._position or 0) + 1:
                return False
            self._apply(event.revocation)
        elif kind == "heartbeat" and in_step:
            if event.heartbeat.sequence > (self._position or 0):
                return False
            self._heard = self._clock.monotonic()
        return True

    def _replace(self, parts: Iterable[revocation_pb2.RevocationSnapshot]) -> None:
        held, sequence = _Held(), 0
        entries: list[Revocation] = []
        for part in parts:
            sequence = part.sequence
            entries.extend(part.revocations)
        for entry in entries:
            held.add(entry)
        self._held = held
        if sequence != self._position:
            for listener in self._listeners:
                listener.started_over()
        self._arrive(sequence, entries)
        logger.bind(sequence=sequence, entries=len(entries)).debug("revocations read")

    def _apply(self, entry: Revocation) -> None:
        self._held.add(entry)
        self._arrive(entry.sequence, (entry,))

    def _arrive(self, sequence: int, entries: Iterable[Revocation]) -> None:
        for entry in entries:
            for listener in self._listeners:
                listener.revoked(entry)
        self._position = sequence
        self._heard = self._clock.monotonic()


class _Entry:
    """What is known of one revoked id."""

    __slots__ = ("expires_at", "revoked_at")

    def __init__(self, revoked_at: int, expires_at: float) -> None:
        self.revoked_at = revoked_at
        self.expires_at = expires_at


class _Held:
    """Entries in force, by kind and id."""

    def __init__(self) -> None:
        self.sessions: dict[str, _Entry] = {}
        self.users: dict[str, _Entry] = {}
        self.tokens: dict[str, _Entry] = {}
        self.api_keys: dict[str, _Entry] = {}
        self.signing_keys: dict[str, _Entry] = {}
        self.unknown: dict[str, _Entry] = {}
        self._kinds: dict[int, dict[str, _Entry]] = {
            REVOCATION_KIND_UNSPECIFIED: self.unknown,
            REVOCATION_KIND_SESSION: self.sessions,
            REVOCATION_KIND_USER: self.users,
            REVOCATION_KIND_TOKEN: self.tokens,
            REVOCATION_KIND_API_KEY: self.api_keys,
            REVOCATION_KIND_SIGNING_KEY: self.signing_keys,
        }
        self._ends: list[tuple[float, int, str]] = []
        """A heap: what expires when."""

    def add(self, revocation: Revocation) -> None:
        """Take an entry in. Of two about the same id the later times count."""
        kind = revocation.kind if revocation.kind in self._kinds else REVOCATION_KIND_UNSPECIFIED
        if kind == REVOCATION_KIND_UNSPECIFIED:
            logger.bind(kind=int(revocation.kind)).error("revocation of an unknown kind, the copy is stale")
        revoked_at = revocation.revoke_time.seconds
        expires_at = _seconds(revocation.expire_time) if revocation.HasField("expire_time") else math.inf
        entries = self._kinds[kind]
        known = entries.get(revocation.id)
        if known is not None:
            revoked_at = max(revoked_at, known.revoked_at)
            expires_at = max(expires_at, known.expires_at)
        entries[revocation.id] = _Entry(revoked_at, expires_at)
        heapq.heappush(self._ends, (expires_at, kind, revocation.id))

    def forget(self, now: float) -> None:
        """Drop what expired before `now`, Unix seconds."""
        while self._ends and self._ends[0][0] <= now:
            _, kind, revoked_id = heapq.heappop(self._ends)
            entry = self._kinds[kind].get(revoked_id)
            if entry is not None and entry.expires_at <= now:
                del self._kinds[kind][revoked_id]


def _seconds(time: Any) -> float:
    return float(time.seconds + time.nanos / 1_000_000_000)


def feed_of_authentication(authentication: Callable[[], Any], instance: str) -> Source:
    """The feed over the network. `authentication` gives a stub of AuthenticationService; `instance` is the name of this process."""

    def watch(from_sequence: int) -> AsyncGenerator[Event, None]:
        request = authentication_service_pb2.WatchRevocationsRequest(
            from_sequence=from_sequence, instance=instance
        )
        return subscribe(authentication().WatchRevocations, request, silence=SILENCE)

    return watch
