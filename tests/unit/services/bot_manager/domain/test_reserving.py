"""Budgets, limits and switches of one batch, against a model that knows every cent."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from services.bot_manager.domain.limits import POST, QUARTER, USER, Key, Window
from services.bot_manager.domain.model import AttemptOutcome, Bot, BotState, Charge, Part, Post, PostState
from services.bot_manager.domain.money import (
    App,
    AppState,
    Breaker,
    Budget,
    PriceTable,
    Used,
    next_day,
    next_month,
)
from services.bot_manager.domain.reserving import PROBE, Terms, Till, dollars
from services.bot_manager.domain.settling import Reserved, Settlement, settle
from services.bot_manager.store.ports import Refusal, Wait

NOW = datetime(2026, 5, 31, 12, tzinfo=UTC)
APP = App("app-1", "ours", NOW, NOW)
BOT = Bot("bot-1", "acme", BotState.ACTIVE, NOW, NOW, app_id="app-1")
TWIN = replace(BOT, id="bot-2")
PLAIN, LINK = "hello", "hello https://example.com"


def post(text: str = PLAIN, **content: object) -> tuple[Post, Part]:
    part = Part(0, text)
    return Post("post-1", "bot-1", PostState.CLAIMED, (part,), NOW, NOW, content=content), part


def till(app: App = APP, **known: object) -> Till:
    facts: dict[str, object] = {
        "used": {"bot-1": Used(), "bot-2": Used(), "app-1": Used()},
        "in_flight": {"app-1": 0},
        "breakers": {},
        "windows": {},
    }
    return Till(NOW, Terms(), {"app-1": app}, **facts | known)  # type: ignore[arg-type]


amounts = st.one_of(st.none(), st.integers(0, 600_000))


@given(
    daily=amounts,
    monthly=amounts,
    app_daily=amounts,
    before=st.integers(0, 300_000),
    wishes=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40),
)
@settings(max_examples=300, deadline=None)
def test_no_budget_is_ever_exceeded_and_none_refuses_what_fits(
    daily: int | None,
    monthly: int | None,
    app_daily: int | None,
    before: int,
    wishes: list[tuple[bool, bool]],
) -> None:
    """Wishes are whose post it is, and whether it has a link, which costs more than ten times as much."""
    limits = {"daily_usd_micros": daily, "monthly_usd_micros": monthly}
    bot = replace(BOT, budget={name: str(value) for name, value in limits.items() if value is not None})
    app = APP if app_daily is None else replace(APP, budget={"daily_usd_micros": str(app_daily)})
    subject = till(
        app, used={"bot-1": Used(before // 2, before), "bot-2": Used(), "app-1": Used(before, before)}
    )
    spent = {"today": before // 2, "month": before, "app": before}
    for mine, link in wishes:
        found = subject.admit(bot if mine else TWIN, *post(LINK if link else PLAIN))
        cost = 200_000 if link else 15_000
        checked = {"app": app_daily} | ({"today": daily, "month": monthly} if mine else {})
        fits = all(
            limit is None or (limit > 0 and spent[name] + cost <= limit) for name, limit in checked.items()
        )
        assert isinstance(found, Charge) is fits
        if isinstance(found, Charge):
            assert found.cost_usd_micros == cost
            for name in ("app", "today", "month") if mine else ("app",):
                spent[name] += cost
        else:
            assert isinstance(found, Wait)
            assert found.reason == "BUDGET_EXCEEDED"
            assert found.until in (next_day(NOW), next_month(NOW))
    assert subject.taken.get("app-1", (0, 0))[0] == spent["app"] - before


def test_a_budget_is_told_of_once_when_it_warns_and_once_when_it_is_used_up() -> None:
    """A warning for every post is a warning for none."""
    bot = replace(BOT, budget={"daily_usd_micros": "150000", "warn_percent": 50})
    subject = till()
    for _ in range(12):
        subject.admit(bot, *post())
    assert [(one.owner_id, one.used.today, one.exhausted) for one in subject.crossings] == [
        ("bot-1", 75_000, False),
        ("bot-1", 150_000, True),
    ]


def test_an_empty_window_puts_off_to_its_end_and_a_new_one_begins_there() -> None:
    """Nothing is called to learn what is known."""
    key, end = Key("bot-1", USER, POST, QUARTER), NOW + timedelta(minutes=4)
    subject = till(windows={key: Window(100, end, 100, True)})
    refused = subject.admit(BOT, *post())
    assert refused == Wait(end, "X_RATE_LIMITED", refused.message, POST)  # type: ignore[union-attr]
    later = till(windows={key: Window(100, NOW, 100, True)})
    assert isinstance(later.admit(BOT, *post()), Charge)
    assert later.windows[key] == Window(1, NOW + QUARTER, 100, False)


def test_one_call_tries_an_open_switch_and_the_others_wait_for_it() -> None:
    """Half open is one call, not one for each post that waited."""
    breaker = Breaker("app-1", "X_CREDITS_DEPLETED", "buy some", NOW, NOW)
    subject = till(breakers={"app-1": breaker})
    found = [subject.admit(bot, *post()) for bot in (BOT, TWIN, BOT)]
    assert [isinstance(one, Charge) and one.probe for one in found] == [True, False, False]
    assert {one.until for one in found if isinstance(one, Wait)} == {NOW + PROBE}
    closed = till(breakers={"app-1": replace(breaker, retry_time=NOW + QUARTER)})
    assert closed.admit(BOT, *post()) == Wait(NOW + QUARTER, "X_CREDITS_DEPLETED", "buy some")


def test_a_paused_app_and_a_busy_one_let_nothing_through() -> None:
    """The kill switch comes before everything else."""
    assert till(replace(APP, state=AppState.PAUSED)).admit(BOT, *post()) is Refusal.APP_PAUSED
    busy = till(replace(APP, limits={"concurrent_calls": 2}), in_flight={"app-1": 1})
    assert isinstance(busy.admit(BOT, *post()), Charge)
    assert isinstance(busy.admit(TWIN, *post()), Wait)


def test_prices_are_the_apps_where_it_has_some() -> None:
    """X's list is a default; contracts differ."""
    table = PriceTable().over({"post_usd_micros": "7", "summoned_reply_usd_micros": "0"})
    assert table.part(*post()) == 7
    assert table.part(*post(LINK)) == 200_000
    assert table.part(*post(reply_to_x_post_id="1")) == 0
    assert [dollars(one) for one in (15_000, 200_000, 1_000_000, 0)] == ["$0.015", "$0.2", "$1.0", "$0.0"]


