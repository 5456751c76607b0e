"""Whatever is done to a chain is found, and told by its right name."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.logging.domain.chain import CHAIN as MAIN
from services.logging.domain.chain import ChainedEvent, link
from services.logging.domain.verifying import Defect, DefectKind, Start, Walk
from tests.unit.services.logging.chains import chain, event, salt

LENGTH = 12
CHAIN = chain(LENGTH, plain=3)
places = st.integers(1, LENGTH)


def walk(events: Iterable[ChainedEvent], start: Start | None = None) -> Defect | None:
    made = Walk(start or Start(), MAIN)
    made.feed(events)
    return made.finish()


def found(events: Iterable[ChainedEvent], start: Start | None = None) -> tuple[DefectKind, int] | None:
    defect = walk(events, start)
    return None if defect is None else (defect.kind, defect.sequence)


def renumbered(events: Iterable[ChainedEvent]) -> list[ChainedEvent]:
    """As somebody leaves them who closes or makes gaps in the numbers and computes nothing anew."""
    return [replace(item, sequence=number) for number, item in enumerate(events, 1)]


def recomputed(item: ChainedEvent, **changes: object) -> ChainedEvent:
    """The event with its content changed and hash and commitment right again."""
    changed = replace(item.event, **changes)  # type: ignore[arg-type]  # names of fields
    return link(item.sequence, changed, item.previous_hash, salt(item.sequence))


def test_a_chain_that_nobody_touched_is_sound() -> None:
    """Both formats in one chain, as after an upgrade."""
    whole = Walk(Start(), MAIN)
    whole.feed(CHAIN)
    assert whole.finish() is None
    assert (whole.count, whole.last_sequence, whole.last_hash) == (LENGTH, LENGTH, CHAIN[-1].hash)


def test_the_bytes_that_are_hashed_are_the_same_for_ever() -> None:
    """A chain outlives the program that made it: these hashes were computed when the formats were laid down."""
    assert CHAIN[0].hash.hex() == "bf1d1430a0eb6560e3e8d7b0e614f50c519177c2dc3283aeb57c2a8d7df6a259"
    assert CHAIN[-1].hash.hex() == "8453807e3876e670d77e0c17232c24e621ddd461d2ab82abcd7effa93a245094"


@given(
    places, st.sampled_from(["actor", "peer", "user_agent", "action", "service", "id", "outcome", "resource"])
)
def test_a_changed_field_is_an_alteration(place: int, field: str) -> None:
    """Also of those that the hash covers only through the commitment."""
    events = list(CHAIN)
    events[place - 1] = replace(CHAIN[place - 1], event=replace(CHAIN[place - 1].event, **{field: "x"}))
    assert found(events) == (DefectKind.ALTERED, place)


@given(st.integers(1, LENGTH - 1))
def test_a_changed_event_with_its_hash_computed_anew_is_an_alteration(place: int) -> None:
    """The next event remembers the hash that was there."""
    events = list(CHAIN)
    events[place - 1] = recomputed(CHAIN[place - 1], actor="somebody else")
    defect = walk(events)
    assert defect is not None
    assert (defect.kind, defect.sequence) == (DefectKind.ALTERED, place)
    assert (defect.expected, defect.found) == (CHAIN[place - 1].hash, events[place - 1].hash)


@given(st.integers(2, LENGTH - 1))
def test_a_missing_event_is_a_removal(place: int) -> None:
    """With a gap in the numbers or with the gap closed."""
    events = [item for item in CHAIN if item.sequence != place]
    assert found(events) == (DefectKind.REMOVED, place)
    assert found(renumbered(events)) == (DefectKind.REMOVED, place)


@given(st.integers(1, LENGTH - 1))
def test_a_missing_beginning_is_a_truncation(place: int) -> None:
    """Only a tombstone accounts for it."""
    assert found(CHAIN[place:]) == (DefectKind.TRUNCATED, 1)
    assert found(CHAIN[place:], Start(place + 1, CHAIN[place - 1].hash)) is None


@given(places, places)
def test_two_events_that_changed_places_are_a_reordering(one: int, other: int) -> None:
    """Whether their lines changed places or only their numbers."""
    if one == other:
        return
    low, high = sorted((one, other))
    events = list(CHAIN)
    events[low - 1], events[high - 1] = events[high - 1], events[low - 1]
    assert found(events) == (DefectKind.REORDERED, low)
    assert found(renumbered(events)) == (DefectKind.REORDERED, low)


def test_events_far_apart_that_changed_places_are_a_reordering() -> None:
    """Too far to be found by trying numbers."""
    long = chain(1_300)
    long[4], long[1_250] = long[1_250], long[4]
    assert found(renumbered(long)) == (DefectKind.REORDERED, 5)


@given(places, places)
def test_an_event_that_stands_twice_is_an_insertion(copied: int, behind: int) -> None:
    """Wherever the copy stands, and whatever number it got."""
    copy = CHAIN[copied - 1]
    events = [*CHAIN[:behind], copy, *CHAIN[behind:]]
    kind, sequence = found(events) or (None, 0)
    assert (kind, sequence) == (DefectKind.INSERTED, copied)
    kind, _ = found(renumbered(events)) or (None, 0)
    assert kind is DefectKind.INSERTED or behind == LENGTH


@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize("shifted", [True, False])
@given(st.integers(1, LENGTH - 1))
def test_an_event_that_was_never_chained_is_an_insertion(sound: bool, shifted: bool, place: int) -> None:
    """Also one whose hash was computed as it should be."""
    previous = CHAIN[place - 2].hash if place > 1 else bytes(32)
    strange = link(place, event(99), previous if sound else b"\1" * 32, salt(99))
    events = [*CHAIN[: place - 1], strange, *CHAIN[place - 1 :]]
    defect = walk(renumbered(events) if shifted else events)
    assert defect is not None
    assert (defect.kind, defect.sequence) == (DefectKind.INSERTED, place)
    assert defect.event_id == strange.event.id


@given(st.integers(2, LENGTH), st.integers(1, 99))
def test_another_number_on_an_event_in_its_place_is_an_alteration(place: int, number: int) -> None:
    """In an export the order of the lines says where it was."""
    if number == place:
        return
    events = list(CHAIN)
    events[place - 1] = replace(CHAIN[place - 1], sequence=number)
    assert found(events) == (DefectKind.ALTERED, place)


@given(st.integers(4, LENGTH))
def test_what_was_erased_leaves_the_chain_sound(place: int) -> None:
    """The right to be forgotten and the trail do not exclude each other."""
    events = list(CHAIN)
    blank = replace(CHAIN[place - 1].event, actor="", peer="", user_agent="", request={})
    events[place - 1] = replace(CHAIN[place - 1], event=blank, salt=b"", erased=True)
    assert found(events) is None
    for leftover in (replace(events[place - 1], salt=salt(place)), replace(events[place - 1], erased=False)):
        events[place - 1] = leftover
        assert found(events) == (DefectKind.ALTERED, place)
    events[place - 1] = replace(leftover, erased=True, event=replace(blank, actor="somebody else"))
    assert found(events) == (DefectKind.ALTERED, place)


def test_an_event_of_the_first_format_cannot_pass_for_erased() -> None:
    """Its hash covers the fields themselves."""
    events = list(CHAIN)
    blank = replace(CHAIN[1].event, actor="", peer="", user_agent="", request={})
    events[1] = replace(CHAIN[1], event=blank, erased=True)
    assert found(events) == (DefectKind.ALTERED, 2)


def test_a_chain_computed_anew_behind_a_tombstone_is_a_fork() -> None:
    """The tombstone's hash is what the first event has to go on from."""
    other = [recomputed(CHAIN[4])]
    assert found(other, Start(5, b"\7" * 32)) == (DefectKind.FORKED, 4)


def test_damage_behind_the_first_one_changes_nothing() -> None:
    """The first defect is named, whatever follows."""
    events = list(CHAIN)
    events[3] = replace(CHAIN[3], event=replace(CHAIN[3].event, action="x"))
    del events[7]
    assert found(events) == (DefectKind.ALTERED, 4)
