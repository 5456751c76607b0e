"""What an API key may do, and for how long."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from services.authentication.domain.api_key import ApiKey, ApiKeyState, checked_expire_time, limited
from services.authentication.domain.permissions import covers

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PERMISSIONS = ["*", "bots.*", "posts.*", "bots.read", "bots.write", "posts.read"]
SETS = st.frozensets(st.sampled_from(PERMISSIONS))


@pytest.mark.parametrize(
    ("held", "scope", "left"),
    [
        ({"*"}, {"bots.read"}, {"bots.read"}),
        ({"bots.read"}, {"*"}, {"bots.read"}),
        ({"bots.read", "posts.*"}, {"bots.*"}, {"bots.read"}),
        ({"bots.*"}, {"bots.*", "posts.read"}, {"bots.*"}),
        ({"bots.read"}, {"bots.write"}, set()),
        (set(), {"*"}, set()),
    ],
)
def test_a_key_can_do_what_it_was_given_and_its_owner_still_holds(
    held: set[str], scope: set[str], left: set[str]
) -> None:
    """Whichever of the two is less."""
    assert limited(held, scope) == left


@given(SETS, SETS, st.sampled_from(PERMISSIONS))
def test_limited_means_held_by_both(held: frozenset[str], scope: frozenset[str], permission: str) -> None:
    """For every permission, wildcards included: the shown list grants what both sides grant, no more and no less."""
    assert covers(limited(held, scope), permission) == (
        covers(held, permission) and covers(scope, permission)
    )


def test_a_key_ends_after_90_days_or_at_a_time_within_a_year() -> None:
    """Nothing lasts for ever by default."""
    assert checked_expire_time(None, NOW) == NOW + timedelta(days=90)
    for good in (NOW + SECOND, NOW + timedelta(days=366)):
        assert checked_expire_time(good, NOW) == good
    for bad, reason in (
        (NOW, "TIME_IN_PAST"),
        (NOW - SECOND, "TIME_IN_PAST"),
        (NOW + timedelta(days=366) + SECOND, "INVALID_FIELD"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            checked_expire_time(bad, NOW)
        assert (refused.value.reason, refused.value.violations[0].field) == (reason, "expire_time")


def test_a_revoked_key_stays_revoked_after_its_time() -> None:
    """The record says how it ended."""
    key = ApiKey("id", "user", "ci", ("*",), "vsk_12345678", NOW, NOW + SECOND)
    revoked = ApiKey("id", "user", "ci", ("*",), "vsk_12345678", NOW, NOW + SECOND, revoke_time=NOW)
    assert (key.state(NOW), key.state(NOW + SECOND)) == (ApiKeyState.ACTIVE, ApiKeyState.EXPIRED)
    assert {revoked.state(NOW), revoked.state(NOW + SECOND)} == {ApiKeyState.REVOKED}
