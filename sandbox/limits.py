"""Rate limits: fixed windows per endpoint, for each user and for the app, as X counts them.

A window opens with its first request and lasts its full length; requests beyond the limit are refused until it ends
and are not counted. All accounts of the sandbox belong to one app, as the bots of one self-hoster do. Numbers are from
X's rate-limit page. Counters live in memory: a restart forgives.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.clock import Clock

QUARTER_HOUR_SECONDS = 15 * 60
DAY_SECONDS = 24 * 60 * 60
USER_HEADER = "x-rate-limit"
APP_DAY_HEADER = "x-app-limit-24hour"
USER_DAY_HEADER = "x-user-limit-24hour"


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` requests in `seconds`, for one user or for the whole app."""

    limit: int
    seconds: int = QUARTER_HOUR_SECONDS
    per_user: bool = True
    header: str | None = USER_HEADER
    """Prefix of the three headers that report it; None: X enforces it silently."""


ENDPOINTS: Mapping[str, tuple[Window, ...]] = {
    "create_post": (
        Window(100),
        Window(2_400, DAY_SECONDS, header=USER_DAY_HEADER),
        Window(10_000, DAY_SECONDS, per_user=False, header=APP_DAY_HEADER),
    ),
    "delete_post": (Window(50),),
    "get_posts": (Window(5_000), Window(3_500, per_user=False, header=None)),
    "get_me": (Window(75),),
    "get_user_posts": (Window(900), Window(10_000, per_user=False, header=None)),
    **dict.fromkeys(
        ("initialize_media", "append_media", "finalize_media"),
        (Window(1_875), Window(180_000, DAY_SECONDS, per_user=False, header=None)),
    ),
    "get_media_status": (Window(1_000),),
    "upload_media": (Window(500),),
    "describe_media": (Window(500), Window(50_000, DAY_SECONDS, per_user=False, header=None)),
}


@dataclass(slots=True)
class _Counter:
    ends_at: float
    used: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may go on, and the headers its answer carries either way."""

    allowed: bool
    headers: dict[str, str]


class Limits:
    """Counters of every endpoint. `enforced=False` reports full windows and never refuses."""

    def __init__(self, clock: Clock, *, enforced: bool = True) -> None:
        self._clock = clock
        self._enforced = enforced
        self._counters: dict[tuple[str, int, str], _Counter] = {}

    def take(self, endpoint: str, user_id: str) -> Verdict:
        """Count one request of `user_id` to `endpoint` (a key of ENDPOINTS) unless a window refuses it."""
        windows = ENDPOINTS[endpoint]
        counters = [self._counter(endpoint, index, window, user_id) for index, window in enumerate(windows)]
        full = [w for w, c in zip(windows, counters, strict=True) if c.used >= w.limit]
        if self._enforced and not full:
            for counter in counters:
                counter.used += 1
        headers: dict[str, str] = {}
        for window, counter in zip(windows, counters, strict=True):
            if window.header is not None:
                headers |= _report(window.header, window, counter)
            elif window in full:
                headers |= _report(USER_HEADER, window, counter)
        return Verdict(not full, headers)

    def _counter(self, endpoint: str, index: int, window: Window, user_id: str) -> _Counter:
        key = (endpoint, index, user_id if window.per_user else "")
        counter = self._counters.get(key)
        now = self._clock()
        if counter is None or now >= counter.ends_at:
            counter = self._counters[key] = _Counter(now + window.seconds)
        return counter


def _report(prefix: str, window: Window, counter: _Counter) -> dict[str, str]:
    return {
        f"{prefix}-limit": str(window.limit),
        f"{prefix}-remaining": str(window.limit - counter.used),
        f"{prefix}-reset": str(int(counter.ends_at) + 1),
    }
