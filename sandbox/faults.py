"""Faults on demand: what can go wrong between a client and X, made to happen.

A fault waits until a `POST /2/tweets` it applies to arrives, or, with `"endpoint": "token"`, a request for tokens. Faults are taken in the order they were asked for, one per
request; each hits `count` requests and, when it has a probability, each request only with that chance. A fault that
acts after the post was stored is given back when the rules refused the post.

`hidden_for_seconds` is different: it accompanies any outcome, and keeps each stored post out of its author's timeline
for a while, as X's read side may lag behind its write side. Look-up by id is not affected.

`clock_skew` is no fault of one request either: it holds for everything, Date headers, times of posts, windows and timestamps of signatures,
until faults are cleared or another skew takes its place.

Faults live in memory: a restart and `clear` end them, and end what they still hide.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from sandbox import body
from sandbox.clock import SkewedClock
from sandbox.problems import Invalid

MAX_FAULTS = 100
MAX_COUNT = 1_000_000
MAX_SECONDS = 86_400
DEFAULT_SLOW_SECONDS = 2.0
POST_ENDPOINT = "create_post"
TOKEN_ENDPOINT = "token"  # noqa: S105  # a name, not a secret


class Kind(StrEnum):
    """What happens. `before` and `after` tell whether the post was stored."""

    TIMEOUT_BEFORE = "timeout_before"  # no answer, the connection stays open
    TIMEOUT_AFTER = "timeout_after"
    RESET_BEFORE = "reset_before"  # the connection is reset
    RESET_AFTER = "reset_after"
    ERROR_500_BEFORE = "error_500_before"
    ERROR_500_AFTER = "error_500_after"
    HTML_502 = "html_502"  # a proxy's HTML page; not stored
    NO_ID = "no_id"  # stored, 201, but the answer lacks the id
    SLOW = "slow"  # stored, right answer, late by `seconds`
    RATE_LIMITED = "rate_limited"  # 429; not stored; resets after `seconds` or at the end of the window
    CREDITS_DEPLETED = "credits_depleted"  # 402; not stored
    USAGE_CAPPED = "usage_capped"  # 429 of the app's monthly cap; not stored
    DUPLICATE = "duplicate"  # 403 duplicate content; not stored
    UNAUTHORIZED = "unauthorized"  # 401; not stored
    SUSPENDED = "suspended"  # 403 user-suspended; not stored
    NOT_PERMITTED = "not_permitted"  # 403 oauth1-permissions; not stored
    COLD_REPLY = "cold_reply"  # 403 for a reply to somebody who did not mention the account; not stored
    HIDDEN_FOR_SECONDS = "hidden_for_seconds"
    CLOCK_SKEW = "clock_skew"  # X's clock is `seconds` ahead, or behind if negative


AFTER_STORING = frozenset({Kind.TIMEOUT_AFTER, Kind.RESET_AFTER, Kind.ERROR_500_AFTER, Kind.NO_ID, Kind.SLOW})
OF_TOKENS = frozenset(
    {
        Kind.TIMEOUT_BEFORE,
        Kind.TIMEOUT_AFTER,
        Kind.RESET_BEFORE,
        Kind.RESET_AFTER,
        Kind.ERROR_500_BEFORE,
        Kind.ERROR_500_AFTER,
        Kind.HTML_502,
        Kind.RATE_LIMITED,
    }
)
"""What can happen to a request for tokens; there `after` means that the token was exchanged."""

_SHAPE = body.record(
    {
        "kind": body.choice(*Kind),
        "count": body.whole(1, MAX_COUNT),
        "probability": body.number(0, 1),
        "seconds": body.number(-MAX_SECONDS, MAX_SECONDS),
        "user_id": body.identifier,
        "endpoint": body.choice(POST_ENDPOINT, TOKEN_ENDPOINT),
    },
    required=("kind",),
)
_WITH_SECONDS = {Kind.SLOW, Kind.RATE_LIMITED, Kind.HIDDEN_FOR_SECONDS, Kind.CLOCK_SKEW}


@dataclass(slots=True, eq=False)
class Fault:
    """A fault that waits; two of the same kind are two faults. `remaining` None: no limit. `user_id` None: everybody."""

    kind: Kind
    remaining: int | None
    probability: float = 1.0
    seconds: float | None = None
    user_id: str | None = None
    endpoint: str = POST_ENDPOINT

    def as_json(self) -> dict[str, object]:
        """As the control paths show it."""
        return {
            "kind": self.kind.value,
            "count": self.remaining,
            "probability": self.probability,
            "seconds": self.seconds,
            "user_id": self.user_id,
            "endpoint": self.endpoint,
        }


def fault_of(raw: bytes) -> Fault:
    """Read the body of `POST /sandbox/faults`.

    `count` defaults to 1, or to no limit when a probability is given. For `hidden_for_seconds` the duration is
    `seconds`; without it `count` is the duration and every post is hidden until faults are cleared.

    Raises:
        Invalid: names the field.
    """
    given = body.parse_object(raw)
    _SHAPE(given, "$")
    kind = Kind(cast("str", given["kind"]))
    count = cast("int | None", given.get("count"))
    seconds = cast("float | None", given.get("seconds"))
    if seconds is not None and kind not in _WITH_SECONDS:
        raise Invalid("seconds", f"does not apply to {kind.value}", seconds)
    if seconds is not None and seconds < 0 and kind is not Kind.CLOCK_SKEW:
        raise Invalid("seconds", "must be 0 or more", seconds)
    if kind is Kind.CLOCK_SKEW:
        if seconds is None:
            raise Invalid("seconds", "is missing but it is required")
        return Fault(kind, None, seconds=seconds)
    endpoint = cast("str", given.get("endpoint", POST_ENDPOINT))
    if endpoint == TOKEN_ENDPOINT and (kind not in OF_TOKENS or "user_id" in given):
        raise Invalid(
            "endpoint", f"{kind.value} does not apply to tokens, or not to those of one user", endpoint
        )
    if kind is Kind.HIDDEN_FOR_SECONDS:
        if seconds is None and count is None:
            raise Invalid("seconds", "is missing but it is required")
        if seconds is None:
            count, seconds = None, min(cast("int", count), MAX_SECONDS)
    elif count is None and "probability" not in given:
        count = 1
    return Fault(
        kind,
        count,
        cast("float", given.get("probability", 1.0)),
        seconds,
        cast("str | None", given.get("user_id")),
        endpoint,
    )


class Faults:
    """The faults that wait, and the posts that are hidden."""

    def __init__(self, clock: SkewedClock, chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self._waiting: list[Fault] = []
        self._hidden_until: dict[str, float] = {}

    def add(self, fault: Fault) -> None:
        """Let a fault wait; a skew takes effect at once. Raises Invalid beyond MAX_FAULTS."""
        if fault.kind is Kind.CLOCK_SKEW:
            self._clock.ahead_seconds = fault.seconds or 0
            return
        if len(self._waiting) >= MAX_FAULTS:
            raise Invalid("kind", f"more than {MAX_FAULTS} faults wait already")
        self._waiting.append(fault)

    def clear(self) -> int:
        """Forget every fault, show every hidden post and set the clock right; how many faults waited."""
        self._clock.ahead_seconds = 0
        cleared = len(self._waiting)
        self._waiting.clear()
        self._hidden_until.clear()
        return cleared

    def waiting(self) -> list[Fault]:
        """The faults that wait, in order."""
        return list(self._waiting)

    def draw(self, user_id: str, endpoint: str = POST_ENDPOINT) -> Fault | None:
        """The fault that hits this user's request, used up by one."""
        return self._take(user_id, endpoint, hiding=False)

    def give_back(self, fault: Fault) -> None:
        """Undo a draw: the fault waits again, in front."""
        if fault.remaining is not None:
            fault.remaining += 1
        if fault not in self._waiting:
            self._waiting.insert(0, fault)

    def stored(self, user_id: str, post_id: str) -> None:
        """A post was stored: hide it if a fault says so."""
        if fault := self._take(user_id, POST_ENDPOINT, hiding=True):
            now = self._clock()
            self._hidden_until = {known: until for known, until in self._hidden_until.items() if until > now}
            self._hidden_until[post_id] = now + (fault.seconds or 0)

    def hides(self, post_id: str) -> bool:
        """Whether timelines leave this post out right now."""
        return self._hidden_until.get(post_id, 0) > self._clock()

    def _take(self, user_id: str, endpoint: str, *, hiding: bool) -> Fault | None:
        for fault in self._waiting:
            here = fault.endpoint == endpoint and (fault.kind is Kind.HIDDEN_FOR_SECONDS) == hiding
            if here and fault.user_id in {None, user_id} and self._chance.random() < fault.probability:
                if fault.remaining is not None:
                    fault.remaining -= 1
                    if fault.remaining == 0:
                        self._waiting.remove(fault)
                return fault
        return None
