"""What one call to X came to, judged from what was seen of it.

The one question behind every row: may X have taken the post? Only an answer that proves the contrary, or a failure before the first
byte, lets it go out again; whatever is neither that nor an id is UNKNOWN.

    seen                                                    kind                      may X have it?
    no connection: name, TCP, TLS                           NOT_SENT                  no
    time-out, reset, half an answer, 408, 409, 3xx, 5xx     UNKNOWN                   yes
    2xx with an id                                          PUBLISHED                 yes, as this id
    2xx without an id, or unreadable                        UNKNOWN                   yes
    401                                                     CREDENTIALS_REJECTED      no
    402                                                     CREDITS_DEPLETED          no
    403 "duplicate content", 187                            DUPLICATE                 perhaps from an earlier call
    403 user-suspended, suspended or locked, 64, 326        ACCOUNT_SUSPENDED         no
    403 client-forbidden, oauth1-permissions, "not          NOT_PERMITTED             no
        permitted to perform this action"
    403 daily limit of posts, 185                           RATE_LIMITED              no
    429 usage-capped                                        USAGE_CAPPED              no
    429                                                     RATE_LIMITED              no
    400, other 403, 404, any other 4xx                      REJECTED                  no

Problem types are compared by their last path segment, since X uses two host names in front of it. Old numeric codes are read too.
Pure: no HTTP library, no clock. What follows from an outcome is decided in `domain/retry.py`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

RATE_LIMIT_PREFIXES: Final = ("x-rate-limit-", "x-app-limit-24hour-", "x-user-limit-24hour-")
REQUEST_ID_HEADERS: Final = ("x-request-id", "x-transaction-id", "x-connection-hash")
NO_RESET_PAUSE: Final = timedelta(minutes=15)
"""Length of X's usual window: how long to wait after a 429 that names no end."""
LEAST_PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(days=32)
"""A month and a day: no window of X is longer."""
MAX_DETAIL_CHARS: Final = 1000

DUPLICATE_CODE: Final = 187
SUSPENDED_CODES: Final = frozenset({64, 326})
DAILY_LIMIT_CODE: Final = 185
PERMISSION_TYPES: Final = frozenset({"client-forbidden", "oauth1-permissions"})
AMBIGUOUS_STATUSES: Final = frozenset({408, 409})


class OutcomeKind(StrEnum):
    """See the table above."""

    PUBLISHED = "PUBLISHED"
    NOT_SENT = "NOT_SENT"
    UNKNOWN = "UNKNOWN"
    REJECTED = "REJECTED"
    DUPLICATE = "DUPLICATE"
    CREDENTIALS_REJECTED = "CREDENTIALS_REJECTED"
    ACCOUNT_SUSPENDED = "ACCOUNT_SUSPENDED"
    NOT_PERMITTED = "NOT_PERMITTED"
    RATE_LIMITED = "RATE_LIMITED"
    USAGE_CAPPED = "USAGE_CAPPED"
    CREDITS_DEPLETED = "CREDITS_DEPLETED"


@dataclass(frozen=True, slots=True)
class Exchange:
    """An answer of X, read to its end. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    latency: timedelta = timedelta()

    def document(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one call came to. `detail` is X's own words, or what broke, at most 1,000 code points."""

    kind: OutcomeKind
    x_post_id: str = ""
    http_status: int = 0
    problem_type: str = ""
    title: str = ""
    detail: str = ""
    x_request_id: str = ""
    latency: timedelta = timedelta()
    rate_limits: Mapping[str, str] = field(default_factory=dict)
    pause: timedelta | None = None
    """How long X wants to be left alone; of RATE_LIMITED and USAGE_CAPPED."""


def not_sent(cause: str, latency: timedelta = timedelta()) -> Outcome:
    """The call failed before its first byte left."""
    return Outcome(OutcomeKind.NOT_SENT, detail=cause[:MAX_DETAIL_CHARS], latency=latency)


def lost(cause: str, latency: timedelta = timedelta()) -> Outcome:
    """The call left, and no whole answer came."""
    return Outcome(OutcomeKind.UNKNOWN, detail=cause[:MAX_DETAIL_CHARS], latency=latency)


def judge_create(exchange: Exchange, now: datetime) -> Outcome:
    """The outcome of a request to create a post. `now` is used only where X does not tell its own time."""
    if not 200 <= exchange.status < 300:
        return judge_refusal(exchange, now)
    data = _member(exchange.document(), "data")
    x_post_id = _member(data, "id")
    if isinstance(x_post_id, str) and x_post_id.isascii() and x_post_id.isdecimal():
        return _outcome(OutcomeKind.PUBLISHED, exchange, x_post_id=x_post_id)
    return _outcome(OutcomeKind.UNKNOWN, exchange, detail="X answered without the id of a post")


def judge_refusal(exchange: Exchange, now: datetime) -> Outcome:
    """The outcome of a request that was not answered with 2xx."""
    problem = _Problem.of(exchange.document())
    kind = _kind(exchange.status, problem)
    return _outcome(
        kind,
        exchange,
        problem_type=problem.type,
        title=problem.title,
        detail=problem.detail,
        pause=_pause(kind, exchange, problem, now),
    )


