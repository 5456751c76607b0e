"""Second factors on a real database: a code opens once, and whoever got in without one is out."""

import asyncio
import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from mesh.database import Database
from mesh.errors import (
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from mesh.identity.tokens import verify
from mesh.ids import new_id
from mesh.secret import Secret
from services.authentication.domain.accounts import UserChange
from services.authentication.domain.factor import CODE_THROTTLE
from services.authentication.domain.revocation import RevocationKind
from services.authentication.domain.session import Session
from services.authentication.domain.user import UserState
from vivesphere.logging.v1 import log_record_pb2

from .support import CLIENT, PASSWORD, ROOT, Enrolled, World, dumped, refused, rows

WRONG = Secret("wrong horse battery")
STEP = timedelta(seconds=30)


async def session_of(world: World, user_id: str, session_id: str) -> Session:
    async with world.store.read() as unit:
        found = await unit.sessions.get(session_id, user_id)
    assert found is not None
    return found


async def a_second_session(world: World, ann: Enrolled) -> str:
    """Signed in with the next code."""
    await world.clock.advance(STEP)
    pair = await world.sign_in.sign_in(ann.user.username, PASSWORD, CLIENT, world.otp(ann.secret))
    return pair.session_id


def wrong_code(world: World, ann: Enrolled) -> Secret:
    """Six digits that are not those of now or before."""
    good = [world.otp(ann.secret, -1), world.otp(ann.secret)]
    return next(code for code in map(Secret, ("000000", "000001", "000002")) if code not in good)


async def test_a_confirmed_factor_is_asked_for_at_sign_in_and_told_by_the_token(world: World) -> None:
    """The base case."""
    ann = await world.enrolled()
    assert (await world.accounts.get(ann.user.id)).totp_enrolled
    with refused(Unauthenticated, "SECOND_FACTOR_REQUIRED"):
        await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    await world.clock.advance(STEP)
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT, world.otp(ann.secret))
    token = verify(pair.access_token, world.keyring.verifiers(), world.clock.now().timestamp())
    assert token.second_factor_time == world.clock.now()
    assert (await session_of(world, ann.user.id, pair.session_id)).second_factor_time == world.clock.now()


async def test_without_a_factor_or_with_an_unconfirmed_one_a_code_is_ignored(world: World) -> None:
    """Whoever loses the way half through enrolling is not locked out."""
    user = await world.user()
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT, Secret("123456"))
    await world.factors.enroll(user.id, pair.session_id, None)
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT, Secret("123456"))
    assert not (await world.accounts.get(user.id)).totp_enrolled
    assert (await session_of(world, user.id, pair.session_id)).second_factor_time is None


async def test_the_code_that_confirmed_does_not_sign_in(world: World) -> None:
    """Somebody may have looked over the shoulder while it was typed."""
    ann = await world.enrolled()
    with refused(Unauthenticated, "LOGIN_FAILED"):
        await world.sign_in.sign_in("ann", PASSWORD, CLIENT, world.otp(ann.secret))
    with refused(Unauthenticated, "LOGIN_FAILED"):
        await world.sign_in.sign_in("ann", PASSWORD, CLIENT, world.otp(ann.secret, -1))


async def test_the_codes_of_now_and_just_before_are_good_others_are_not(world: World) -> None:
    """RFC 6238 section 5.2: a small window, and time never runs backwards in it."""
    ann = await world.enrolled()
    await world.clock.advance(10 * STEP)
    for steps in (1, -2):
        with refused(Unauthenticated, "LOGIN_FAILED"):
            await world.factors.check(ann.user.id, world.otp(ann.secret, steps), None)
    await world.sign_in.sign_in("ann", PASSWORD, CLIENT, world.otp(ann.secret, -1))
    await world.sign_in.sign_in("ann", PASSWORD, CLIENT, world.otp(ann.secret))
    for steps in (0, -1):
        with refused(Unauthenticated, "LOGIN_FAILED"):
            await world.sign_in.sign_in("ann", PASSWORD, CLIENT, world.otp(ann.secret, steps))


