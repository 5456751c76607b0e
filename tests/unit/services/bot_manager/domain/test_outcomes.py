"""What one call to X came to: every row of the table of X's answers."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from services.bot_manager.domain.outcomes import (
    NO_RESET_PAUSE,
    Exchange,
    Outcome,
    OutcomeKind,
    judge_create,
    lost,
    not_sent,
)

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
K = OutcomeKind


def judge(status: int, document: object = None, **headers: str) -> Outcome:
    """The outcome of an answer with this body; header names with "_" for "-"."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return judge_create(Exchange(status, named, body), NOW)


def problem(kind: str, detail: str = "", host: str = "api.x.com") -> dict[str, object]:
    return {"type": f"https://{host}/2/problems/{kind}", "title": "No", "detail": detail}


ROWS = [
    (201, {"data": {"id": "42", "text": "hi"}}, K.PUBLISHED),
    (200, {"data": {"id": "42"}, "errors": [{"message": "partial"}]}, K.PUBLISHED),
    (201, {"data": {"text": "hi"}}, K.UNKNOWN),
    (201, {"data": {"id": ""}}, K.UNKNOWN),
    (201, {"data": {"id": 42}}, K.UNKNOWN),
    (201, {"data": None}, K.UNKNOWN),
    (201, [], K.UNKNOWN),
    (201, b"\xff\xfenot json", K.UNKNOWN),
    (204, b"", K.UNKNOWN),
    (200, {"errors": [{"message": "no data"}]}, K.UNKNOWN),
    (302, b"", K.UNKNOWN),
    (408, {"detail": "Request Timeout"}, K.UNKNOWN),
    (409, problem("conflict"), K.UNKNOWN),
    (500, problem("internal-error"), K.UNKNOWN),
    (502, b"<html>Bad Gateway</html>", K.UNKNOWN),
    (503, {"detail": "Service Unavailable"}, K.UNKNOWN),
    (504, b"", K.UNKNOWN),
    (400, problem("invalid-request", "text: too long"), K.REJECTED),
    (401, {"type": "about:blank", "title": "Unauthorized", "status": 401}, K.CREDENTIALS_REJECTED),
    (401, {"errors": [{"code": 89, "message": "Invalid or expired token."}]}, K.CREDENTIALS_REJECTED),
    (402, problem("credits-depleted"), K.CREDITS_DEPLETED),
    (402, b"", K.CREDITS_DEPLETED),
    (403, {"detail": "You are not allowed to create a Tweet with duplicate content."}, K.DUPLICATE),
    (403, {"errors": [{"code": 187, "message": "Status is a duplicate."}]}, K.DUPLICATE),
    (
        403,
        {"detail": "Reply to this conversation is not allowed because you have not been mentioned"},
        K.REJECTED,
    ),
    (403, {"detail": "Quoting this post is not allowed"}, K.REJECTED),
    (403, {"detail": "Video longer than 2 minutes"}, K.REJECTED),
    (403, problem("client-forbidden"), K.NOT_PERMITTED),
    (403, problem("client-forbidden", host="api.twitter.com"), K.NOT_PERMITTED),
    (403, problem("oauth1-permissions"), K.NOT_PERMITTED),
    (403, {"detail": "You are not permitted to perform this action."}, K.NOT_PERMITTED),
    (403, problem("user-suspended"), K.ACCOUNT_SUSPENDED),
    (403, {"errors": [{"code": 64, "message": "Your account is suspended"}]}, K.ACCOUNT_SUSPENDED),
    (403, {"errors": [{"code": 326, "message": "temporarily locked"}]}, K.ACCOUNT_SUSPENDED),
    (403, {"detail": "To protect our users your account is locked"}, K.ACCOUNT_SUSPENDED),
    (403, {"errors": [{"code": 185, "message": "User is over daily status update limit."}]}, K.RATE_LIMITED),
    (403, b"", K.REJECTED),
    (404, problem("resource-not-found"), K.REJECTED),
    (413, b"", K.REJECTED),
    (429, problem("rate-limit-exceeded"), K.RATE_LIMITED),
    (429, {"type": "about:blank"}, K.RATE_LIMITED),
    (429, b"<html>", K.RATE_LIMITED),
    (429, problem("usage-capped"), K.USAGE_CAPPED),
]


