"""The service as a process, over real mutual TLS, on the real engines."""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import grpc
import grpc.aio
import pytest
from sqlalchemy import text

from cli.embedded import EmbeddedMesh
from mesh.ids import new_id
from mesh.status import from_rpc_error
from services.authentication.domain.totp import code, step_at
from vivesphere.authentication.v1 import api_key_service_pb2 as keys_pb
from vivesphere.authentication.v1 import authentication_service_pb2 as pb
from vivesphere.authentication.v1 import user_pb2
from vivesphere.authentication.v1 import user_service_pb2 as users_pb
from vivesphere.logging.v1 import log_record_pb2

from .process import PASSWORD, Door, bearer, configuration, eventually, login, read, refused, running
from .support import open_schema, wipe


@pytest.fixture(scope="module")
async def door(engines: EmbeddedMesh, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    """The running service with a stand-in for configuration; one process for the tests that only talk to it."""
    schema = open_schema(engines.environment("authentication"))
    await wipe(schema)
    log = tmp_path_factory.mktemp("authentication") / "log"
    async with (
        configuration(engines) as targets,
        running(engines, log, VIVESPHERE_ADMIN_PASSWORD=PASSWORD, **targets) as opened,
    ):
        await eventually(lambda: _policy_loaded(opened))
        yield opened
    assert PASSWORD not in log.read_text()
    await wipe(schema)
    await schema.close()


async def _policy_loaded(door: Door) -> None:
    pair = await login(door)
    await door.users.ListUsers(users_pb.ListUsersRequest(), metadata=bearer(pair.access_token), timeout=5)


async def test_a_login_gives_a_token_that_every_service_accepts(door: Door) -> None:
    """The path everything else of the product begins with."""
    pair = await login(door)
    token = await read(door, pair.access_token)
    assert (token.session_id, token.roles) == (pair.session_id, ("admin",))
    assert (pair.token_type, pair.expires_in, pair.password_change_required) == ("Bearer", 300, False)
    answer = await door.authentication.GetCurrentUser(
        pb.GetCurrentUserRequest(), metadata=bearer(pair.access_token), timeout=5
    )
    assert (answer.user.id, answer.user.username) == (token.subject, "admin")
    assert (list(answer.user.roles), list(answer.user.permissions)) == (["admin"], ["*"])


async def test_a_wrong_password_and_an_unknown_name_look_alike(door: Door) -> None:
    """Over the wire too."""
    told = set()
    for name in ("admin", "nobody"):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await login(door, name, "wrong password")
        told.add((error.value.code(), error.value.details(), from_rpc_error(error.value).reason))
    assert told == {(grpc.StatusCode.UNAUTHENTICATED, "user name and password do not match", "LOGIN_FAILED")}


async def test_a_malformed_request_names_the_field(door: Door) -> None:
    """The contract's rules are in force."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await door.authentication.Login(pb.LoginRequest(password="x"), timeout=5)
    told = from_rpc_error(error.value)
    assert (told.code, told.violations[0].field) == ("INVALID_ARGUMENT", "username")


async def test_a_used_refresh_token_ends_the_session(door: Door) -> None:
    """Refused, and so is what the thief, or the owner, got for it."""
    pair = await login(door)
    request = pb.RefreshTokenRequest(refresh_token=pair.refresh_token)
    successor = (await door.authentication.RefreshToken(request, timeout=5)).token_pair
    again = (await door.authentication.RefreshToken(request, timeout=5)).token_pair
    assert (again.refresh_token, again.session_id) == (successor.refresh_token, pair.session_id)
    next_request = pb.RefreshTokenRequest(refresh_token=successor.refresh_token)
    successor = (await door.authentication.RefreshToken(next_request, timeout=5)).token_pair
    with refused("TOKEN_INVALID"):
        await door.authentication.RefreshToken(request, timeout=5)
    with refused("TOKEN_INVALID"):
        await door.authentication.RefreshToken(
            pb.RefreshTokenRequest(refresh_token=successor.refresh_token), timeout=5
        )
    with refused("TOKEN_INVALID"):
        await door.authentication.GetCurrentUser(
            pb.GetCurrentUserRequest(), metadata=bearer(successor.access_token), timeout=5
        )


async def test_after_signing_out_the_session_is_over(door: Door) -> None:
    """For its tokens of both kinds."""
    pair = await login(door)
    await door.authentication.Logout(pb.LogoutRequest(), metadata=bearer(pair.access_token), timeout=5)
    with refused("TOKEN_INVALID"):
        await door.authentication.RefreshToken(
            pb.RefreshTokenRequest(refresh_token=pair.refresh_token), timeout=5
        )
    other = await login(door)
    answer = await door.authentication.IntrospectToken(
        pb.IntrospectTokenRequest(token=pair.access_token), metadata=bearer(other.access_token), timeout=5
    )
    assert answer == pb.IntrospectTokenResponse(active=False)


async def test_sessions_are_listed_in_pages_and_revoked(door: Door) -> None:
    """What the page of one's devices needs."""
    pairs = [await login(door) for _ in range(3)]
    own = bearer(pairs[-1].access_token)
    seen, token = [], ""
    while True:
        page = await door.authentication.ListSessions(
            pb.ListSessionsRequest(page_size=2, page_token=token), metadata=own, timeout=5
        )
        seen += [(session.id, session.current) for session in page.sessions]
        token = page.next_page_token
        if not token:
            break
    assert seen[0] == (pairs[-1].session_id, True)
    assert {pair.session_id for pair in pairs} <= {session for session, _ in seen}
    await door.authentication.RevokeSession(
        pb.RevokeSessionRequest(session_id=pairs[0].session_id), metadata=own, timeout=5
    )
    with refused("SESSION_NOT_FOUND"):
        await door.authentication.RevokeSession(
            pb.RevokeSessionRequest(session_id=new_id()), metadata=own, timeout=5
        )


async def test_users_are_made_changed_and_removed_within_the_givers_rights(door: Door) -> None:
    """A clerk manages users and cannot make an administrator."""
    admin = bearer((await login(door)).access_token)
    request = users_pb.CreateUserRequest(
        username="Clerk", password="clerk password", roles=["clerk"], request_id=new_id()
    )
    clerk = (await door.users.CreateUser(request, metadata=admin, timeout=5)).user
    assert (clerk.username, clerk.state) == ("clerk", user_pb2.USER_STATE_ACTIVE)
    again = (await door.users.CreateUser(request, metadata=admin, timeout=5)).user
    assert again.id == clerk.id
    own = bearer((await login(door, "clerk", "clerk password")).access_token)
    for roles, reason in ((["admin"], "PERMISSION_MISSING"), (["ghost"], "ROLE_NOT_FOUND")):
        with refused(reason):
            await door.users.CreateUser(
                users_pb.CreateUserRequest(username="eve", password="eves password", roles=roles),
                metadata=own,
                timeout=5,
            )
    change = users_pb.UpdateUserRequest(
        user_id=clerk.id, user=user_pb2.User(display_name="The clerk", etag=clerk.etag)
    )
    changed = (await door.users.UpdateUser(change, metadata=admin, timeout=5)).user
    assert (changed.display_name, list(changed.roles)) == ("The clerk", ["clerk"])
    found = await door.users.ListUsers(
        users_pb.ListUsersRequest(filter="roles : clerk"), metadata=own, timeout=5
    )
    assert [user.id for user in found.users] == [clerk.id]
    await door.users.DeleteUser(users_pb.DeleteUserRequest(user_id=clerk.id), metadata=admin, timeout=5)
    with refused("USER_NOT_FOUND"):
        await door.users.GetUser(users_pb.GetUserRequest(user_id=clerk.id), metadata=admin, timeout=5)


async def test_a_device_is_known_by_the_token_that_its_sign_in_gave(door: Door) -> None:
    """Only Login sets it, and sends it back as it was."""
    first = await login(door)
    assert first.device_token.startswith("vsd_")
    request = pb.LoginRequest(username="admin", password=PASSWORD, device_token=first.device_token)
    assert (
        await door.authentication.Login(request, timeout=10)
    ).token_pair.device_token == first.device_token
    request.device_token = "vsd_of_somebody_else"
    other = (await door.authentication.Login(request, timeout=10)).token_pair
    assert other.device_token not in ("", first.device_token, request.device_token)
    refresh = pb.RefreshTokenRequest(refresh_token=first.refresh_token)
    assert (await door.authentication.RefreshToken(refresh, timeout=5)).token_pair.device_token == ""


async def test_an_administrator_helps_whoever_is_locked_out(door: Door) -> None:
    """Sees the delay, takes it away, gives a one-time password, and ends the sessions."""
    admin = bearer((await login(door)).access_token)
    create = users_pb.CreateUserRequest(username="lost", password="lost password")
    lost = (await door.users.CreateUser(create, metadata=admin, timeout=5)).user
    own = await login(door, "lost", "lost password")
    request = pb.LoginRequest(username="lost", password="wrong password")
    for number in range(12):  # ten are free, from everywhere together
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await door.authentication.Login(
                request, metadata=(("x-forwarded-for", f"198.51.100.{number}"),), timeout=10
            )
    told = from_rpc_error(failed.value)
    assert (told.code, told.reason) == ("RESOURCE_EXHAUSTED", "LOGIN_THROTTLED")
    assert told.retry_after is not None
    seen = await door.users.GetUser(users_pb.GetUserRequest(user_id=lost.id), metadata=admin, timeout=5)
    assert seen.user.HasField("throttled_until_time")
    unlock = users_pb.UnlockUserRequest(user_id=lost.id)
    unlocked = (await door.users.UnlockUser(unlock, metadata=admin, timeout=5)).user
    assert not unlocked.HasField("throttled_until_time")
    page = await door.users.ListUserSessions(
        users_pb.ListUserSessionsRequest(user_id=lost.id), metadata=admin, timeout=5
    )
    assert [(session.id, session.current) for session in page.sessions] == [(own.session_id, False)]
    reset = await door.users.ResetPassword(
        users_pb.ResetPasswordRequest(user_id=lost.id), metadata=admin, timeout=5
    )
    assert reset.HasField("expire_time")
    again = await login(door, "lost", reset.one_time_password)
    assert again.password_change_required
    revoke = users_pb.RevokeUserSessionsRequest(user_id=lost.id, include_api_keys=True)
    revoked = await door.users.RevokeUserSessions(revoke, metadata=admin, timeout=5)
    assert (revoked.revoked_sessions, revoked.revoked_api_keys) == (1, 0)
    with refused("TOKEN_INVALID"):
        await door.authentication.RefreshToken(
            pb.RefreshTokenRequest(refresh_token=again.refresh_token), timeout=5
        )


async def test_every_session_can_be_ended_also_one_s_own(door: Door) -> None:
    """For whoever may administer authentication."""
    own = await login(door)
    request = users_pb.RevokeAllSessionsRequest(reason="a lost backup")
    answer = await door.users.RevokeAllSessions(request, metadata=bearer(own.access_token), timeout=5)
    assert answer.revoked_sessions >= 1
    with refused("TOKEN_INVALID"):
        await door.authentication.RefreshToken(
            pb.RefreshTokenRequest(refresh_token=own.refresh_token), timeout=5
        )


async def test_the_last_administrator_cannot_be_disabled(door: Door) -> None:
    """Nor by itself."""
    admin = bearer((await login(door)).access_token)
    me = await door.authentication.GetCurrentUser(pb.GetCurrentUserRequest(), metadata=admin, timeout=5)
    with refused("LAST_ADMINISTRATOR"):
        await door.users.UpdateUser(
            users_pb.UpdateUserRequest(
                user_id=me.user.id, user=user_pb2.User(state=user_pb2.USER_STATE_DISABLED)
            ),
            metadata=admin,
            timeout=5,
        )


async def test_a_second_factor_is_turned_on_used_and_turned_off(door: Door) -> None:
    """Sealed by the real vault; the codes are those of the clock on the wall."""
    admin = bearer((await login(door)).access_token)
    request = users_pb.CreateUserRequest(username="careful", password="careful password")
    await door.users.CreateUser(request, metadata=admin, timeout=5)
    own = bearer((await login(door, "careful", "careful password")).access_token)
    made = await door.authentication.EnrollTotp(pb.EnrollTotpRequest(), metadata=own, timeout=5)
    secret = base64.b32decode(made.secret)
    otp = code(secret, step_at(datetime.now(UTC)))
    answer = await door.authentication.ConfirmTotp(pb.ConfirmTotpRequest(otp=otp), metadata=own, timeout=5)
    sign_in = pb.LoginRequest(username="careful", password="careful password")
    with refused("SECOND_FACTOR_REQUIRED"):
        await door.authentication.Login(sign_in, timeout=5)
    sign_in.otp = otp
    with refused("LOGIN_FAILED"):
        await door.authentication.Login(sign_in, timeout=5)
    sign_in.otp = answer.recovery_codes[0]
    pair = (await door.authentication.Login(sign_in, timeout=5)).token_pair
    assert (await read(door, pair.access_token)).second_factor_at is not None
    off = pb.DisableTotpRequest(otp=answer.recovery_codes[1])
    await door.authentication.DisableTotp(off, metadata=own, timeout=5)
    await login(door, "careful", "careful password")


async def test_an_api_key_is_made_told_and_revoked(door: Door) -> None:
    """Shown once; after that it is known by its first characters."""
    admin = bearer((await login(door)).access_token)
    request = keys_pb.CreateApiKeyRequest(display_name="ci", permissions=["bots.read"])
    made = (await door.api_keys.CreateApiKey(request, metadata=admin, timeout=5)).api_key
    told = await door.authentication.IntrospectToken(
        pb.IntrospectTokenRequest(token=made.key), metadata=admin, timeout=5
    )
    assert (told.active, told.api_key_id, list(told.permissions)) == (True, made.id, ["bots.read"])
    listed = await door.api_keys.ListApiKeys(keys_pb.ListApiKeysRequest(), metadata=admin, timeout=5)
    assert [(key.id, key.prefix, key.key) for key in listed.api_keys] == [(made.id, made.key[:12], "")]
    revoke = keys_pb.RevokeApiKeyRequest(api_key_id=made.id)
    await door.api_keys.RevokeApiKey(revoke, metadata=admin, timeout=5)
    told = await door.authentication.IntrospectToken(
        pb.IntrospectTokenRequest(token=made.key), metadata=admin, timeout=5
    )
    assert told == pb.IntrospectTokenResponse(active=False)


async def test_sign_ins_are_on_the_trail_with_their_user_and_without_their_password(
    door: Door, engines: EmbeddedMesh
) -> None:
    """Success and failure, both naming whom they were about."""
    pair = await login(door)
    subject = (await read(door, pair.access_token)).subject
    with refused("LOGIN_FAILED"):
        await login(door, "admin", "hunter2-on-the-trail")
    schema = open_schema(engines.environment("authentication"))
    async with schema.read() as connection:
        rows = await connection.execute(
            text("SELECT payload FROM outbox WHERE subject = 'audit.authentication' ORDER BY create_time")
        )
        payloads = [bytes(row.payload) for row in rows]
    await schema.close()
    records = [log_record_pb2.LogRecord.FromString(payload).audit for payload in payloads]
    logins = [record for record in records if record.action.endswith("/Login")]
    assert {record.outcome for record in logins[-2:]} == {"OK", "UNAUTHENTICATED"}
    assert {record.resource for record in logins[-2:]} == {f"users/{subject}"}
    assert not any(b"hunter2-on-the-trail" in payload or PASSWORD.encode() in payload for payload in payloads)
