"""Walks along an audit chain and names the first thing that is wrong with it. Pure; holds a bounded number of events.

`Walk.feed` takes the events in the order in which they stand. While each is the one that the chain demands next, nothing else happens.
At the first that is not, the walk remembers it and looks on, at all events that follow, for what tells one kind of damage from another:

    is the event that belongs here further on?            it was moved away from here
    did the odd one belong elsewhere, or stand twice?     its hash is right for another place, or comes again
    does the chain go on from the odd one?                then it was in its place, and its content was changed

A chain that was written anew from some event to its end is sound in itself: only signed checkpoints tell (`forked`, `truncated`).
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from services.logging.domain.chain import GENESIS, ChainedEvent

NEAR: Final = 512
"""How far around its place an odd event is looked for by trial: what shifts the events behind it shifts them by a few."""


class DefectKind(Enum):
    """Numbers of `vivesphere.logging.v1.AuditDefectKind`."""

    ALTERED = 1
    REMOVED = 2
    INSERTED = 3
    REORDERED = 4
    TRUNCATED = 5
    FORKED = 6
    BAD_SIGNATURE = 7


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong, first. Hashes are empty where there is none to name, `event_id` where the event is missing."""

    kind: DefectKind
    sequence: int
    message: str
    event_id: str = ""
    expected: bytes = b""
    found: bytes = b""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a walk begins: `sequence` is the first event's, `hash` that of the one before it, None if that is not known.

    `kept`: it is the first event that the chain still has, and not one in its middle.
    """

    sequence: int = 1
    hash: bytes | None = GENESIS
    kept: bool = True


@dataclass(slots=True)
class _Trouble:
    """The first event that is not what the chain demands, and what was seen since."""

    odd: ChainedEvent
    own_place: int = 0
    """Where the odd event's hash is right; 0: nowhere known."""
    true_found: bool = False
    """Whether the event that belongs here stands further on."""
    comes_again: bool = False
    next_previous: bytes | None = None
    """What the event right behind the odd one goes on from."""


class Walk:
    """One walk. Feed it, then ask `finish`."""

    def __init__(self, start: Start, chain: str) -> None:
        self._start = start
        self._chain = chain
        self._next = start.sequence
        self._hash = start.hash
        self._recent: deque[ChainedEvent] = deque(maxlen=NEAR)
        self._trouble: _Trouble | None = None
        self._defect: Defect | None = None

    @property
    def count(self) -> int:
        """How many events were found in their place."""
        return self._next - self._start.sequence

    @property
    def last_sequence(self) -> int:
        """The last event found in its place; one less than the start before the first."""
        return self._next - 1

    @property
    def last_hash(self) -> bytes | None:
        """Its hash."""
        return self._hash

    @property
    def decided(self) -> bool:
        """Whether reading on is of no use."""
        return self._defect is not None

    def feed(self, events: Iterable[ChainedEvent]) -> None:
        """The next events, as they stand."""
        for event in events:
            if self._defect is not None:
                return
            if self._trouble is not None:
                self._look(self._trouble, event)
            elif self._fits(event):
                self._next += 1
                self._hash = event.hash
                self._recent.append(event)
            else:
                self._begin_trouble(event)

    def finish(self) -> Defect | None:
        """What is wrong first, or None."""
        if self._defect is None and self._trouble is not None:
            self._defect = self._judge(self._trouble)
        return self._defect

    def _fits(self, event: ChainedEvent) -> bool:
        return (
            event.sequence == self._next
            and (self._hash is None or event.previous_hash == self._hash)
            and event.chain == self._chain
            and event.hash_at(event.sequence) == event.hash
            and not event.fault()
        )

    def _begin_trouble(self, event: ChainedEvent) -> None:
        in_place = event.sequence == self._next and event.chain == self._chain
        linked = self._hash is None or event.previous_hash == self._hash
        if not in_place and event.previous_hash == self._hash and event.hash_at(self._next) == event.hash:
            why = "it is the right event with another number or chain than it was chained with"
            self._defect = _altered(event, self._next, event.hash, b"", why)
            return
        if event.sequence < self._next:
            twin = self._kept(event.sequence)
            if twin is None or twin.hash == event.hash or twin is not self._recent[-1]:
                self._defect = _inserted(event, event.sequence)
                return
        elif in_place and linked and event.hash_at(event.sequence) == event.hash:
            self._defect = _altered(event, event.sequence, event.hash, b"", event.fault())
            return
        self._trouble = _Trouble(event, self._own_place(event))

    def _own_place(self, event: ChainedEvent) -> int:
        """Where near its place an event's hash is right; 0 for nowhere."""
        for distance in range(NEAR):
            for place in {event.sequence + distance, event.sequence - distance}:
                if place > 0 and event.hash_at(place) == event.hash:
                    return place
        return 0

    def _look(self, trouble: _Trouble, event: ChainedEvent) -> None:
        odd = trouble.odd
        if trouble.next_previous is None:
            trouble.next_previous = event.previous_hash
        if event.hash == odd.hash:
            trouble.comes_again = True
        if event.previous_hash == self._hash and event.hash_at(self._next) == event.hash:
            trouble.true_found = True
        if not trouble.own_place and event.hash == odd.previous_hash:
            place = event.sequence + 1
            trouble.own_place = place if odd.hash_at(place) == odd.hash else 0

    def _judge(self, trouble: _Trouble) -> Defect:
        odd, place = trouble.odd, self._next
        if odd.sequence < place:
            return self._contest(trouble)
        if odd.sequence == place and trouble.own_place == place:
            return self._own_link(trouble)
        if 0 < trouble.own_place < place:
            return self._pushed(trouble)
        if trouble.true_found and trouble.own_place and not trouble.comes_again:
            return _reordered(odd, place, self._hash)
        if trouble.true_found:
            return _inserted(odd, min(odd.sequence, place) if trouble.own_place == 0 else odd.sequence)
        if trouble.own_place:
            return self._missing(place, odd.previous_hash if trouble.own_place == place + 1 else b"")
        if odd.sequence > place:
            return self._missing(place, b"")
        computed = odd.hash_at(place)
        expected = trouble.next_previous or odd.hash
        return _altered(odd, place, expected, odd.hash if computed == expected else computed)

    def _contest(self, trouble: _Trouble) -> Defect:
        """Two events for one place: the chain goes on from one of them."""
        odd, standing = trouble.odd, self._recent[-1]
        return _inserted(standing if trouble.next_previous == odd.hash else odd, odd.sequence)

    def _own_link(self, trouble: _Trouble) -> Defect:
        """The odd event is sound and goes on from something else than what stands before it."""
        odd, place = trouble.odd, self._next
        if trouble.true_found:
            return _inserted(odd, place)
        goes_on = trouble.next_previous in (None, odd.hash)
        if goes_on and self._recent:
            before = self._recent[-1]
            return _altered(before, before.sequence, odd.previous_hash, before.hash)
        if goes_on and self._start.sequence > 1:
            return forked(place - 1, self._hash or b"", odd.previous_hash, "the tombstone before it")
        return _altered(odd, place, trouble.next_previous or b"", odd.hash)

    def _pushed(self, trouble: _Trouble) -> Defect:
        """The odd event belongs before this place: something in front of it has no business there."""
        own = self._kept(trouble.own_place)
        if own is None or own.hash == trouble.odd.hash:
            return _inserted(trouble.odd, trouble.odd.sequence)
        return _inserted(own, trouble.own_place, trouble.odd.hash)

    def _missing(self, place: int, expected: bytes) -> Defect:
        if place == self._start.sequence and self._start.kept:
            return Defect(
                DefectKind.TRUNCATED,
                place,
                f"The chain should begin with event {place}, and that one is missing: no tombstone accounts for its removal.",
                expected=expected,
            )
        return Defect(
            DefectKind.REMOVED, place, f"Event {place} is missing: somebody removed it.", expected=expected
        )

    def _kept(self, sequence: int) -> ChainedEvent | None:
        return next((event for event in reversed(self._recent) if event.sequence == sequence), None)