@pytest.mark.parametrize(("status", "document", "kind"), ROWS)
def test_every_answer_has_its_outcome(status: int, document: object, kind: OutcomeKind) -> None:
    """One row judged wrongly is either a double post or one that never goes out."""
    outcome = judge(status, document)
    assert outcome.kind is kind
    assert (outcome.x_post_id != "") is (kind is K.PUBLISHED)


def test_only_an_id_of_digits_counts_as_published() -> None:
    """An answer from something that is not X must not settle a post."""
    for wrong in ("4²", "a1", "-1", " 1"):
        assert judge(201, {"data": {"id": wrong}}).kind is K.UNKNOWN


def test_the_facts_of_an_answer_are_kept() -> None:
    """Whoever asks why a post failed needs X's own words and its id of the request."""
    outcome = judge(
        403,
        problem("client-forbidden", "client not enrolled"),
        x_transaction_id="abc",
        x_rate_limit_remaining="3",
        x_app_limit_24hour_limit="10",
        set_cookie="guest=1",
    )
    assert (outcome.http_status, outcome.problem_type, outcome.title) == (403, "client-forbidden", "No")
    assert (outcome.detail, outcome.x_request_id) == ("client not enrolled", "abc")
    assert outcome.rate_limits == {"x-rate-limit-remaining": "3", "x-app-limit-24hour-limit": "10"}


def test_long_words_of_x_are_cut() -> None:
    """An answer is somebody else's text; what is stored of it has a bound."""
    assert len(judge(400, {"detail": "x" * 5000}).detail) == 1000
    assert len(lost("y" * 5000).detail) == len(not_sent("y" * 5000).detail) == 1000


def test_a_limit_without_a_reset_waits_a_window() -> None:
    """Looping at once on such an answer is what tweepy does."""
    assert judge(429).pause == NO_RESET_PAUSE
    assert judge(429, x_rate_limit_reset="soon").pause == NO_RESET_PAUSE


def test_a_reset_is_measured_on_x_s_own_clock() -> None:
    """A machine whose clock is an hour off must neither hammer X nor sleep an hour."""
    there = NOW + timedelta(hours=1)
    reset = str(int((there + timedelta(seconds=90)).timestamp()))
    date = format_datetime(there, usegmt=True)
    assert judge(429, x_rate_limit_reset=reset, date=date).pause == timedelta(seconds=90)


def test_the_window_that_is_used_up_decides() -> None:
    """Posting again when the quarter hour is over is useless if it was the day that ran out."""
    soon, late = (str(int(NOW.timestamp()) + seconds) for seconds in (60, 7200))
    outcome = judge(
        429,
        x_rate_limit_remaining="7",
        x_rate_limit_reset=soon,
        x_app_limit_24hour_remaining="0",
        x_app_limit_24hour_reset=late,
    )
    assert outcome.pause == timedelta(hours=2)


def test_a_reset_in_the_past_still_pauses() -> None:
    """Zero would be a busy loop."""
    assert judge(429, x_rate_limit_reset="1").pause == timedelta(seconds=1)


def test_a_usage_cap_waits_for_the_end_of_its_period() -> None:
    """A monthly cap asked every quarter hour answers the same and may cost."""
    month = judge(429, problem("usage-capped") | {"period": "Monthly"})
    day = judge(429, problem("usage-capped") | {"period": "Daily"})
    assert month.pause == datetime(2026, 6, 1, tzinfo=UTC) - NOW
    assert day.pause == timedelta(hours=12)
