"""What follows from an outcome."""

from datetime import UTC, datetime, timedelta

import pytest

from services.bot_manager.domain.lifecycle import BotEvent
from services.bot_manager.domain.model import AttemptOutcome
from services.bot_manager.domain.outcomes import Outcome, OutcomeKind
from services.bot_manager.domain.retry import ANSWER_OF, Decision, Rules, Scope, decide, put_off, retry_pause

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
RULES = Rules(
    max_attempts=3,
    first_retry=2 * SECOND,
    longest_retry=60 * SECOND,
    settle=10 * SECOND,
    credits_pause=900 * SECOND,
)
K, A = OutcomeKind, AttemptOutcome


def after(kind: OutcomeKind, *earlier: AttemptOutcome | None, **facts: object) -> Decision:
    return decide(Outcome(kind, **facts), 0, earlier, NOW, RULES, 0.0)  # type: ignore[arg-type]  # a test's own facts


@pytest.mark.parametrize("kind", OutcomeKind)
def test_every_kind_is_decided(kind: OutcomeKind) -> None:
    """A kind without a decision would leave a post in PUBLISHING until its lease ends."""
    decision = after(kind)
    assert decision.answer.outcome is ANSWER_OF[kind]
    if decision.answer.outcome in (A.NOT_SENT, A.DEFERRED) and decision.failure is None:
        assert decision.next_time is not None


def test_an_unknown_outcome_is_only_ever_read_again() -> None:
    """Sending it again is the bug that users of such systems suffer from most."""
    decision = after(K.UNKNOWN, http_status=502)
    assert decision.answer.outcome is A.UNKNOWN
    assert decision.next_time == NOW + RULES.settle
    assert decision.failure is not None
    assert (decision.failure.reason, decision.failure.http_status) == ("X_OUTCOME_UNKNOWN", 502)


def test_what_was_surely_not_sent_goes_again_with_growing_pauses_and_an_end() -> None:
    """X being away must not lose posts, nor be asked without end."""
    assert after(K.NOT_SENT).next_time == NOW + 2 * SECOND
    assert after(K.NOT_SENT, A.DEFERRED, A.NOT_SENT).next_time == NOW + 4 * SECOND
    last = after(K.NOT_SENT, A.NOT_SENT, A.DEFERRED, A.NOT_SENT).failure
    assert last is not None
    assert last.reason == "X_UNAVAILABLE"


def test_a_duplicate_after_an_unknown_attempt_is_reconciled() -> None:
    """X probably refuses it because the first attempt did go through."""
    for earlier in (A.UNKNOWN, A.DUPLICATE, None):
        decision = after(K.DUPLICATE, A.NOT_SENT, earlier)
        assert decision.failure is None
        assert decision.next_time == NOW + RULES.settle


def test_a_duplicate_out_of_the_blue_fails() -> None:
    """Somebody else's earlier post is not this one."""
    failure = after(K.DUPLICATE, A.NOT_SENT, http_status=403).failure
    assert failure is not None
    assert failure.reason == "X_DUPLICATE"


def test_a_limit_holds_back_the_bot_until_it_resets() -> None:
    """A deferral is no failure and no attempt lost; the bot's other posts need not learn it one by one."""
    decision = after(K.RATE_LIMITED, pause=90 * SECOND)
    assert decision.next_time == NOW + 90 * SECOND
    assert decision.hold is not None
    assert (decision.hold.scope, decision.hold.until) == (Scope.BOT, decision.next_time)
    assert decision.failure is None


def test_used_up_credits_hold_back_the_app() -> None:
    """One system asked 6,100 times a day for credits that were not there."""
    decision = after(K.CREDITS_DEPLETED)
    assert decision.hold is not None
    assert decision.hold.scope is Scope.APP
    assert decision.next_time == NOW + RULES.credits_pause


@pytest.mark.parametrize(
    ("kind", "event", "reason"),
    [
        (K.CREDENTIALS_REJECTED, BotEvent.REFUSE_CREDENTIALS, "X_CREDENTIALS_REJECTED"),
        (K.ACCOUNT_SUSPENDED, BotEvent.SUSPEND, "X_ACCOUNT_SUSPENDED"),
        (K.NOT_PERMITTED, BotEvent.SUSPEND, "X_REJECTED"),
    ],
)
def test_what_concerns_the_account_stops_the_bot_and_keeps_the_post(
    kind: OutcomeKind, event: BotEvent, reason: str
) -> None:
    """The post is not at fault, so it waits for the bot."""
    decision = after(kind)
    assert (decision.bot_event, decision.reason) == (event, reason)
    assert (decision.failure, decision.next_time) == (None, NOW)


def test_a_refusal_fails_with_x_s_own_words() -> None:
    """A reason nobody can read is as good as none."""
    failure = after(
        K.REJECTED, http_status=400, problem_type="invalid-request", detail="text: too long"
    ).failure
    assert failure is not None
    assert (failure.reason, failure.http_status, failure.problem_type) == (
        "X_REJECTED",
        400,
        "invalid-request",
    )
    assert "text: too long" in failure.message


def test_pauses_stay_within_their_bounds() -> None:
    """However often something fails, and however long a post has waited."""
    assert retry_pause(1000, RULES, 0.0) == RULES.longest_retry
    assert retry_pause(1, RULES, 0.999) > RULES.first_retry / 2
    assert put_off(timedelta(), RULES, 0.0) == RULES.first_retry
    assert put_off(timedelta(days=3), RULES, 0.0) == RULES.longest_retry
    assert put_off(-SECOND, RULES, 0.0) == RULES.first_retry