def truncated(end: int, checkpoint: int, expected: bytes) -> Defect:
    """The chain ends before something signed."""
    message = (
        f"The chain ends with event {end}, and a signed checkpoint proves that it once went on to event {checkpoint}:"
        " events were cut off its end."
    )
    return Defect(DefectKind.TRUNCATED, end + 1, message, expected=expected)


def forked(sequence: int, expected: bytes, found: bytes, witness: str = "", event_id: str = "") -> Defect:
    """The chain says something else than what was signed."""
    by = witness or "a signed checkpoint"
    message = (
        f"The chain is sound in itself, but it is not the one that {by} tells of: event {sequence}, or one before it, was"
        " replaced and everything behind it was computed anew."
    )
    return Defect(DefectKind.FORKED, sequence, message, event_id, expected, found)


def bad_signature(sequence: int, what: str) -> Defect:
    """A statement that nobody with the chain's key made."""
    message = (
        f"The signature of the {what} for event {sequence} is not by the chain's key: it proves nothing."
    )
    return Defect(DefectKind.BAD_SIGNATURE, sequence, message)


def first(*defects: Defect | None) -> Defect | None:
    """The one that comes first; of several at one place the one given first."""
    found = [defect for defect in defects if defect is not None]
    return min(found, key=lambda defect: defect.sequence, default=None)


def _altered(event: ChainedEvent, place: int, expected: bytes, found: bytes, why: str = "") -> Defect:
    message = (
        f"Event {place} was altered: {why or 'what it says is not what was hashed when it was chained'}."
    )
    return Defect(DefectKind.ALTERED, place, message, event.event.id, expected, found)


def _inserted(event: ChainedEvent, place: int, expected: bytes = b"") -> Defect:
    message = f"An event that does not belong there was inserted as number {place}."
    return Defect(DefectKind.INSERTED, place, message, event.event.id, expected, event.hash)


def _reordered(event: ChainedEvent, place: int, expected: bytes | None) -> Defect:
    message = f"Events were put in another order: what stands as number {place} was chained at another place."
    return Defect(DefectKind.REORDERED, place, message, event.event.id, expected or b"", event.hash)
