"""The checker finds each broken promise: a check that cannot fail proves nothing."""

from typing import Any

import pytest

from tests.fakes.configuration import bookmark, setting, snapshot, transaction
from tests.integration.services.configuration.promises import Stream, Truth, check

A = ("setting", "a.a")
VIEWER = ("role", "viewer")


@pytest.fixture
def truth() -> Truth:
    """Five revisions: a role, then one setting counted up."""
    truth = Truth()
    truth.add({VIEWER: ("posts.read",)})
    for number in range(2, 6):
        truth.add({A: (float(number), False, 0)})
    return truth


def step(revision: int, value: float | None = None) -> Any:
    return transaction(revision, setting("a.a", revision if value is None else value))


def first(revision: int) -> Any:
    return snapshot(revision, setting("a.a", revision))


def test_a_sound_history_passes(truth: Truth) -> None:
    """Snapshot, cut, resumed, cut, from the start again."""
    check(
        truth,
        [
            Stream(0, [first(2), bookmark(2), step(3)]),
            Stream(3, [step(4), bookmark(4)]),
            Stream(0, [first(5), bookmark(5)]),
        ],
    )


@pytest.mark.parametrize(
    ("broken", "streams"),
    [
        ("ordered and unique", [Stream(0, [first(3), step(4), step(4)])]),
        ("ordered and unique", [Stream(0, [first(3), step(2)])]),
        ("ordered and unique", [Stream(0, [first(3), step(4)]), Stream(4, [step(4)])]),
        ("reliable", [Stream(0, [first(2), step(4)])]),
        ("resumable", [Stream(0, [first(2)]), Stream(2, [step(4)])]),
        ("atomic", [Stream(0, [first(2), step(3, 9)])]),
        ("atomic", [Stream(0, [first(2), transaction(3)])]),
        ("atomic", [Stream(0, [first(2), transaction(3, setting("a.a", 3), setting("b.b", 3))])]),
        ("atomic", [Stream(0, [first(2), transaction(3, setting("a.a", 3), setting("a.a", 3))])]),
        ("bookmarked", [Stream(0, [first(2), bookmark(3), step(3)])]),
        ("bookmarked", [Stream(0, [first(3), bookmark(2)])]),
        ("another state", [Stream(0, [snapshot(3, setting("a.a", 2))])]),
        ("older", [Stream(0, [first(4)]), Stream(0, [first(3)])]),
        ("before the snapshot", [Stream(0, [step(2)])]),
    ],
)
def test_a_broken_promise_is_named(truth: Truth, broken: str, streams: list[Stream]) -> None:
    """Each in a history of its own."""
    with pytest.raises(AssertionError, match=broken):
        check(truth, streams)