@pytest.mark.parametrize("kind", ["totp", "recovery code"])
@pytest.mark.parametrize("free", [5, 1_000])
async def test_of_many_with_the_same_code_one_succeeds(world: World, kind: str, free: int) -> None:
    """logto#9109: a check and a write apart let the same code in twice. Holds with the throttle's help and without."""
    ann = await world.enrolled()
    world.dials.factors = replace(world.dials.factors, throttle=replace(CODE_THROTTLE, free_attempts=free))
    await world.clock.advance(STEP)
    otp = world.otp(ann.secret) if kind == "totp" else ann.codes[0]
    session = await session_of(world, ann.user.id, ann.pair.session_id)

    async def prove() -> bool:
        try:
            proof = await world.factors.check(ann.user.id, otp, None)
            async with world.store.transaction() as unit:
                await unit.users.get(ann.user.id, lock=True)
                await world.factors.settle(unit, session, proof, world.clock.now())
        except (Unauthenticated, ResourceExhausted):
            return False
        return True

    assert sum(await asyncio.gather(*(prove() for _ in range(50)))) == 1


async def test_a_sign_in_with_the_same_code_begins_one_session(world: World, database: Database) -> None:
    """The code is used up in the transaction that makes the session."""
    ann = await world.enrolled()
    await world.clock.advance(STEP)
    before = await rows(database, "sessions")
    results = await asyncio.gather(
        *(world.sign_in.sign_in("ann", PASSWORD, CLIENT, world.otp(ann.secret)) for _ in range(6)),
        return_exceptions=True,
    )
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert await rows(database, "sessions") == before + 1


async def test_each_recovery_code_is_good_once_however_it_is_typed(world: World, database: Database) -> None:
    """For the lost device; its use is on the trail, since a thief may have found the paper."""
    ann = await world.enrolled()
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT, ann.codes[0])
    assert (await session_of(world, ann.user.id, pair.session_id)).second_factor_time == world.clock.now()
    sloppy = Secret(ann.codes[1].reveal().upper().replace("-", ""))
    await world.sign_in.sign_in("ann", PASSWORD, CLIENT, sloppy)
    for code in (ann.codes[0], ann.codes[1], Secret("aaaa-bbbb-cccc-dddd-eeee-ffff")):
        with refused(Unauthenticated, "LOGIN_FAILED"):
            await world.sign_in.sign_in("ann", PASSWORD, CLIENT, code)
    async with database.read() as connection:
        payloads = (await connection.execute(text("SELECT payload FROM outbox"))).scalars().all()
    events = [log_record_pb2.LogRecord.FromString(bytes(payload)) for payload in payloads]
    used = [event for event in events if event.body == "user.recovery_code_used"]
    assert [(event.actor, event.audit.resource) for event in used] == [
        (ann.user.id, f"users/{ann.user.id}")
    ] * 2
    assert used[0].audit.session_id == pair.session_id


async def test_a_recovery_code_of_somebody_else_is_worth_nothing(world: World) -> None:
    """They are bound to their user."""
    ann, bob = await world.enrolled("ann"), await world.enrolled("bob")
    with refused(Unauthenticated, "LOGIN_FAILED"):
        await world.sign_in.sign_in("ann", PASSWORD, CLIENT, bob.codes[0])
    await world.sign_in.sign_in("bob", PASSWORD, CLIENT, bob.codes[0])
    assert len({code.reveal() for code in ann.codes + bob.codes}) == 20


async def test_turning_it_on_ends_the_other_sessions_everywhere(world: World) -> None:
    """ASVS 7.4.3: a thief who is in already would stay in."""
    user = await world.user()
    thief = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    own = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    made = await world.factors.enroll(user.id, own.session_id, None)
    secret = base64.b32decode(made.secret.reveal())
    async with world.store.read() as unit:
        newest = await unit.revocations.newest_sequence()
    await world.factors.confirm(user.id, own.session_id, world.otp(secret))
    with refused(Unauthenticated, "TOKEN_INVALID"):
        await world.sessions.refresh(thief.refresh_token, CLIENT)
    refreshed = await world.sessions.refresh(own.refresh_token, CLIENT)
    token = verify(refreshed.access_token, world.keyring.verifiers(), world.clock.now().timestamp())
    assert token.second_factor_time == world.clock.now()
    async with world.store.read() as unit:
        entries = await unit.revocations.after(newest, world.clock.now(), 10)
    assert [(entry.kind, entry.target_id) for entry in entries] == [
        (RevocationKind.SESSION, thief.session_id)
    ]