@dataclass(frozen=True, slots=True)
class _Problem:
    """X's error document, whichever of its shapes it has."""

    type: str = ""
    title: str = ""
    detail: str = ""
    codes: frozenset[int] = frozenset()
    period: str = ""

    @classmethod
    def of(cls, document: object) -> "_Problem":
        errors = _member(document, "errors")
        parts = [part for part in errors if isinstance(part, dict)] if isinstance(errors, list) else []
        messages = "; ".join(_text(part, "message") for part in parts if _text(part, "message"))
        first = _text(document, "detail") or (parts and _text(parts[0], "detail")) or messages
        return cls(
            type=_text(document, "type").rstrip("/").rpartition("/")[2],
            title=_text(document, "title"),
            detail=(first or _text(document, "error"))[:MAX_DETAIL_CHARS],
            codes=frozenset(part["code"] for part in parts if isinstance(part.get("code"), int)),
            period=_text(document, "period").lower(),
        )

    def says(self, *phrases: str) -> bool:
        """Whether X's words hold one of the phrases, whatever the case."""
        words = f"{self.title} {self.detail}".lower()
        return any(phrase in words for phrase in phrases)


def _kind(status: int, problem: _Problem) -> OutcomeKind:
    if not 400 <= status < 500 or status in AMBIGUOUS_STATUSES:
        return OutcomeKind.UNKNOWN
    if status == 401:
        return OutcomeKind.CREDENTIALS_REJECTED
    if status == 402:
        return OutcomeKind.CREDITS_DEPLETED
    if status == 403:
        return _forbidden(problem)
    if status == 429:
        return OutcomeKind.USAGE_CAPPED if problem.type == "usage-capped" else OutcomeKind.RATE_LIMITED
    return OutcomeKind.REJECTED


def _forbidden(problem: _Problem) -> OutcomeKind:
    if DUPLICATE_CODE in problem.codes or problem.says("duplicate content"):
        return OutcomeKind.DUPLICATE
    if (
        problem.type == "user-suspended"
        or problem.codes & SUSPENDED_CODES
        or problem.says(
            "account is suspended", "account has been suspended", "temporarily locked", "account is locked"
        )
    ):
        return OutcomeKind.ACCOUNT_SUSPENDED
    if DAILY_LIMIT_CODE in problem.codes:
        return OutcomeKind.RATE_LIMITED
    if problem.type in PERMISSION_TYPES or problem.says("not permitted to perform this action"):
        return OutcomeKind.NOT_PERMITTED
    return OutcomeKind.REJECTED


def _pause(kind: OutcomeKind, exchange: Exchange, problem: _Problem, now: datetime) -> timedelta | None:
    there = _time_there(exchange, now)
    if kind is OutcomeKind.USAGE_CAPPED:
        return _until_period_end(problem.period, there)
    if kind is not OutcomeKind.RATE_LIMITED:
        return None
    resets = _resets(exchange.headers)
    if not resets:
        return NO_RESET_PAUSE
    # Measured on X's own clock, so that a wrong one here neither hammers nor sleeps for hours.
    pause = timedelta(seconds=max(resets) - there.timestamp())
    return min(max(pause, LEAST_PAUSE), LONGEST_PAUSE)


def _resets(headers: Mapping[str, str]) -> list[int]:
    """Unix times at which the windows end that are used up; if none says so, of the endpoint's own window."""
    windows = {prefix: _number(headers.get(f"{prefix}reset")) for prefix in RATE_LIMIT_PREFIXES}
    used_up = [
        reset for prefix, reset in windows.items() if reset and headers.get(f"{prefix}remaining") == "0"
    ]
    own = windows[RATE_LIMIT_PREFIXES[0]]
    return used_up or ([own] if own else [])


def _until_period_end(period: str, now: datetime) -> timedelta:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "daily":
        return today + timedelta(days=1) - now
    month = today.replace(day=1) + timedelta(days=32)
    return month.replace(day=1) - now


def _time_there(exchange: Exchange, now: datetime) -> datetime:
    try:
        said = parsedate_to_datetime(exchange.headers.get("date", ""))
    except ValueError:
        return now
    return said if said.tzinfo is not None else said.replace(tzinfo=UTC)


def _outcome(kind: OutcomeKind, exchange: Exchange, **more: Any) -> Outcome:
    headers = exchange.headers
    return Outcome(
        kind,
        http_status=exchange.status,
        x_request_id=next((headers[name] for name in REQUEST_ID_HEADERS if name in headers), ""),
        latency=exchange.latency,
        rate_limits={name: value for name, value in headers.items() if name.startswith(RATE_LIMIT_PREFIXES)},
        **more,
    )


def _member(document: object, name: str) -> object:
    return document.get(name) if isinstance(document, dict) else None


def _text(document: object, name: str) -> str:
    value = _member(document, name)
    return value if isinstance(value, str) else ""


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 12 else None