def test_a_budget_of_nothing_refuses_even_what_is_free() -> None:
    """0 means nothing at all; absent means no limit."""
    budget = Budget.of({"daily_usd_micros": "0"})
    assert budget is not None
    assert budget.refuses(0, Used(), NOW) == next_day(NOW)
    assert Budget.of({"warn_percent": 5}) is None
    assert Budget.of(None) is None


@given(st.lists(st.sampled_from(AttemptOutcome), max_size=6))
def test_an_attempt_is_settled_once_whatever_is_heard_of_it_and_however_often(
    heard: list[AttemptOutcome],
) -> None:
    """Nothing is booked twice or freed twice, and what X took in the end is booked."""
    reserved = Reserved("attempt-1", "bot-1", 0, Charge(15_000), NOW.date())
    spent, aside, outcome = 0, 15_000, None
    for word in heard:
        found = settle(replace(reserved, outcome=outcome), word)
        if found is not None:
            spent, aside = spent + found.spent, aside - found.freed
            reserved = replace(reserved, settled=found.booked)
        if outcome in (None, AttemptOutcome.UNKNOWN):
            outcome = word
        assert aside == (15_000 if outcome in (None, AttemptOutcome.UNKNOWN) else 0)
        assert spent == (15_000 if outcome is AttemptOutcome.ACCEPTED else 0)


def test_what_was_given_back_is_booked_when_x_took_it_after_all() -> None:
    """A late answer is still true."""
    unknown = Reserved("a", "bot-1", 0, Charge(15_000), NOW.date(), AttemptOutcome.UNKNOWN, settled=0)
    late = settle(unknown, AttemptOutcome.ACCEPTED)
    assert late == Settlement(unknown, 15_000)
    assert (late.spent, late.freed) == (15_000, 0)
    assert settle(unknown, AttemptOutcome.REJECTED) is None
