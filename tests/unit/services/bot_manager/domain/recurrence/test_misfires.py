"""What becomes of occurrences that are late."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bot_manager.domain.recurrence.misfires import TOO_LATE, decide, most_made_up
from services.bot_manager.domain.recurrence.model import MisfirePolicy, Occurrence, Schedule

from .rules import START, cron

MINUTE = timedelta(minutes=1)
GRACE = 5 * MINUTE


def occurrence(minute: int, skip_message: str = "") -> Occurrence:
    time = START + minute * MINUTE
    return Occurrence(time.replace(tzinfo=None), time, time, time, skip_message=skip_message)


def plan(policy: MisfirePolicy, minutes: list[int], now: int, most: int = 0) -> list[tuple[int, int | None]]:
    """Nominal minute and the minute it goes out."""
    schedule = cron("* * * * *", misfire_policy=policy, max_catch_up=most)
    decisions = decide(schedule, [*map(occurrence, minutes)], START + now * MINUTE, GRACE, 2 * MINUTE)
    return [
        (
            int((one.occurrence.nominal_time - START) / MINUTE),
            None if one.at is None else int((one.at - START) / MINUTE),
        )
        for one in decisions
    ]


def test_within_its_grace_an_occurrence_is_on_time() -> None:
    """It goes out at its time, or at once if that has come."""
    assert plan(MisfirePolicy.SKIP, [54, 55, 60, 61], 60) == [(54, None), (55, 60), (60, 60), (61, 61)]


@pytest.mark.parametrize(
    ("policy", "most", "expected"),
    [
        (MisfirePolicy.SKIP, 3, [None, None, None, None]),
        (MisfirePolicy.ONCE, 3, [None, None, None, 60]),
        (MisfirePolicy.CATCH_UP, 0, [None, None, None, 60]),
        (MisfirePolicy.CATCH_UP, 3, [None, 60, 62, 64]),
        (MisfirePolicy.CATCH_UP, 9, [60, 62, 64, 66]),
    ],
)
def test_the_latest_are_made_up_for(policy: MisfirePolicy, most: int, expected: list[int | None]) -> None:
    """As many as the policy says, the oldest first, as far apart as the bot's posts have to be."""
    assert [at for _, at in plan(policy, [10, 20, 30, 40], 60, most)] == expected


def test_what_a_window_covers_is_not_made_up_for() -> None:
    """The latest that would have made a post is."""
    schedule = cron("* * * * *", misfire_policy=MisfirePolicy.ONCE)
    late = [occurrence(10), occurrence(20, "covered")]
    decisions = decide(schedule, late, START + 60 * MINUTE, GRACE, MINUTE)
    assert [(one.at, one.skip_message) for one in decisions] == [(START + 60 * MINUTE, ""), (None, "covered")]


@given(
    st.sampled_from(MisfirePolicy),
    st.integers(0, 5),
    st.lists(st.tuples(st.integers(0, 100), st.booleans()), unique_by=lambda one: one[0]),
    st.integers(1, 12),
)
def test_deciding_in_batches_comes_to_the_same(
    policy: MisfirePolicy, most: int, drawn: list[tuple[int, bool]], size: int
) -> None:
    """After a long stop there are more than one transaction can take; the latest are still the latest."""
    schedule: Schedule = cron("* * * * *", misfire_policy=policy, max_catch_up=most)
    late = [occurrence(minute, "covered" if silent else "") for minute, silent in sorted(drawn)]
    now, made, skipped = START + 200 * MINUTE, [], []
    size += most_made_up(schedule)
    left = late
    while left:
        decisions = decide(schedule, left[:size], now, GRACE, MINUTE, more=len(left) > size)
        assert decisions
        made += [one.occurrence for one in decisions if one.at is not None]
        skipped += [one for one in decisions if one.skip_message == TOO_LATE]
        left = left[len(decisions) :]
    speaking = [one for one in late if not one.skip_message]
    assert len(made) + len(skipped) == len(speaking)
    assert len(made) <= most_made_up(schedule)
    if all(not silent for _, silent in drawn):
        assert made == speaking[len(speaking) - min(most_made_up(schedule), len(speaking)) :]
