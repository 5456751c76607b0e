"""Claims: one at a time, of the current values, and none that ends without a word is forgotten."""

from datetime import timedelta

import pytest

from mesh.errors import Aborted, FailedPrecondition, NotFound, Unavailable
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import Draft, SecretKind
from tests.unit.services.secure_bot_data.conftest import CALLER, REF, Rules, draft

MINUTE = timedelta(minutes=1)
NO_DATABASE = Unavailable("DATABASE_UNAVAILABLE", "the database does not answer; nothing was written")


async def test_one_claim_at_a_time_and_the_refusal_says_for_how_long(rules: Rules) -> None:
    """Two holders of a token that is good once would lose the account; the same caller asking twice counts as two."""
    await rules.writer.put(REF, draft(), 0, CALLER)
    claimed = await rules.rotator.claim(REF, MINUTE, CALLER)
    assert (claimed.claim.version, claimed.claim.holder, claimed.interrupted) == (1, CALLER.actor, False)
    await rules.clock.advance(timedelta(seconds=20))
    with pytest.raises(Aborted) as refused:
        await rules.rotator.claim(REF, MINUTE, CALLER)
    assert (refused.value.reason, refused.value.retry_after) == ("ROTATION_CLAIMED", timedelta(seconds=40))


async def test_a_claim_that_expired_without_a_word_interrupts_the_next(rules: Rules) -> None:
    """The other side may have been asked: whoever claims next has to know. The mark stays until somebody settles it."""
    await rules.writer.put(REF, draft(), 0, CALLER)
    for interrupted in (False, True, True):
        assert (await rules.rotator.claim(REF, MINUTE, CALLER)).interrupted is interrupted
        await rules.clock.advance(MINUTE)


@pytest.mark.parametrize("settled", [True, False])
async def test_a_release_says_how_it_ended(rules: Rules, settled: bool) -> None:
    """Released with doubt it is as good as expired; released without, nothing has happened."""
    await rules.writer.put(REF, draft(), 0, CALLER)
    claim = (await rules.rotator.claim(REF, MINUTE, CALLER)).claim
    assert await rules.rotator.release(REF, claim.id, settled=settled)
    assert not await rules.rotator.release(REF, claim.id, settled=True)
    assert (await rules.rotator.claim(REF, MINUTE, CALLER)).interrupted is not settled


async def test_a_late_word_counts_until_somebody_else_claims(rules: Rules) -> None:
    """What is known is better than what is feared, but it must not end another's claim."""
    await rules.writer.put(REF, draft(), 0, CALLER)
    late = (await rules.rotator.claim(REF, MINUTE, CALLER)).claim
    await rules.clock.advance(MINUTE)
    assert not await rules.rotator.release(REF, late.id, settled=True)
    own = await rules.rotator.claim(REF, MINUTE, CALLER)
    assert not own.interrupted
    assert not await rules.rotator.release(REF, late.id, settled=True)
    with pytest.raises(Aborted):
        await rules.rotator.claim(REF, MINUTE, CALLER)


async def test_storing_the_successor_ends_whichever_claim_there_is(rules: Rules) -> None:
    """The version decides: a slow claimant has the only successor that exists, and it is stored although its claim has passed."""
    await rules.writer.put(REF, draft(), 0, CALLER)
    slow = (await rules.rotator.claim(REF, MINUTE, CALLER)).claim
    await rules.clock.advance(MINUTE)
    await rules.rotator.claim(REF, MINUTE, CALLER)
    stored = await rules.writer.put(REF, draft("next"), 1, CALLER, rotation_id=slow.id)
    assert stored.version == 2
    assert rules.catalogue.claims[REF].settled
    again = await rules.rotator.claim(REF, MINUTE, CALLER)
    assert (again.claim.version, again.interrupted) == (2, False)


async def test_a_successor_of_which_the_catalogue_has_not_heard_ends_the_claim_too(rules: Rules) -> None:
    """The vault has it; a claim of the version before would exchange a token that is used up."""
    await rules.writer.put(REF, draft(), 0, CALLER)
    claim = (await rules.rotator.claim(REF, MINUTE, CALLER)).claim
    rules.catalogue.fail_next("record", NO_DATABASE)
    with pytest.raises(Exception, match="stored"):
        await rules.writer.put(REF, draft("next"), 1, CALLER, rotation_id=claim.id)
    again = await rules.rotator.claim(REF, MINUTE, CALLER)
    assert (again.claim.version, again.interrupted) == (2, False)


async def test_encrypting_anew_does_not_open_a_claimed_secret(rules: Rules) -> None:
    """The new version holds the same token, and its exchange is under way."""
    await rules.writer.put(REF, draft(), 0, CALLER)
    await rules.rotator.claim(REF, MINUTE, CALLER)
    await rules.writer.put(REF, draft(), 1, CALLER)
    rules.rotations.rewrapped = {2: 1}
    with pytest.raises(Aborted):
        await rules.rotator.claim(REF, MINUTE, CALLER)
    await rules.clock.advance(MINUTE)
    again = await rules.rotator.claim(REF, MINUTE, CALLER)
    assert (again.claim.version, again.interrupted) == (2, True)


async def test_only_what_can_be_read_can_be_claimed(rules: Rules) -> None:
    """A claim that cannot be followed by a lease would keep others out for nothing."""
    with pytest.raises(NotFound):
        await rules.rotator.claim(REF, MINUTE, CALLER)
    soon = rules.clock.now() + MINUTE
    await rules.writer.put(REF, Draft(SecretKind.GENERIC, draft().fields, expire_time=soon), 0, CALLER)
    await rules.clock.advance(MINUTE)
    with pytest.raises(FailedPrecondition) as expired:
        await rules.rotator.claim(REF, MINUTE, CALLER)
    await rules.writer.put(REF, draft(), 1, CALLER)
    for event in (Event.DELETE, Event.DESTROY):
        await rules.changer.change(REF, event, [])
        with pytest.raises(FailedPrecondition) as gone:
            await rules.rotator.claim(REF, MINUTE, CALLER)
        assert gone.value.reason in ("SECRET_DELETED", "SECRET_DESTROYED")
    assert expired.value.reason == "SECRET_EXPIRED"


async def test_a_vault_that_is_away_grants_no_claim(rules: Rules) -> None:
    """Nobody could say which version is current."""
    await rules.writer.put(REF, draft(), 0, CALLER)
    rules.vault.fail_next("facts", Unavailable("VAULT_SEALED", "the secret store is sealed"))
    with pytest.raises(Unavailable):
        await rules.rotator.claim(REF, MINUTE, CALLER)
    assert rules.catalogue.claims == {}
