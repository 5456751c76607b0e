"""The key of all secrets: making versions, and retiring them only when nobody needs them."""

from datetime import timedelta

import pytest

from mesh.errors import Aborted, FailedPrecondition, InvalidArgument, OutcomeUnknown
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.ports import Marker
from services.secure_bot_data.domain.settling import SETTLED
from tests.unit.services.secure_bot_data.conftest import CALLER, REF, draft
from tests.unit.services.secure_bot_data.key_fakes import Keys

LOST = OutcomeUnknown("VAULT_UNAVAILABLE", "the secret store did not confirm the write")


@pytest.fixture
def keys() -> Keys:
    return Keys()


async def test_a_rotation_makes_the_version_that_is_written_with(keys: Keys) -> None:
    """What it is for."""
    await keys.writer.put(REF, draft(), None, CALLER)
    assert (await keys.keeper.rotate(1)).latest == 2
    assert (await keys.keeper.rotate(None)).latest == 3
    await keys.writer.put(REF, draft(), None, CALLER)
    assert [version.key_version for version in await keys.catalogue.versions(REF)] == [1, 3]


async def test_a_repeated_rotation_with_an_expectation_makes_no_second_version(keys: Keys) -> None:
    """Whoever did not hear the answer asks again."""
    await keys.keeper.rotate(1)
    with pytest.raises(Aborted):
        await keys.keeper.rotate(1)
    assert keys.vault.latest == 2


async def test_a_rotation_whose_confirmation_was_lost_is_looked_up(keys: Keys) -> None:
    """The vault knows whether it made the version."""
    keys.vault.fail_next("rotate_key", LOST, done=True)
    assert (await keys.keeper.rotate(1)).latest == 2
    keys.vault.fail_next("rotate_key", LOST)
    with pytest.raises(OutcomeUnknown):
        await keys.keeper.rotate(2)


async def test_a_version_of_the_key_that_is_needed_is_not_retired(keys: Keys) -> None:
    """Current or earlier, active or deleted: all of these can still be asked for."""
    await keys.writer.put(REF, draft(), None, CALLER)
    await keys.keeper.rotate(None)
    assert await _refused(keys, 2) == "KEY_VERSION_IN_USE"
    await keys.writer.put(REF, draft(), None, CALLER)
    await keys.changer.change(REF, Event.DELETE, [1])
    assert await _refused(keys, 2) == "KEY_VERSION_IN_USE"
    await keys.changer.change(REF, Event.DESTROY, [1])
    assert (await keys.keeper.retire(2)).min_decryption == 2
    assert (await keys.vault.open(REF, 0)).version == 2


async def test_a_version_that_may_need_an_old_key_counts_as_needing_it(keys: Keys) -> None:
    """Written by the release before: nobody has looked yet."""
    await keys.keeper.rotate(None)
    await keys.writer.put(REF, draft(), None, CALLER)
    await keys.catalogue.forget_keys(REF)
    assert await _refused(keys, 2) == "KEY_VERSION_IN_USE"


async def test_a_writer_from_before_the_rotation_counts_until_it_has_ended(keys: Keys) -> None:
    """It may have encrypted with the old version and not have said so yet."""
    await keys.keeper.rotate(None)
    await keys.catalogue.announce(Marker("writing", REF, keys.clock.now()))
    assert await _refused(keys, 2) == "KEY_VERSION_IN_USE"
    await keys.catalogue.withdraw("writing")
    await keys.clock.advance(SETTLED + timedelta(seconds=1))
    # Whoever begins that late has used the new version.
    await keys.catalogue.announce(Marker("writing later", REF, keys.clock.now()))
    assert (await keys.keeper.retire(2)).min_decryption == 2


async def test_retiring_again_changes_nothing_and_beyond_the_newest_is_refused(keys: Keys) -> None:
    """A repeat is no error; a slip of the finger must not make everything unreadable."""
    await keys.keeper.rotate(None)
    await keys.keeper.retire(2)
    assert (await keys.keeper.retire(1)).min_decryption == 2
    assert await _refused(keys, 3) == "INVALID_FIELD"


async def _refused(keys: Keys, least: int) -> str:
    """The reason for which retiring is refused; nothing must have changed."""
    before = keys.vault.least
    with pytest.raises((FailedPrecondition, InvalidArgument)) as caught:
        await keys.keeper.retire(least)
    assert keys.vault.least == before
    return caught.value.reason
