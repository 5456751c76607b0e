"""What follows from the outcome of one call to X, total over its kinds.

    PUBLISHED               the part is on X
    NOT_SENT                again after a growing pause, FAILED after `max_attempts` calls for the part that were never sent
    UNKNOWN                 never again from here: the account has to be read
    DUPLICATE               after an earlier call for the part that may have been taken: as UNKNOWN; else FAILED
    RATE_LIMITED            again when X's window ends; until then the bot's other posts are not tried either
    USAGE_CAPPED            again when X's period ends; until then no post of the app is tried
    CREDITS_DEPLETED        again after `credits_pause`; until then no post of the app is tried
    CREDENTIALS_REJECTED    the bot needs new credentials; the post waits for them
    ACCOUNT_SUSPENDED,
    NOT_PERMITTED           the bot is stopped; the post waits
    REJECTED                FAILED

A wait ends by itself when the post's latest time comes. Pure: time and chance are arguments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from services.bot_manager.domain.lifecycle import BotEvent
from services.bot_manager.domain.model import Answer, AttemptOutcome, Failure
from services.bot_manager.domain.outcomes import Outcome, OutcomeKind

_A, _K = AttemptOutcome, OutcomeKind

ANSWER_OF: dict[OutcomeKind, AttemptOutcome] = {
    _K.PUBLISHED: _A.ACCEPTED,
    _K.NOT_SENT: _A.NOT_SENT,
    _K.UNKNOWN: _A.UNKNOWN,
    _K.REJECTED: _A.REJECTED,
    _K.DUPLICATE: _A.DUPLICATE,
    _K.CREDENTIALS_REJECTED: _A.DEFERRED,
    _K.ACCOUNT_SUSPENDED: _A.DEFERRED,
    _K.NOT_PERMITTED: _A.DEFERRED,
    _K.RATE_LIMITED: _A.DEFERRED,
    _K.USAGE_CAPPED: _A.DEFERRED,
    _K.CREDITS_DEPLETED: _A.DEFERRED,
}
"""How the ledger names an outcome."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide. `settle` is how long after an unknown outcome the account is first read."""

    max_attempts: int
    first_retry: timedelta
    longest_retry: timedelta
    settle: timedelta
    credits_pause: timedelta


class Scope(StrEnum):
    """Whose posts a hold stops."""

    BOT = "BOT"
    APP = "APP"


@dataclass(frozen=True, slots=True)
class Hold:
    """No call to X until then. `reason` is an ErrorReason, `message` for people."""

    scope: Scope
    until: datetime
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What is written for the attempt, and what else happens. `reason` and `message` tell a bot's owner why it was stopped."""

    answer: Answer
    next_time: datetime | None = None
    failure: Failure | None = None
    bot_event: BotEvent | None = None
    hold: Hold | None = None
    reason: str = ""
    message: str = ""


