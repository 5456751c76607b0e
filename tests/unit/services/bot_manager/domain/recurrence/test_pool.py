"""Which item of a pool is next."""

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.bot_manager.domain.recurrence.pool import Choice, Taken, choose, keys_of

from .rules import START, cron

HOUR = timedelta(hours=1)
ITEMS = [{"text": text} for text in "abcd"]


def run(
    count: int, *, shuffled: bool = False, cool_down: timedelta = timedelta(), size: int = 4
) -> list[int | None]:
    """The items of occurrences an hour apart."""
    history: list[Taken] = []
    found: list[int | None] = []
    for number in range(count):
        nominal = START + number * HOUR
        choice = choose(
            cron("0 * * * *"), ITEMS[:size], history, nominal, shuffled=shuffled, cool_down=cool_down
        )
        found.append(choice.index if choice else None)
        if choice:
            history.append(Taken(choice.key, choice.round, nominal))
    return found


def test_in_turn_goes_from_first_to_last_and_again() -> None:
    """The order of the list."""
    assert run(9) == [0, 1, 2, 3, 0, 1, 2, 3, 0]


def test_shuffled_takes_all_before_any_again() -> None:
    """Every round is whole, not always in the same order, and no item follows itself."""
    found = run(40, shuffled=True)
    rounds = [tuple(found[start : start + 4]) for start in range(0, 40, 4)]
    assert all(sorted(one) == [0, 1, 2, 3] for one in rounds if None not in one)
    assert len(set(rounds)) > 1
    assert all(before != after for before, after in pairwise(found))
    assert found == run(40, shuffled=True), "schedule and nominal time decide the draw"


def test_nothing_is_taken_while_it_cools_down() -> None:
    """With four items and six hours, two hours of silence follow four posts."""
    assert run(8, cool_down=6 * HOUR) == [0, 1, 2, 3, None, None, 0, 1]


def test_a_pool_of_one_repeats_itself() -> None:
    """There is nothing else to take."""
    assert run(3, size=1) == [0, 0, 0]


def test_a_changed_pool_goes_on_where_it_was() -> None:
    """Items are known by what they say, not by their place; new ones join the round."""
    first = Taken(keys_of(ITEMS)[0], 0, START)
    changed = [{"text": "new"}, *ITEMS]
    choice = choose(cron("0 * * * *"), changed, [first], START + HOUR, shuffled=False, cool_down=timedelta())
    assert choice == Choice(0, keys_of(changed)[0], 0)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8))
def test_equal_items_are_told_apart(texts: list[str]) -> None:
    """Someone who puts a post in twice wants it twice as often."""
    assert len(set(keys_of([{"text": text} for text in texts]))) == len(texts)
