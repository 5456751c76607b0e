"""Writing: what happens when the vault or the database goes away between two steps."""

import asyncio
from datetime import timedelta

import pytest

from mesh.errors import (
    Aborted,
    FailedPrecondition,
    Internal,
    MeshError,
    OutcomeUnknown,
    ResourceExhausted,
    Unavailable,
)
from mesh.secret import Secret
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import Draft, SecretKind
from services.secure_bot_data.domain.settling import GRACE, SETTLED
from tests.unit.services.secure_bot_data.conftest import CALLER, REF, VALUE, Rules, draft

AWAY = Unavailable("VAULT_SEALED", "the secret store is sealed")
LOST = OutcomeUnknown("VAULT_UNAVAILABLE", "the secret store did not confirm the write")
NO_DATABASE = Unavailable("DATABASE_UNAVAILABLE", "the database does not answer; nothing was written")


async def test_a_write_leaves_one_version_and_no_announcement(rules: Rules) -> None:
    """The plain case."""
    metadata = await rules.writer.put(REF, draft(), 0, CALLER)
    assert (metadata.version, metadata.updated_by, rules.catalogue.markers) == (1, CALLER.actor, {})


async def test_an_expectation_that_fails_writes_nothing(rules: Rules) -> None:
    """A repeat after success must not write twice."""
    await rules.writer.put(REF, draft(), 0, CALLER)
    for expected in (0, 2):
        with pytest.raises(Aborted):
            await rules.writer.put(REF, draft("other"), expected, CALLER)
    assert len(await rules.vault.facts(REF)) == 1


async def test_a_sealed_vault_announces_nothing(rules: Rules) -> None:
    """While the vault is away the database must not fill up with intentions."""
    rules.vault.fail_next("seal", AWAY)
    with pytest.raises(Unavailable):
        await rules.writer.put(REF, draft(), None, CALLER)
    assert rules.catalogue.markers == {}


async def test_a_lost_confirmation_is_looked_up(rules: Rules) -> None:
    """A token that X has exchanged must not be reported lost when it is safe."""
    rules.vault.fail_next("put", LOST, done=True)
    assert (await rules.writer.put(REF, draft(), 0, CALLER)).version == 1


async def test_a_lost_confirmation_that_cannot_be_looked_up_stays_unknown_and_heals(rules: Rules) -> None:
    """Unknown is the honest answer; the catalogue learns the truth later."""
    rules.vault.fail_next("put", LOST, done=True)
    rules.vault.fail_next("describe", AWAY)
    with pytest.raises(OutcomeUnknown):
        await rules.writer.put(REF, draft(), 0, CALLER)
    await _sweep_after(rules, GRACE)
    metadata = await rules.catalogue.find(REF)
    assert metadata is not None
    assert metadata.version == 1


async def test_a_lost_confirmation_of_a_write_that_never_arrived_is_not_repeated(rules: Rules) -> None:
    """It may still be on its way; writing again could make two versions."""
    rules.vault.fail_next("put", LOST)
    with pytest.raises(OutcomeUnknown):
        await rules.writer.put(REF, draft(), None, CALLER)
    assert await rules.settler.settle(REF) is None


@pytest.mark.parametrize("error", [NO_DATABASE, Aborted("VERSION_MISMATCH", "another writer was faster")])
async def test_a_database_lost_after_the_vault_is_told_and_heals(rules: Rules, error: MeshError) -> None:
    """`Nothing was written` would be a lie, and the caller would write again."""
    rules.catalogue.fail_next("record", error)
    with pytest.raises(OutcomeUnknown) as caught:
        await rules.writer.put(REF, draft(), 0, CALLER)
    assert caught.value.reason == "DATABASE_UNAVAILABLE"
    await _sweep_after(rules, GRACE)
    metadata = await rules.catalogue.find(REF)
    assert metadata is not None
    assert metadata.version == 1
    assert len(rules.catalogue.markers) == 1
    await _sweep_after(rules, SETTLED)
    assert rules.catalogue.markers == {}


