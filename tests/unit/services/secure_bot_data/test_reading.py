"""Reading: no value without a row, no attempt without a row."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mesh.errors import FailedPrecondition, MeshError, NotFound, ResourceExhausted, Unavailable
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import AccessKind
from tests.unit.services.secure_bot_data.conftest import CALLER, REF, Rules, draft

MINUTE = timedelta(minutes=1)
NO_DATABASE = Unavailable("DATABASE_UNAVAILABLE", "the database does not answer; nothing was written")
SEALED = Unavailable("VAULT_SEALED", "the secret store is sealed")


async def test_what_was_given_is_what_the_trail_says(rules: Rules) -> None:
    """Version and lease of the row are those of the answer."""
    await rules.writer.put(REF, draft("one"), None, CALLER)
    await rules.writer.put(REF, draft("two"), None, CALLER)
    opened, lease = await rules.reader.lease(REF, 0, MINUTE, "publish", CALLER)
    (access,) = rules.trail.accesses
    assert opened.fields["value"].reveal() == "two"
    assert (access.version, access.lease_id, access.allowed) == (2, lease.id, True)
    assert (access.kind, access.lease_end_time) == (AccessKind.LEASE, rules.clock.now() + MINUTE)


async def test_a_lease_ends_with_its_secret(rules: Rules) -> None:
    """A lease that outlives the secret would be an extension of it."""
    end = rules.clock.now() + timedelta(seconds=5)
    await rules.writer.put(REF, replace(draft(), expire_time=end), None, CALLER)
    assert (await rules.reader.lease(REF, 0, MINUTE, "publish", CALLER))[1].expire_time == end
    await rules.clock.advance(timedelta(seconds=5))
    with pytest.raises(FailedPrecondition) as caught:
        await rules.reader.lease(REF, 0, MINUTE, "publish", CALLER)
    assert caught.value.reason == rules.trail.accesses[-1].denied_reason == "SECRET_EXPIRED"


@pytest.mark.parametrize("method", ["allow", "lease"])
async def test_a_trail_that_cannot_be_written_keeps_the_value_in(rules: Rules, method: str) -> None:
    """What is not on the trail was not done."""
    await rules.writer.put(REF, draft(), None, CALLER)
    rules.trail.fail_next(method, NO_DATABASE)
    reading = (
        rules.reader.lease(REF, 0, MINUTE, "publish", CALLER)
        if method == "lease"
        else rules.reader.reveal(REF, 0, "look", CALLER)
    )
    with pytest.raises(Unavailable) as caught:
        await reading
    assert caught.value.reason == "ACCESS_TRAIL_UNAVAILABLE"
    assert rules.trail.accesses == []


async def test_refusals_are_precise_and_on_the_trail(rules: Rules) -> None:
    """Absent, deleted, destroyed and sealed are different things to whoever has to act."""
    expected = []

    async def refused(error: type[MeshError], reason: str, version: int = 0) -> None:
        expected.append(reason)
        with pytest.raises(error) as caught:
            await rules.reader.reveal(REF, version, "look", CALLER)
        assert caught.value.reason == reason

    await refused(NotFound, "SECRET_NOT_FOUND")
    await rules.writer.put(REF, draft(), None, CALLER)
    await refused(NotFound, "SECRET_NOT_FOUND", version=7)
    rules.vault.fail_next("open", SEALED)
    await refused(Unavailable, "VAULT_SEALED")
    await rules.changer.change(REF, Event.DELETE, [])
    await refused(FailedPrecondition, "SECRET_DELETED")
    await rules.changer.change(REF, Event.DESTROY, [1])
    await refused(FailedPrecondition, "SECRET_DESTROYED")
    assert [access.denied_reason for access in rules.trail.accesses] == expected
    assert {access.version for access in rules.trail.accesses} == {0}


async def test_a_refusal_stands_when_it_cannot_be_written(rules: Rules) -> None:
    """Nothing was given out, so the caller is told why and not that the trail is away."""
    rules.trail.fail_next("deny", NO_DATABASE)
    with pytest.raises(NotFound):
        await rules.reader.reveal(REF, 0, "look", CALLER)


async def test_one_lease_more_than_allowed_is_refused_with_the_time_to_wait(rules: Rules) -> None:
    """The caller comes back when the next lease ends."""
    await rules.writer.put(REF, draft(), None, CALLER)
    for _ in range(rules.max_leases):
        await rules.reader.lease(REF, 0, MINUTE, "publish", CALLER)
    with pytest.raises(ResourceExhausted) as caught:
        await rules.reader.lease(REF, 0, MINUTE, "publish", CALLER)
    assert (caught.value.reason, caught.value.retry_after) == ("LEASE_LIMIT_REACHED", MINUTE)
    assert rules.trail.accesses[-1].denied_reason == "LEASE_LIMIT_REACHED"
    assert await rules.reader.revoke(REF.bot_id, "bot paused") == rules.max_leases