def decide(
    outcome: Outcome,
    part_index: int,
    earlier: Sequence[AttemptOutcome | None],
    now: datetime,
    rules: Rules,
    chance: float,
) -> Decision:
    """`earlier`: what became of the calls for this part before this one (None: not known); needed for NOT_SENT and DUPLICATE only.
    `chance` in [0, 1) spreads retries."""
    answer = answer_of(outcome)
    match outcome.kind:
        case _K.PUBLISHED:
            return Decision(answer)
        case _K.NOT_SENT:
            return _not_sent(outcome, answer, part_index, earlier, now, rules, chance)
        case _K.UNKNOWN:
            return _unknown(outcome, answer, part_index, now, rules)
        case _K.DUPLICATE:
            if any(one in (None, _A.UNKNOWN, _A.DUPLICATE) for one in earlier):
                return Decision(answer, next_time=now + rules.settle)
            told = "X says that the account has just posted this text; change it, or wait some hours"
            return Decision(answer, failure=_failure("X_DUPLICATE", told, outcome, part_index, now))
        case _K.USAGE_CAPPED:
            until = now + (outcome.pause or timedelta())
            told = "the developer app has used up what X allows it in this period; raise its cap at X or wait"
            return Decision(
                answer, next_time=until, hold=Hold(Scope.APP, until, "X_RATE_LIMITED", told), message=told
            )
        case _K.RATE_LIMITED:
            until = now + (outcome.pause or timedelta())
            told = "X's limit is used up; it goes out when the limit resets"
            return Decision(
                answer, next_time=until, hold=Hold(Scope.BOT, until, "X_RATE_LIMITED", told), message=told
            )
        case _K.CREDITS_DEPLETED:
            until = now + rules.credits_pause
            told = "the developer app has no credits left; buy some at X"
            return Decision(
                answer, next_time=until, hold=Hold(Scope.APP, until, "X_CREDITS_DEPLETED", told), message=told
            )
        case _K.CREDENTIALS_REJECTED:
            told = "X refused the credentials (401); connect the account again"
            return _stop(answer, BotEvent.REFUSE_CREDENTIALS, "X_CREDENTIALS_REJECTED", told, now)
        case _K.ACCOUNT_SUSPENDED:
            told = "X has suspended or locked the account; sign in to X to see why"
            return _stop(answer, BotEvent.SUSPEND, "X_ACCOUNT_SUSPENDED", told, now)
        case _K.NOT_PERMITTED:
            told = "X does not allow the app to act for the account; check its permissions and access level"
            return _stop(answer, BotEvent.SUSPEND, "X_REJECTED", told, now)
        case _K.REJECTED:
            words = outcome.detail or outcome.title or f"status {outcome.http_status}"
            told = f"X refused the post: {words}"
            return Decision(answer, failure=_failure("X_REJECTED", told, outcome, part_index, now))


def answer_of(outcome: Outcome) -> Answer:
    """The outcome as the ledger keeps it."""
    return Answer(
        ANSWER_OF[outcome.kind],
        http_status=outcome.http_status,
        problem_type=outcome.problem_type,
        problem_detail=outcome.detail or outcome.title,
        x_request_id=outcome.x_request_id,
        latency=outcome.latency,
        x_post_id=outcome.x_post_id,
        rate_limits=outcome.rate_limits,
    )


def retry_pause(failures: int, rules: Rules, chance: float) -> timedelta:
    """The pause after the given number of failures in a row, from 1: doubling, shortened by up to a quarter."""
    full = min(rules.longest_retry, rules.first_retry * (1 << min(max(failures, 1) - 1, 30)))
    return full * (1 - chance / 4)


def put_off(late: timedelta, rules: Rules, chance: float) -> timedelta:
    """The pause before a post is tried again that could not even be tried: about as long as it is late already, within the bounds of
    retries. It needs no count of what was tried before, and doubles all the same."""
    return min(max(late, rules.first_retry), rules.longest_retry) * (1 - chance / 4)


def _not_sent(
    outcome: Outcome,
    answer: Answer,
    part_index: int,
    earlier: Sequence[AttemptOutcome | None],
    now: datetime,
    rules: Rules,
    chance: float,
) -> Decision:
    failures = 1 + sum(one is _A.NOT_SENT for one in earlier)
    if failures >= rules.max_attempts:
        told = f"X could not be reached {failures} times: {outcome.detail}"
        return Decision(answer, failure=_failure("X_UNAVAILABLE", told, outcome, part_index, now))
    return Decision(answer, next_time=now + retry_pause(failures, rules, chance))


def _unknown(outcome: Outcome, answer: Answer, part_index: int, now: datetime, rules: Rules) -> Decision:
    seen = f"status {outcome.http_status}" if outcome.http_status else outcome.detail
    told = f"X may have taken the post or not ({seen}). It is not sent again until reading the account, or a person, has settled that"
    failure = _failure("X_OUTCOME_UNKNOWN", told, outcome, part_index, now)
    return Decision(answer, next_time=now + rules.settle, failure=failure, message=told)


def _stop(answer: Answer, event: BotEvent, reason: str, message: str, now: datetime) -> Decision:
    """The post is due at once: it is the bot's state that keeps it."""
    return Decision(answer, next_time=now, bot_event=event, reason=reason, message=message)


def _failure(reason: str, message: str, outcome: Outcome, part_index: int, now: datetime) -> Failure:
    return Failure(
        reason=reason,
        message=message,
        time=now,
        part_index=part_index,
        http_status=outcome.http_status,
        problem_type=outcome.problem_type,
        problem_detail=outcome.detail or outcome.title,
    )