async def test_turning_it_off_forgets_everything_and_ends_the_other_sessions(
    world: World, database: Database
) -> None:
    """Sign-in asks for the password only, and old recovery codes are worth nothing after a new enrolment."""
    ann = await world.enrolled()
    other = await a_second_session(world, ann)
    async with world.store.read() as unit:
        newest = await unit.revocations.newest_sequence()
    await world.factors.disable(ann.user.id, ann.pair.session_id, ann.codes[0], None)
    assert (await rows(database, "second_factors"), await rows(database, "recovery_codes")) == (0, 0)
    assert (await session_of(world, ann.user.id, ann.pair.session_id)).second_factor_time is None
    assert (await session_of(world, ann.user.id, other)).end_time == world.clock.now()
    async with world.store.read() as unit:
        entries = await unit.revocations.after(newest, world.clock.now(), 10)
    assert [(entry.kind, entry.target_id) for entry in entries] == [(RevocationKind.SESSION, other)]
    await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    with refused(FailedPrecondition, "INVALID_STATE"):
        await world.factors.disable(ann.user.id, ann.pair.session_id, ann.codes[1], None)


async def test_an_unconfirmed_secret_is_forgotten_after_ten_minutes(world: World, database: Database) -> None:
    """A secret that lies about in a browser's history must not become a factor later."""
    user = await world.user()
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    made = await world.factors.enroll(user.id, pair.session_id, None)
    secret = base64.b32decode(made.secret.reveal())
    assert made.forget_time == world.clock.now() + timedelta(minutes=10)
    await world.clock.advance(timedelta(minutes=10))
    with refused(FailedPrecondition, "INVALID_STATE"):
        await world.factors.confirm(user.id, pair.session_id, world.otp(secret))
    await world.clock.advance(timedelta(seconds=1))
    await world.store.prune(world.clock.now())
    assert await rows(database, "second_factors") == 0
    made = await world.factors.enroll(user.id, pair.session_id, PASSWORD)
    await world.clock.advance(timedelta(minutes=10) - timedelta(seconds=1))
    secret = base64.b32decode(made.secret.reveal())
    await world.factors.confirm(user.id, pair.session_id, world.otp(secret))
    await world.clock.advance(timedelta(days=1))
    await world.store.prune(world.clock.now())
    assert await rows(database, "second_factors") == 1


async def test_enrolling_again_replaces_what_waits_and_never_what_is_confirmed(world: World) -> None:
    """A stolen session must not put its own secret in the place of the owner's."""
    user = await world.user()
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    first, second = [await world.factors.enroll(user.id, pair.session_id, None) for _ in range(2)]
    assert first.secret != second.secret
    old, new = [base64.b32decode(made.secret.reveal()) for made in (first, second)]
    with refused(Unauthenticated, "LOGIN_FAILED"):
        await world.factors.confirm(user.id, pair.session_id, world.otp(old))
    await world.factors.confirm(user.id, pair.session_id, world.otp(new))
    with refused(FailedPrecondition, "INVALID_STATE"):
        await world.factors.enroll(user.id, pair.session_id, None)
    with refused(FailedPrecondition, "INVALID_STATE"):
        await world.factors.confirm(user.id, pair.session_id, world.otp(new))


