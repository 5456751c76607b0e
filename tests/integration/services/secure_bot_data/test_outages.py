"""The vault goes away while secrets are written, shown and leased: each call says precisely what it did, and nothing stays half done."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from mesh.errors import MeshError, NotFound, OutcomeUnknown, ResourceExhausted, Unavailable
from mesh.ids import new_id
from services.secure_bot_data.domain.model import AccessKind, SecretMetadata, SecretRef
from services.secure_bot_data.domain.settling import Settler
from services.secure_bot_data.store.trail import AccessFilter
from tests.fakes.clock import ManualClock
from tests.integration.services.secure_bot_data.conftest import CALLER, MINUTE, Parts, oauth1
from tests.integration.services.secure_bot_data.root import Root

WORKERS = 6
REFUSALS = {"VAULT_SEALED", "VAULT_UNAVAILABLE", "VAULT_STANDBY", "VAULT_PERMISSION_LOST", "OVERLOADED"}


@dataclass
class Attempt:
    """What was done with one new secret, and how each step ended: None when all was well."""

    ref: SecretRef
    ends: dict[str, MeshError | None] = field(default_factory=dict)

    async def make(self, step: str, call: Awaitable[object]) -> None:
        """Notes how a step ended."""
        try:
            await call
        except MeshError as error:
            self.ends[step] = error
        else:
            self.ends[step] = None

    @property
    def was_hit(self) -> bool:
        """Whether a step met the outage."""
        return any(self.ends.values())


@pytest.mark.parametrize("way", ["seal", "kill"])
async def test_an_outage_in_the_middle_leaves_every_call_precise_and_nothing_half_done(
    open_parts: Callable[[], Parts], root: Root, way: str
) -> None:
    """Whoever is told "unavailable" may repeat, whoever is told "unknown" looks first, and whoever was answered has it for good."""
    parts = open_parts()
    await _until_it_answers(parts)
    attempts: list[Attempt] = []
    workers = [asyncio.create_task(_use(parts, attempts)) for _ in range(WORKERS)]
    await _reach(attempts, 3 * WORKERS)
    try:
        if way == "seal":
            await root.seal()
            await asyncio.gather(*workers)
    finally:
        await root.restart()
    await asyncio.gather(*workers)
    assert any(attempt.was_hit for attempt in attempts)
    await _until_it_answers(parts)
    await _settle_all(parts, {attempt.ref for attempt in attempts})
    for attempt in attempts:
        _check_reasons(attempt)
        await _check_version(parts, attempt)
        await _check_trail(parts, attempt)


async def test_what_was_stored_is_there_after_a_restart(parts: Parts, ref: SecretRef, root: Root) -> None:
    """A confirmed version survives the end of the vault's process."""
    await _until_it_answers(parts)
    await parts.writer.put(ref, oauth1("one"), None, CALLER)
    await parts.writer.put(ref, oauth1("two"), 1, CALLER)
    await root.restart()
    await _until_it_answers(parts)
    assert (await parts.reader.reveal(ref, 0, "look", CALLER)).fields == oauth1("two").fields
    assert (await parts.rollback.roll_back(ref, 1, 2, CALLER)).version == 3


async def _use(parts: Parts, attempts: list[Attempt]) -> None:
    """Makes new secrets and reads them until something fails."""
    while True:
        attempt = Attempt(SecretRef(new_id(), "x_oauth1"))
        attempts.append(attempt)
        ref = attempt.ref
        await attempt.make("put", parts.writer.put(ref, oauth1(ref.bot_id), 0, CALLER))
        await attempt.make("reveal", parts.reader.reveal(ref, 0, "look", CALLER))
        await attempt.make("lease", parts.reader.lease(ref, 0, MINUTE, "publish", CALLER))
        if attempt.was_hit:
            return


def _check_reasons(attempt: Attempt) -> None:
    """Only what the contract says of an outage; a reading never ends in the unknown."""
    for step, error in attempt.ends.items():
        if error is None or (isinstance(error, NotFound) and attempt.ends["put"] is not None):
            continue
        assert isinstance(error, Unavailable | OutcomeUnknown | ResourceExhausted), error
        assert error.reason in REFUSALS
        assert step == "put" or not isinstance(error, OutcomeUnknown)


async def _check_version(parts: Parts, attempt: Attempt) -> None:
    """Stored if and only if that was said, or either if it was said to be unknown; the catalogue knows what the vault has."""
    error, known = attempt.ends["put"], await parts.catalogue.find(attempt.ref)
    try:
        opened = await parts.vault.open(attempt.ref, 0)
    except NotFound:
        assert error is not None
        assert known is None
        return
    assert error is None or isinstance(error, OutcomeUnknown)
    assert (opened.version, opened.fields) == (1, oauth1(attempt.ref.bot_id).fields)
    assert isinstance(known, SecretMetadata)
    assert (known.version, known.updated_by) == (1, CALLER.actor)


async def _check_trail(parts: Parts, attempt: Attempt) -> None:
    """A row for each value that was given out and none for others; a lease in force for each that was granted."""
    rows = await parts.trail.list_accesses(AccessFilter(attempt.ref.bot_id), before=None, limit=9)
    given = {row.kind for row in rows if row.allowed}
    kinds = {"reveal": AccessKind.REVEAL, "lease": AccessKind.LEASE}
    assert given == {kind for step, kind in kinds.items() if attempt.ends[step] is None}
    assert {row.kind for row in rows if not row.allowed} == set(kinds.values()) - given
    in_force = await parts.reader.revoke(attempt.ref.bot_id, "counted")
    assert in_force == (attempt.ends["lease"] is None)


async def _settle_all(parts: Parts, refs: set[SecretRef]) -> None:
    """As the service does in the minutes after."""
    clock = ManualClock(datetime.now(UTC) + timedelta(minutes=10))
    settler = Settler(parts.vault, parts.catalogue, clock)
    async with asyncio.timeout(20):
        while refs & {marker.ref for marker in await parts.catalogue.announced(clock.now())}:
            await settler.sweep()


async def _reach(attempts: list[Attempt], count: int) -> None:
    async with asyncio.timeout(20):
        while len(attempts) < count:
            await asyncio.sleep(0.005)


async def _until_it_answers(parts: Parts) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await parts.vault.check()
            except MeshError:
                await asyncio.sleep(0.05)
            else:
                return
