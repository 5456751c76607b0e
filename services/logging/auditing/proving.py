"""Answers whether a chain is what it was: walks along it and holds it against everything that was ever signed about it.

Events and checkpoints are read in pages, so that memory stays small however long the chain is. Three things must agree: each event with
the one before it, the first event with the newest tombstone, and the hashes with the checkpoints: those in the database, those that lie
outside of it, and the one that the caller kept. The signature of a checkpoint that agrees is checked too, for the first MAX_CHECKED of
them, which bounds the time; one that disagrees always has its signature checked, since that decides who is wrong.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mesh.errors import InvalidArgument, NotFound, OutOfRange
from services.logging.auditing.outside import Outside
from services.logging.auditing.signing import Signer
from services.logging.domain.chain import CHAIN
from services.logging.domain.notes import BadNote, Note, Statement, VerifierKey, read_note, read_statement
from services.logging.domain.verifying import Defect, Start, Walk, bad_signature, first, forked, truncated
from services.logging.store.audit import AuditStore, Link
from services.logging.store.statements import Place, Signed, StatementStore

PAGE: Final = 1_000
MAX_CHECKED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Question:
    """What to prove: events `first` to `last` of a chain; 0 means as far as it goes. `note`: a checkpoint that the caller kept."""

    chain: str = CHAIN
    first: int = 0
    last: int = 0
    note: str = ""

    def covers(self, defect: Defect) -> bool:
        """Whether a defect lies in the range, or right before it, where its first event goes on from."""
        return self.first - 1 <= defect.sequence and (self.last == 0 or defect.sequence <= self.last)


@dataclass(frozen=True, slots=True)
class Proof:
    """The answer; sound without a defect. Sequences and hash are 0 and empty if nothing was in place."""

    checked: int
    first: int
    last: int
    last_hash: bytes
    defect: Defect | None
    tombstones: Sequence[Signed]


@dataclass(slots=True)
class _Witnesses:
    """What checkpoints say, against what is stored."""

    question: Question
    keys: Sequence[VerifierKey]
    kept: Start
    stored_end: int
    defect: Defect | None = None
    newest: Statement | None = None
    """The one that reaches farthest beyond the end."""
    checked: int = 0

    def trust(self, note: Note) -> bool:
        """Whether a note is by the chain's key."""
        self.checked += 1
        return note.signed_by(self.keys)

    def accuse(self, defect: Defect) -> None:
        """Remember what comes first in the range that is asked for."""
        if self.question.covers(defect):
            self.defect = first(self.defect, defect)