async def test_of_two_confirmations_at_once_one_shows_codes(world: World, database: Database) -> None:
    """Two sets of recovery codes, one of them dead, would be found out when it is too late."""
    user = await world.user()
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    made = await world.factors.enroll(user.id, pair.session_id, None)
    otp = world.otp(base64.b32decode(made.secret.reveal()))
    results = await asyncio.gather(
        *(world.factors.confirm(user.id, pair.session_id, otp) for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(result, tuple) for result in results) == 1
    assert sum(isinstance(result, FailedPrecondition) for result in results) == 3
    assert await rows(database, "recovery_codes") == 10


async def test_a_session_of_yesterday_needs_the_password_to_change_the_factor(world: World) -> None:
    """An unlocked computer must not be enough to take the account over."""
    user = await world.user()
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    await world.clock.advance(timedelta(minutes=5))
    await world.factors.enroll(user.id, pair.session_id, None)
    await world.clock.advance(timedelta(seconds=1))
    with refused(PermissionDenied, "REAUTHENTICATION_REQUIRED"):
        await world.factors.enroll(user.id, pair.session_id, None)
    with refused(Unauthenticated, "LOGIN_FAILED"):
        await world.factors.enroll(user.id, pair.session_id, WRONG)
    made = await world.factors.enroll(user.id, pair.session_id, PASSWORD)
    assert (await session_of(world, user.id, pair.session_id)).authenticate_time == world.clock.now()
    secret = base64.b32decode(made.secret.reveal())
    codes = await world.factors.confirm(user.id, pair.session_id, world.otp(secret))
    await world.clock.advance(timedelta(hours=1))
    with refused(PermissionDenied, "REAUTHENTICATION_REQUIRED"):
        await world.factors.disable(user.id, pair.session_id, codes[0], None)
    with refused(Unauthenticated, "LOGIN_FAILED"):
        await world.factors.disable(user.id, pair.session_id, codes[0], WRONG)
    await world.factors.disable(user.id, pair.session_id, codes[0], PASSWORD)


async def test_wrong_codes_slow_down_the_next_of_this_user_only(world: World) -> None:
    """A million codes, two of them good at a time: without a brake they are tried in an afternoon."""
    ann, bob = await world.enrolled("ann"), await world.enrolled("bob")
    await world.clock.advance(STEP)
    for _ in range(6):
        with refused(Unauthenticated, "LOGIN_FAILED"):
            await world.factors.check(ann.user.id, wrong_code(world, ann), None)
    with pytest.raises(ResourceExhausted) as slowed:
        await world.factors.check(ann.user.id, world.otp(ann.secret), None)
    assert (slowed.value.reason, slowed.value.retry_after) == ("LOGIN_THROTTLED", STEP)
    with pytest.raises(ResourceExhausted):
        await world.factors.check(ann.user.id, ann.codes[0], None)
    await world.factors.check(bob.user.id, world.otp(bob.secret), None)
    await world.clock.advance(STEP)
    with refused(Unauthenticated, "LOGIN_FAILED"):
        await world.factors.check(ann.user.id, wrong_code(world, ann), None)
    with pytest.raises(ResourceExhausted) as slowed:
        await world.factors.check(ann.user.id, world.otp(ann.secret), None)
    assert slowed.value.retry_after == 2 * STEP
    await world.clock.advance(2 * STEP)
    await world.sign_in.sign_in("ann", PASSWORD, CLIENT, world.otp(ann.secret))
    for _ in range(5):
        with refused(Unauthenticated, "LOGIN_FAILED"):
            await world.factors.check(ann.user.id, wrong_code(world, ann), None)


async def test_who_guesses_codes_delays_neither_known_devices_nor_sessions(world: World) -> None:
    """Whoever has the password could otherwise keep the owner out for an hour at a time."""
    ann = await world.enrolled()
    await world.clock.advance(STEP)
    device = Secret((await world.sign_in.sign_in("ann", PASSWORD, CLIENT, ann.codes[0])).device_token)
    for _ in range(6):
        with refused(Unauthenticated, "LOGIN_FAILED"):
            await world.factors.check(ann.user.id, wrong_code(world, ann), None)
    with refused(ResourceExhausted, "LOGIN_THROTTLED"):
        await world.factors.check(ann.user.id, world.otp(ann.secret), None)
    await world.sign_in.sign_in("ann", PASSWORD, CLIENT, world.otp(ann.secret), device)
    with refused(ResourceExhausted, "LOGIN_THROTTLED"):
        await world.factors.check(ann.user.id, ann.codes[1], None)
    await world.factors.disable(ann.user.id, ann.pair.session_id, ann.codes[1], PASSWORD)


async def test_the_first_code_cannot_be_guessed_either(world: World) -> None:
    """Confirming is counted like any other proof."""
    user = await world.user()
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    made = await world.factors.enroll(user.id, pair.session_id, None)
    ann = Enrolled(user, pair, base64.b32decode(made.secret.reveal()), ())
    for _ in range(6):
        with refused(Unauthenticated, "LOGIN_FAILED"):
            await world.factors.confirm(user.id, pair.session_id, wrong_code(world, ann))
    with refused(ResourceExhausted, "LOGIN_THROTTLED"):
        await world.factors.confirm(user.id, pair.session_id, world.otp(ann.secret))


async def test_a_missing_code_is_no_failure_and_a_wrong_one_is_like_a_wrong_password(world: World) -> None:
    """The first is how every sign-in begins; the second must tell nothing."""
    ann = await world.enrolled()
    for _ in range(8):
        with refused(Unauthenticated, "SECOND_FACTOR_REQUIRED"):
            await world.sign_in.sign_in("ann", PASSWORD, CLIENT)
    answers = set()
    for password, otp in ((WRONG, None), (WRONG, ann.codes[0]), (PASSWORD, wrong_code(world, ann))):
        with pytest.raises(Unauthenticated) as error:
            await world.sign_in.sign_in("ann", password, CLIENT, otp)
        answers.add((error.value.reason, error.value.message))
    assert len(answers) == 1
    assert next(iter(answers))[0] == "LOGIN_FAILED"
    with refused(Unauthenticated, "LOGIN_FAILED"):
        await world.sign_in.sign_in("ann", PASSWORD, CLIENT, wrong_code(world, ann))
    with refused(ResourceExhausted, "LOGIN_THROTTLED"):
        await world.sign_in.sign_in("ann", PASSWORD, CLIENT, ann.codes[0])


async def test_a_new_password_needs_a_code_unless_one_was_proved_just_now(world: World) -> None:
    """A known password must not be enough to lock the owner out."""
    ann = await world.enrolled()
    own, new = (ann.user.id, ann.pair.session_id), Secret("an even better horse")
    await world.sign_in.change_password(*own, PASSWORD, new)
    await world.clock.advance(timedelta(minutes=5, seconds=1))
    for _ in range(6):
        with refused(Unauthenticated, "SECOND_FACTOR_REQUIRED"):
            await world.sign_in.change_password(*own, new, PASSWORD)
    with refused(Unauthenticated, "LOGIN_FAILED"):
        await world.sign_in.change_password(*own, new, PASSWORD, wrong_code(world, ann))
    pair = await world.sign_in.change_password(*own, new, PASSWORD, world.otp(ann.secret))
    session = await session_of(world, *own)
    assert session.second_factor_time == session.authenticate_time == world.clock.now()
    token = verify(pair.access_token, world.keyring.verifiers(), world.clock.now().timestamp())
    assert token.second_factor_time == world.clock.now()
    with refused(Unauthenticated, "LOGIN_FAILED"):
        await world.sign_in.change_password(*own, PASSWORD, new, world.otp(ann.secret))
    await world.clock.advance(STEP)
    await world.sign_in.sign_in("ann", PASSWORD, CLIENT, world.otp(ann.secret))


async def test_a_factor_that_was_turned_on_meanwhile_holds_for_a_sign_in_under_way(world: World) -> None:
    """Between the look at the account and the new session time passes, the hashing of a password for one."""
    ann = await world.enrolled()
    session = await session_of(world, ann.user.id, ann.pair.session_id)
    with refused(Unauthenticated, "SECOND_FACTOR_REQUIRED"):
        async with world.store.transaction() as unit:
            await world.factors.settle(unit, session, None, world.clock.now())


async def test_a_code_of_a_factor_that_was_replaced_meanwhile_is_refused(world: World) -> None:
    """It proves that somebody held the old device."""
    ann = await world.enrolled()
    session = await session_of(world, ann.user.id, ann.pair.session_id)
    await world.clock.advance(STEP)
    proof = await world.factors.check(ann.user.id, world.otp(ann.secret), None)
    await world.factors.disable(ann.user.id, session.id, ann.codes[0], None)
    made = await world.factors.enroll(ann.user.id, session.id, None)
    new = base64.b32decode(made.secret.reveal())
    await world.factors.confirm(ann.user.id, session.id, world.otp(new, -1))
    with refused(Unauthenticated, "LOGIN_FAILED"):
        async with world.store.transaction() as unit:
            await world.factors.settle(unit, session, proof, world.clock.now())


async def test_while_the_vault_is_away_nothing_is_written_and_nobody_is_counted(
    world: World, database: Database
) -> None:
    """Its absence is not the user's failure; recovery codes need no vault."""
    ann = await world.enrolled()
    await world.clock.advance(STEP)
    bob = await world.user("bob")
    his = await world.sign_in.sign_in("bob", PASSWORD, CLIENT)
    world.sealer.away = True
    with refused(Unavailable, "VAULT_UNAVAILABLE"):
        await world.factors.enroll(bob.id, his.session_id, None)
    assert await rows(database, "second_factors") == 1
    for _ in range(8):
        with refused(Unavailable, "VAULT_UNAVAILABLE"):
            await world.factors.disable(ann.user.id, ann.pair.session_id, world.otp(ann.secret), None)
    assert await rows(database, "sign_in_attempts") == 0
    await world.sign_in.sign_in("ann", PASSWORD, CLIENT, ann.codes[0])
    world.sealer.away = False
    await world.sign_in.sign_in("ann", PASSWORD, CLIENT, world.otp(ann.secret))


async def test_another_vault_than_the_one_that_sealed_is_as_good_as_away(world: World) -> None:
    """A restored database with a new vault: the operator must hear of it, and nobody of ciphertexts."""
    ann = await world.enrolled()

    async def mismatch(sealed: str, bound_to: bytes) -> bytes:
        raise InvalidArgument("INVALID_FIELD", "ciphertext does not open")

    world.sealer.open = mismatch  # type: ignore[method-assign]  # a vault that answers no
    with refused(Unavailable, "VAULT_UNAVAILABLE"):
        await world.factors.check(ann.user.id, world.otp(ann.secret), None)


async def test_only_a_living_session_of_an_active_user_changes_a_factor(world: World) -> None:
    """An access token outlives its session by minutes."""
    ann = await world.enrolled()
    await world.sessions.sign_out(ann.user.id, ann.pair.session_id, everywhere=False)
    bob = await world.user("bob")
    his = await world.sign_in.sign_in("bob", PASSWORD, CLIENT)
    await world.accounts.update(bob.id, UserChange(state=UserState.DISABLED), ROOT)
    for user_id, session_id in (
        (ann.user.id, ann.pair.session_id),
        (bob.id, his.session_id),
        (ann.user.id, new_id()),
        (bob.id, ann.pair.session_id),
    ):
        with refused(Unauthenticated, "TOKEN_INVALID"):
            await world.factors.enroll(user_id, session_id, PASSWORD)
    with refused(Unauthenticated, "TOKEN_INVALID"):
        await world.factors.disable(ann.user.id, ann.pair.session_id, ann.codes[0], None)


async def test_no_table_holds_a_secret_or_a_code(world: World, database: Database) -> None:
    """Whoever reads a backup can prove nothing with it. The fake seal turns bytes around, so what is sealed does not match."""
    ann = await world.enrolled()
    pair = await world.sign_in.sign_in("ann", PASSWORD, CLIENT, ann.codes[0])
    dump = await dumped(database)
    hidden = [base64.b32encode(ann.secret), ann.secret.hex().encode(), ann.secret]
    hidden += [code.reveal().encode() for code in ann.codes]
    hidden += [code.reveal().replace("-", "").encode() for code in ann.codes]
    hidden += [pair.refresh_token.encode(), PASSWORD.reveal().encode()]
    assert not [one for one in hidden if one in dump]
    assert ann.secret[::-1].hex().encode() in dump
    for shown in (repr(ann), str(ann.codes), f"{ann.codes[0]}"):
        assert ann.codes[0].reveal() not in shown
