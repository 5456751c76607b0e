"""Signs the end of the chain when there is something new, and keeps the checkpoint in the database and outside of it.

Every replica does this and no one leads: each looks at what was kept last, whoever kept it, and two that sign the same end at once keep it
once. Before it signs, it walks from the last checkpoint to the end: a chain that was broken meanwhile gets no checkpoint, and health says
so. While the vault, the database or NATS is away the loop tries again; nothing waits for it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.errors import FailedPrecondition, MeshError
from services.logging.auditing.outside import Outside
from services.logging.auditing.signing import Signer
from services.logging.domain.chain import CHAIN, GENESIS
from services.logging.domain.notes import BadNote, Statement, read_note, read_statement
from services.logging.domain.verifying import Defect, Start, Walk, forked, truncated
from services.logging.store.audit import AuditStore, Link
from services.logging.store.statements import Signed, StatementStore

TICK: Final = timedelta(seconds=1)
PAGE: Final = 500


class Checkpointer:
    """The loop, for the one chain that events are added to. `pace` tells seconds and events between checkpoints."""

    def __init__(
        self,
        events: AuditStore,
        statements: StatementStore,
        signer: Signer,
        outside: Outside,
        clock: Clock,
        pace: Callable[[], tuple[int, int]],
        chain: str = CHAIN,
    ) -> None:
        self._chain = chain
        self._events = events
        self._statements = statements
        self._signer = signer
        self._outside = outside
        self._clock = clock
        self._pace = pace
        self._last: Statement | None = None
        """The newest end that was signed and verifies."""
        self._outside_sequence = -1
        """How far what lies outside reaches; -1 until that was asked."""
        self._new_since: datetime | None = None
        self._failure: MeshError | None = None

    async def run(self) -> None:
        """Look every second until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(TICK)

    async def check(self) -> None:
        """For health: raises what kept the last look from its work."""
        if self._failure is not None:
            raise self._failure

    async def look(self) -> None:
        """One look; signs if it is time. What goes wrong is told by `check`."""
        try:
            await self._look()
        except MeshError as error:
            if self._failure is None or self._failure.reason != error.reason:
                logger.bind(reason=error.reason).warning("audit checkpoint waits")
            self._failure = error
        else:
            self._failure = None

    async def sign_end(self, chain: str) -> Signed | None:
        """A checkpoint of the chain's present end, kept nowhere. None if there is no such chain."""
        end = await self._events.end(chain)
        if end is None and chain != self._chain:
            return None
        sequence, digest = (end.sequence, end.hash) if end else (0, GENESIS)
        return await self._signer.sign(Statement(chain, sequence, digest, self._clock.now()))

    async def _look(self) -> None:
        if self._outside_sequence < 0:
            await self._begin()
        kept = await self._adopt_newest()
        if kept is not None and kept.statement.sequence > self._outside_sequence:
            await self._keep_outside(kept)
        end = await self._events.end(self._chain)
        if end is None or not self._is_time(end):
            return
        await self._prove(end)
        signed = await self._signer.sign(Statement(self._chain, end.sequence, end.hash, self._clock.now()))
        await self._statements.keep(signed)
        self._last, self._new_since = signed.statement, None
        await self._keep_outside(signed)

    async def _begin(self) -> None:
        """What lies outside is known before anything is signed: the database may have been rewritten while nobody looked."""
        note = await self._outside.newest(self._chain)
        statement = None if note is None else await self._verified(note)
        if note is not None and statement is None:
            raise _broken("the newest checkpoint outside of the database is not by the chain's key")
        self._last = statement
        self._outside_sequence = statement.sequence if statement else 0

    async def _adopt_newest(self) -> Signed | None:
        """The newest checkpoint in the database, if it is more than is known: another replica's, for example."""
        kept = await self._statements.newest(self._chain)
        if kept is None or (self._last is not None and kept.statement.sequence <= self._last.sequence):
            return kept
        statement = await self._verified(kept.note)
        if statement != kept.statement:
            raise _broken("a checkpoint in the database is not the one that was signed")
        self._last, self._new_since = statement, None
        return kept

    async def _keep_outside(self, signed: Signed) -> None:
        await self._outside.keep(signed.note)
        self._outside_sequence = signed.statement.sequence

    async def _verified(self, note: str) -> Statement | None:
        """What a note says, if the chain's key signed it."""
        try:
            read = read_note(note)
            statement = read_statement(read)
        except BadNote:
            return None
        return statement if read.signed_by(await self._signer.keys(self._chain)) else None

    def _is_time(self, end: Link) -> bool:
        known = self._last.sequence if self._last else 0
        if self._last is not None and end.sequence == known and end.hash == self._last.hash:
            self._new_since = None
            return False
        now = self._clock.now()
        self._new_since = self._new_since or now
        seconds, events = self._pace()
        return end.sequence - known >= events or now - self._new_since >= timedelta(seconds=seconds)

    async def _prove(self, end: Link) -> None:
        """Raises FailedPrecondition unless the chain leads from the last checkpoint to its end."""
        start = await self._start(end)
        walk = Walk(start, self._chain)
        while not walk.decided and walk.last_sequence < end.sequence:
            page = await self._events.read(self._chain, walk.last_sequence, PAGE)
            walk.feed(item for item in page if item.sequence <= end.sequence)
            if len(page) < PAGE or page[-1].sequence > walk.last_sequence:
                break
        defect = walk.finish()
        if defect is None and walk.last_sequence < end.sequence:
            raise _broken("the chain does not lead from the last checkpoint to its end")
        if defect is not None:
            raise _refuse(defect)

    async def _start(self, end: Link) -> Start:
        last = self._last
        tombstones = await self._statements.tombstones(self._chain)
        removed = tombstones[-1].statement if tombstones else None
        if removed is not None and (last is None or removed.sequence >= last.sequence):
            return Start(removed.sequence + 1, removed.hash)
        if last is None:
            return Start()
        if end.sequence < last.sequence:
            raise _refuse(truncated(end.sequence, last.sequence, last.hash))
        link = (await self._events.links(self._chain, [last.sequence])).get(last.sequence)
        if last.sequence > 0 and (link is None or link.hash != last.hash):
            raise _refuse(forked(last.sequence, last.hash, link.hash if link else b""))
        return Start(last.sequence + 1, last.hash, kept=False)


def _refuse(defect: Defect) -> FailedPrecondition:
    logger.bind(kind=defect.kind.name, sequence=defect.sequence).error("audit chain is broken")
    return _broken(defect.message)


def _broken(message: str) -> FailedPrecondition:
    return FailedPrecondition("INVALID_STATE", f"no checkpoint is signed: {message}")