async def test_labels_are_shown_after_everything_else_and_fail_nothing(rules: Rules) -> None:
    """They are a help for people; the write is done before."""
    rules.vault.fail_next("label", AWAY)
    metadata = await rules.writer.put(REF, draft(), 0, CALLER)
    assert (metadata.version, rules.vault.labels, len(rules.catalogue.markers)) == (1, {}, 1)
    await _sweep_after(rules, SETTLED)
    assert rules.vault.labels == {REF: {"managed_by": "vivesphere", "kind": "GENERIC"}}
    assert rules.catalogue.markers == {}


async def test_sweeping_waits_while_the_vault_is_away(rules: Rules) -> None:
    """An announcement is forgotten only after the vault has been asked."""
    rules.catalogue.fail_next("record", NO_DATABASE)
    with pytest.raises(OutcomeUnknown):
        await rules.writer.put(REF, draft(), 0, CALLER)
    rules.vault.fail_next("facts", AWAY)
    loop = asyncio.create_task(rules.settler.run())
    await rules.clock.advance(SETTLED + timedelta(seconds=1))
    await rules.clock.advance(SETTLED)
    loop.cancel()
    assert rules.catalogue.markers == {}
    assert await rules.catalogue.find(REF) is not None


async def test_a_secret_that_was_tampered_with_comes_up_until_nothing_can_be_on_its_way(rules: Rules) -> None:
    """For ever would keep others from their turn. What only failed to answer is asked again, however long it takes."""
    rules.catalogue.fail_next("record", NO_DATABASE)
    with pytest.raises(OutcomeUnknown):
        await rules.writer.put(REF, draft(), 0, CALLER)
    tampered = Internal("INTERNAL", "a secret in the vault was not written by this service")
    throttled = ResourceExhausted("VAULT_THROTTLED", "the secret store limits the rate of requests")
    for time, error, left in ((GRACE, tampered, 1), (SETTLED, throttled, 1), (SETTLED, tampered, 0)):
        rules.vault.fail_next("facts", error)
        await _sweep_after(rules, time)
        assert len(rules.catalogue.markers) == left


async def test_the_kind_is_settled_by_the_first_version(rules: Rules) -> None:
    """Even when the catalogue has not heard of it yet."""
    rules.catalogue.fail_next("record", NO_DATABASE)
    with pytest.raises(OutcomeUnknown):
        await rules.writer.put(REF, draft(), 0, CALLER)
    app = Draft(SecretKind.X_APP, {"client_id": Secret("a"), "client_secret": Secret("b")})
    with pytest.raises(FailedPrecondition) as caught:
        await rules.writer.put(REF, app, None, CALLER)
    assert caught.value.reason == "SECRET_KIND_MISMATCH"


async def test_a_deleted_secret_counts_on(rules: Rules) -> None:
    """Compare-and-set knows deleted versions; writing again makes the next one."""
    await rules.writer.put(REF, draft(), None, CALLER)
    await rules.changer.change(REF, Event.DELETE, [])
    with pytest.raises(Aborted):
        await rules.writer.put(REF, draft(), 0, CALLER)
    assert (await rules.writer.put(REF, draft(), 1, CALLER)).version == 2


async def test_no_word_shows_a_value(rules: Rules) -> None:
    """Whatever is printed, logged or raised on the way."""
    assert VALUE not in repr(draft())
    await rules.writer.put(REF, draft(), None, CALLER)
    assert VALUE not in repr(await rules.vault.open(REF, 0))
    for method, error in (("seal", AWAY), ("put", LOST)):
        rules.vault.fail_next(method, error)
        with pytest.raises(MeshError) as caught:
            await rules.writer.put(REF, draft(), None, CALLER)
        assert VALUE not in repr(caught.value)


async def _sweep_after(rules: Rules, time: timedelta) -> None:
    await rules.clock.advance(time + timedelta(seconds=1))
    await rules.settler.sweep()