class Prover:
    """See the module."""

    def __init__(
        self, events: AuditStore, statements: StatementStore, signer: Signer, outside: Outside
    ) -> None:
        self._events = events
        self._statements = statements
        self._signer = signer
        self._outside = outside

    async def prove(self, question: Question) -> Proof:
        """Raises NotFound, OutOfRange, InvalidArgument for a note that is none, Unavailable if something that testifies is away."""
        own = _own_note(question)
        keys = await self._signer.keys(question.chain)
        while True:
            tombstones = await self._statements.tombstones(question.chain)
            proof = await self._prove(question, own, keys, tombstones)
            # Events that were removed while we walked are no defect: their tombstone is there now.
            if proof.defect is None or tombstones == await self._statements.tombstones(question.chain):
                return proof

    async def _prove(
        self,
        question: Question,
        own: Statement | None,
        keys: Sequence[VerifierKey],
        tombstones: Sequence[Signed],
    ) -> Proof:
        forged = next((item for item in tombstones if not _holds(item, keys)), None)
        if forged is not None:
            return Proof(0, 0, 0, b"", bad_signature(forged.statement.sequence, "tombstone"), tombstones)
        removed = tombstones[-1].statement if tombstones else None
        kept = Start(removed.sequence + 1, removed.hash) if removed else Start()
        stored_end = await self._end(question.chain, kept)
        witnesses = _Witnesses(question, keys, kept, stored_end)
        await self._hear(own, witnesses)
        if stored_end == 0 and witnesses.newest is None and question.chain != CHAIN:
            raise NotFound("AUDIT_CHAIN_NOT_FOUND", "there is no audit chain of this name")
        cut = await self._cut(witnesses)
        _check_range(question, witnesses.newest.sequence if cut and witnesses.newest else stored_end)
        walk = await self._walk(question, kept, stored_end)
        defects = [item for item in (walk.finish(), witnesses.defect) if item and question.covers(item)]
        if cut is not None and (question.last == 0 or cut.sequence <= question.last):
            defects.append(cut)
        return await self._answer(question, kept, walk, first(*defects), tombstones)

    async def _answer(
        self,
        question: Question,
        kept: Start,
        walk: Walk,
        defect: Defect | None,
        tombstones: Sequence[Signed],
    ) -> Proof:
        start = max(question.first, kept.sequence)
        end = min(walk.last_sequence, question.last or walk.last_sequence)
        last = (await self._events.links(question.chain, [end])).get(end) if end >= start else None
        if last is None:
            return Proof(0, 0, 0, b"", defect, tombstones)
        return Proof(end - start + 1, start, end, last.hash, defect, tombstones)

    async def _end(self, chain: str, kept: Start) -> int:
        end = await self._events.end(chain)
        return end.sequence if end else kept.sequence - 1

    async def _cut(self, witnesses: _Witnesses) -> Defect | None:
        """Whether the chain was cut off. What came while we listened may have been signed already."""
        newest = witnesses.newest
        if newest is None:
            return None
        end = await self._end(newest.chain, witnesses.kept)
        if newest.sequence > end:
            return truncated(end, newest.sequence, newest.hash)
        link = (await self._events.links(newest.chain, [newest.sequence])).get(newest.sequence)
        if link is None or link.hash == newest.hash:
            return None
        return forked(newest.sequence, newest.hash, link.hash, event_id=link.event_id)

    async def _walk(self, question: Question, kept: Start, stored_end: int) -> Walk:
        """Along the range and one event further, which tells whether the last one was altered."""
        start = kept
        if question.first > kept.sequence:
            before = question.first - 1
            link = (await self._events.links(question.chain, [before])).get(before)
            start = Start(question.first, link.hash if link else None, kept=False)
        walk = Walk(start, question.chain)
        last = question.last + 1 if question.last else stored_end
        after = start.sequence - 1 if question.first > kept.sequence else -1
        while not walk.decided and after < last:
            page = await self._events.read(question.chain, after, PAGE)
            await asyncio.to_thread(walk.feed, [item for item in page if item.sequence <= last])
            if len(page) < PAGE:
                break
            after = page[-1].sequence
        return walk

    async def _hear(self, own: Statement | None, witnesses: _Witnesses) -> None:
        question = witnesses.question
        if own is not None:
            await self._compare([question.note], witnesses)
            if witnesses.defect is None and own.sequence < witnesses.kept.sequence - 1:
                raise OutOfRange("SEQUENCE_OUT_OF_RANGE", "what the checkpoint covers was removed since")
        async for notes in self._kept_checkpoints(question.chain):
            await self._compare(notes, witnesses)
        async for notes in self._outside.all():
            await self._compare(notes, witnesses)

    async def _kept_checkpoints(self, chain: str) -> AsyncIterator[list[str]]:
        after: Place | None = None
        while page := await self._statements.checkpoints(chain, after, PAGE, oldest_first=True):
            yield [item.note for item in page]
            after = (page[-1].statement.sequence, page[-1].statement.hash)

    async def _compare(self, notes: Sequence[str], witnesses: _Witnesses) -> None:
        """Hold some notes against what is stored. Those about what a tombstone has removed since have nothing to be held against."""
        chain, kept = witnesses.question.chain, witnesses.kept
        read = [(note, statement) for note, statement in map(_read, notes) if _is_about(statement, chain)]
        stored = await self._events.links(chain, [item.sequence for _, item in read if item is not None])
        if kept.hash is not None:
            stored = {kept.sequence - 1: Link(kept.sequence - 1, kept.hash, ""), **stored}
        await asyncio.to_thread(_judge, read, stored, witnesses)


def _judge(
    read: Sequence[tuple[Note | None, Statement | None]],
    stored: Mapping[int, Link],
    witnesses: _Witnesses,
) -> None:
    oldest = witnesses.kept.sequence - 1
    for note, said in read:
        if note is None or said is None:
            witnesses.accuse(bad_signature(oldest, "checkpoint, which cannot even be read,"))
            continue
        link = stored.get(said.sequence)
        beyond = said.sequence > witnesses.stored_end
        agrees = said.sequence < oldest or (link is not None and link.hash == said.hash)
        if agrees and witnesses.checked >= MAX_CHECKED:
            continue
        if not witnesses.trust(note):
            witnesses.accuse(bad_signature(said.sequence, "checkpoint"))
        elif beyond:
            if witnesses.newest is None or said.sequence > witnesses.newest.sequence:
                witnesses.newest = said
        elif not agrees and link is not None:
            witnesses.accuse(forked(said.sequence, said.hash, link.hash, event_id=link.event_id))


def _own_note(question: Question) -> Statement | None:
    if not question.note:
        return None
    try:
        statement = read_statement(read_note(question.note))
    except BadNote as error:
        raise InvalidArgument(
            "INVALID_FIELD", f"not a checkpoint: {error}", field="checkpoint_note"
        ) from None
    if statement.chain != question.chain or statement.removed:
        raise InvalidArgument("INVALID_FIELD", "not a checkpoint of this chain", field="checkpoint_note")
    return statement


def _check_range(question: Question, end: int) -> None:
    for name, sequence in (("first_sequence", question.first), ("last_sequence", question.last)):
        if sequence > end:
            raise OutOfRange("SEQUENCE_OUT_OF_RANGE", f"{name} is beyond the chain's end, {end}")


def _read(note: str) -> tuple[Note | None, Statement | None]:
    try:
        read = read_note(note)
        return read, read_statement(read)
    except BadNote:
        return None, None


def _is_about(statement: Statement | None, chain: str) -> bool:
    """What cannot be read is about every chain: somebody spoilt it."""
    return statement is None or (statement.chain == chain and not statement.removed)


def _holds(tombstone: Signed, keys: Sequence[VerifierKey]) -> bool:
    note, statement = _read(tombstone.note)
    return note is not None and statement == tombstone.statement and note.signed_by(keys)
