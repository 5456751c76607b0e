"""A bot that is no more leaves no value behind, and nobody else loses one."""

import pytest

from mesh.errors import FailedPrecondition, MeshError, Unavailable
from mesh.ids import new_id
from services.secure_bot_data.domain.changing import VersionChanger
from services.secure_bot_data.domain.destroying import BotSecretDestroyer
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import SecretMetadata, SecretRef, State
from tests.integration.services.secure_bot_data.conftest import CALLER, MINUTE, Parts, oauth1


class Interrupted(VersionChanger):
    """Fails at the second secret."""

    done = 0

    async def change(
        self, ref: SecretRef, event: Event, versions: object, *, concludes: bool = True
    ) -> SecretMetadata:
        """See VersionChanger."""
        if Interrupted.done:
            raise Unavailable("VAULT_UNAVAILABLE", "away")
        Interrupted.done += 1
        return await super().change(ref, event, (), concludes=concludes)


async def is_destroyed(parts: Parts, ref: SecretRef) -> bool:
    """Whether nothing of the secret can be had any more."""
    facts = await parts.vault.facts(ref)
    with pytest.raises(FailedPrecondition) as refused:
        await parts.reader.lease(ref, 0, MINUTE, "look", CALLER)
    return refused.value.reason == "SECRET_DESTROYED" and {fact.state for fact in facts} == {State.DESTROYED}


async def test_every_version_of_every_secret_goes_and_other_bots_keep_theirs(parts: Parts) -> None:
    """Deleted ones too, which could be brought back otherwise; and doing it again does no harm."""
    bot_id, other = new_id(), SecretRef(new_id(), "x_oauth1")
    refs = [SecretRef(bot_id, name) for name in ("x_oauth1", "x_oauth2", "proxy")]
    for ref in (*refs, other):
        for _ in range(2):
            await parts.writer.put(ref, oauth1(), None, CALLER)
    await parts.changer.change(refs[0], Event.DELETE, ())
    destroyer = BotSecretDestroyer(parts.catalogue, parts.changer)
    assert [await destroyer.destroy(bot_id) for _ in range(2)] == [3, 0]
    assert [await is_destroyed(parts, ref) for ref in refs] == [True] * 3
    assert (await parts.reader.lease(other, 0, MINUTE, "publish", CALLER))[0].version == 2
    assert await destroyer.destroy(new_id()) == 0


async def test_a_call_that_was_cut_off_is_finished_by_its_repeat(parts: Parts) -> None:
    """Whoever calls goes on until it has succeeded."""
    bot_id = new_id()
    refs = [SecretRef(bot_id, name) for name in ("a", "b")]
    for ref in refs:
        await parts.writer.put(ref, oauth1(), None, CALLER)
    own = parts.changer
    broken = Interrupted(own.vault, own.catalogue, own.settler, own.clock, own.new_id)
    with pytest.raises(MeshError):
        await BotSecretDestroyer(parts.catalogue, broken).destroy(bot_id)
    assert await BotSecretDestroyer(parts.catalogue, own).destroy(bot_id) == 1
    assert [await is_destroyed(parts, ref) for ref in refs] == [True, True]
