"""Windows of X's rate limits, against a model that counts every call."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from services.bot_manager.domain.limits import (
    APP,
    DAY,
    POST,
    QUARTER,
    USED_UP,
    USER,
    Key,
    Report,
    Window,
    limits_of,
    reports,
    tightest,
    used_up,
)
from services.bot_manager.domain.model import Bot, BotState
from services.bot_manager.domain.money import App, Tier

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY = Key("bot-1", USER, POST, QUARTER)
BOT = Bot("bot-1", "acme", BotState.ACTIVE, NOW, NOW, app_id="app-1")


@dataclass
class Account:
    """X's own count: a window opens with its first call. `beside` calls are somebody else's."""

    limit: int
    end: datetime | None = None
    used: int = 0
    ends: list[datetime] = field(default_factory=list)

    def call(self, now: datetime) -> Report | None:
        """A call at X; what its answer tells, None if it was refused."""
        if self.end is None or now >= self.end:
            self.end, self.used = now + QUARTER, 0
        if self.used >= self.limit:
            return None
        self.used += 1
        return Report(KEY, self.used, self.end, self.limit)


@given(
    configured=st.integers(1, 12),
    at_x=st.integers(1, 12),
    steps=st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.booleans()), max_size=80),
)
@settings(max_examples=200, deadline=None)
def test_once_x_has_named_its_window_it_is_never_asked_beyond_it(
    configured: int, at_x: int, steps: list[tuple[int, bool, bool]]
) -> None:
    """Steps are minutes that pass, whether somebody else uses the account then, and whether its next answer is lost.

    A refused call is a call that told us nothing we could not have known; and what is configured holds whatever X says.
    """
    account, window, now, reserved = Account(at_x), Window(0, NOW), NOW, 0
    foreign = False
    for minutes, beside, lost in steps:
        now += minutes * MINUTE
        if beside:
            account.call(now)
            foreign = True
        before = window
        window = window.at(now, QUARTER)
        reserved = 0 if window is not before and window.used == 0 else reserved
        if window.left(configured) < 1:
            continue
        window, reserved = window.plus(1), reserved + 1
        assert reserved <= configured
        told = account.call(now)
        if told is None:
            assert foreign or not before.reported or now >= before.reset_time
            window = used_up("bot-1", account.end or now).over(window)
            assert window.left(configured) == 0
        elif not lost:
            after = told.over(window)
            assert after.left(configured) <= window.left(configured)
            window = after


def test_an_old_word_about_a_window_that_is_over_changes_nothing() -> None:
    """Answers overtake each other."""
    window = Report(KEY, 3, NOW + QUARTER, 100).over(Window(0, NOW))
    assert Report(KEY, 99, NOW + MINUTE, 100).over(window) == window


def test_a_word_that_tells_nothing_new_is_known_as_such() -> None:
    """Answers come by the hundred a second; only news are worth a write."""
    known = Report(KEY, 3, NOW + QUARTER, 100).over(Window(0, NOW))
    second = timedelta(seconds=1)
    told = {
        Report(KEY, 3, NOW + QUARTER + second, 100): False,
        Report(KEY, 2, NOW + QUARTER, 100): False,
        Report(KEY, 99, NOW, 100): False,
        Report(KEY, 4, NOW + QUARTER, 100): True,
        Report(KEY, 1, NOW + QUARTER, 99): True,
        Report(KEY, 1, NOW + 2 * QUARTER, 100): True,
    }
    assert {report: report.is_news(known) for report in told} == told
    assert Report(KEY, 0, NOW + QUARTER, 100).is_news(None)
    assert Report(KEY, 0, NOW + QUARTER, 100).is_news(Window(5, NOW + QUARTER))


def test_headers_tell_of_three_windows_and_nonsense_of_none() -> None:
    """What cannot be a window is not believed: a wrong clock must not stop a bot for years."""
    soon, tomorrow = int((NOW + 10 * MINUTE).timestamp()), int((NOW + 20 * 60 * MINUTE).timestamp())
    headers = {
        "x-rate-limit-limit": "100",
        "x-rate-limit-remaining": "40",
        "x-rate-limit-reset": str(soon),
        "x-app-limit-24hour-limit": "10000",
        "x-app-limit-24hour-remaining": "0",
        "x-app-limit-24hour-reset": str(tomorrow),
        "x-user-limit-24hour-limit": "17",
        "x-user-limit-24hour-remaining": "-1",
        "x-user-limit-24hour-reset": str(tomorrow),
    }
    found = {report.key: report for report in reports("bot-1", "app-1", headers, NOW)}
    assert {key: (one.used, one.x_limit) for key, one in found.items()} == {
        KEY: (60, 100),
        Key("app-1", APP, POST, DAY): (10_000, 10_000),
    }
    years = {**headers, "x-rate-limit-reset": str(soon * 3)}
    assert KEY not in {report.key for report in reports("bot-1", "app-1", years, NOW)}
    past = {**headers, "x-rate-limit-reset": str(int(NOW.timestamp()))}
    assert KEY not in {report.key for report in reports("bot-1", "app-1", past, NOW)}


def test_of_many_words_the_tightest_about_the_latest_window_counts() -> None:
    """A batch of answers is one write."""
    early, late = NOW + MINUTE, NOW + 10 * MINUTE
    merged = tightest(
        [
            Report(KEY, 90, early, 100),
            Report(KEY, 5, late, 100),
            Report(KEY, 7, late, 99),
            used_up("bot-2", late),
        ]
    )
    assert merged[KEY] == Report(KEY, 7, late, 99)
    assert merged[Key("bot-2", USER, POST, QUARTER)].used == USED_UP


def test_limits_follow_the_app_and_its_tier() -> None:
    """What the operator gives replaces the tier's; a bot without an app has only its own."""
    app = App("app-1", "ours", NOW, NOW)
    mine = Key("app-1", APP, POST, DAY)
    assert limits_of(BOT, app, POST, 100) == {KEY: 100, mine: 10_000}
    assert limits_of(BOT, App("app-1", "ours", NOW, NOW, limits={"posts_per_day": 0}), POST, 9)[mine] == 0
    assert limits_of(BOT, App("app-1", "ours", NOW, NOW, tier=Tier.FREE), POST, 100)[mine] == 17
    alone = Bot("bot-1", "acme", BotState.ACTIVE, NOW, NOW)
    assert limits_of(alone, None, POST, 100) == {KEY: 100}
