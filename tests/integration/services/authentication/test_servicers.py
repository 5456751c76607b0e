"""The servicers with a caller of either kind: somebody in a session, and an API key that has none."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from mesh.authorization import Binding, Policy
from mesh.context import Principal, background_call
from mesh.errors import InvalidArgument, PermissionDenied, Unauthenticated
from mesh.identity.api_keys import new_api_key
from mesh.ids import new_id
from mesh.paging import PageTokens
from services.authentication.domain import totp
from services.authentication.domain.user import User
from services.authentication.grants import Grants
from services.authentication.revocation_feed import RevocationFeed
from services.authentication.servicers.api_keys import ApiKeyServicer
from services.authentication.servicers.authentication import AuthenticationServicer
from vivesphere.authentication.v1 import api_key_pb2
from vivesphere.authentication.v1 import api_key_service_pb2 as keys_pb
from vivesphere.authentication.v1 import authentication_service_pb2 as pb

from .support import CLIENT, PASSWORD, World, refused

SECRET = b"a secret of the tests"
CONTEXT: Any = None
"""No servicer of ours looks at it."""


class FakeConfiguration:
    """Roles and bindings that a test may change."""

    def __init__(self) -> None:
        self.roles = {"clerk": frozenset({"users.read", "bots.*"}), "viewer": frozenset({"bots.read"})}
        self.bindings: dict[str, tuple[Binding, ...]] = {}

    def policy(self) -> Policy:
        return Policy(1, self.roles, self.bindings)


class Desk:
    """Both servicers, and who calls them."""

    def __init__(self, world: World) -> None:
        self.world, self.configuration = world, FakeConfiguration()
        grants = Grants(self.configuration)  # type: ignore[arg-type]  # as much of it as is used
        self.authentication = AuthenticationServicer(
            world.sign_in,
            world.sessions,
            world.factors,
            world.api_keys,
            world.keyring,
            RevocationFeed(world.store, world.clock),
            grants,
            PageTokens(SECRET, "sessions"),
        )
        self.keys = ApiKeyServicer(world.api_keys, grants, PageTokens(SECRET, "keys"), SECRET, world.clock)

    async def signed_in(self, user: User) -> Principal:
        """The user in a new session."""
        pair = await self.world.sign_in.sign_in(user.username, PASSWORD, CLIENT)
        end = self.world.clock.now() + timedelta(minutes=5)
        return Principal(user.id, pair.session_id, new_id(), user.roles, end)

    async def key_of(self, caller: Principal, *permissions: str) -> api_key_pb2.ApiKey:
        """A new key, as its maker sees it."""
        request = keys_pb.CreateApiKeyRequest(display_name="ci", permissions=permissions)
        with calling(caller):
            return (await self.keys.CreateApiKey(request, CONTEXT)).api_key

    async def introspected(self, caller: Principal, token: str) -> pb.IntrospectTokenResponse:
        """What anybody learns of a token."""
        with calling(caller):
            return await self.authentication.IntrospectToken(pb.IntrospectTokenRequest(token=token), CONTEXT)

    def as_key(self, caller: Principal, key: api_key_pb2.ApiKey) -> Principal:
        """Who calls with the key."""
        return Principal(
            caller.user_id, "", key.id, caller.roles, caller.expire_time, scope=frozenset(key.permissions)
        )


@contextmanager
def calling(caller: Principal) -> Iterator[None]:
    """The block is a call of the caller's."""
    with background_call("test") as call:
        call.principal = caller
        yield


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


async def test_a_second_factor_from_the_picture_to_the_sign_in(world: World, desk: Desk) -> None:
    """As a person does it."""
    user = await world.user("ann+ops@example.com")
    caller = await desk.signed_in(user)
    with calling(caller):
        made = await desk.authentication.EnrollTotp(pb.EnrollTotpRequest(), CONTEXT)
    assert made.qr_png.startswith(b"\x89PNG")
    assert made.otpauth_uri.startswith("otpauth://totp/ViveSphere:ann%2Bops%40example.com?")
    assert f"secret={made.secret}&" in made.otpauth_uri
    assert made.expire_time.ToDatetime() == (world.clock.now() + timedelta(minutes=10)).replace(tzinfo=None)
    secret = base64.b32decode(made.secret)
    code = totp.code(secret, totp.step_at(world.clock.now()))
    with calling(caller):
        codes = await desk.authentication.ConfirmTotp(pb.ConfirmTotpRequest(otp=code), CONTEXT)
        shown = await desk.authentication.GetCurrentUser(pb.GetCurrentUserRequest(), CONTEXT)
        listed = await desk.authentication.ListSessions(pb.ListSessionsRequest(), CONTEXT)
    assert len(codes.recovery_codes) == 10
    assert shown.user.totp_enrolled
    assert [session.HasField("second_factor_time") for session in listed.sessions] == [True]
    request = pb.LoginRequest(username=user.username, password=PASSWORD.reveal())
    with background_call("test"):
        with refused(Unauthenticated, "SECOND_FACTOR_REQUIRED"):
            await desk.authentication.Login(request, CONTEXT)
        request.otp = codes.recovery_codes[0]
        pair = (await desk.authentication.Login(request, CONTEXT)).token_pair
    told = await desk.introspected(caller, pair.access_token)
    assert told.HasField("second_factor_time")
    with calling(caller):
        off = pb.DisableTotpRequest(otp=codes.recovery_codes[1])
        assert await desk.authentication.DisableTotp(off, CONTEXT) == pb.DisableTotpResponse()
        shown = await desk.authentication.GetCurrentUser(pb.GetCurrentUserRequest(), CONTEXT)
    assert not shown.user.totp_enrolled


async def test_a_key_tells_what_it_stands_for_within_what_its_owner_holds_now(
    world: World, desk: Desk
) -> None:
    """Services decide by this answer, so what the owner has lost must not be in it."""
    user = await world.user("ann", "viewer")
    caller = await desk.signed_in(user)
    desk.configuration.roles["viewer"] = frozenset({"bots.*", "users.read"})
    key = await desk.key_of(caller, "bots.read", "users.read")
    assert key.key.startswith(key.prefix)
    assert (key.state, key.user_id, list(key.permissions)) == (
        api_key_pb2.API_KEY_STATE_ACTIVE,
        user.id,
        ["bots.read", "users.read"],
    )
    told = await desk.introspected(caller, key.key)
    assert told == pb.IntrospectTokenResponse(
        active=True,
        subject=user.id,
        username="ann",
        roles=["viewer"],
        permissions=["bots.read", "users.read"],
        expire_time=key.expire_time,
        api_key_id=key.id,
    )
    desk.configuration.roles["viewer"] = frozenset({"bots.read"})
    assert list((await desk.introspected(caller, key.key)).permissions) == ["bots.read"]
    desk.configuration.roles["viewer"] = frozenset()
    desk.configuration.bindings[user.id] = (Binding(user.id, "clerk"),)
    assert list((await desk.introspected(caller, key.key)).permissions) == ["bots.read", "users.read"]
    with calling(caller):
        (listed,) = (await desk.keys.ListApiKeys(keys_pb.ListApiKeysRequest(), CONTEXT)).api_keys
        assert (listed.key, listed.HasField("last_use_time")) == ("", True)
        await desk.keys.RevokeApiKey(keys_pb.RevokeApiKeyRequest(api_key_id=key.id), CONTEXT)
    for bad in (key.key, new_api_key(), key.key[:-1]):
        assert await desk.introspected(caller, bad) == pb.IntrospectTokenResponse(active=False)


async def test_with_a_key_the_own_account_can_be_looked_at_and_not_changed(world: World, desk: Desk) -> None:
    """A leaked key must not become an account."""
    user = await world.user("ann", "viewer")
    desk.configuration.roles["viewer"] = frozenset({"bots.*", "users.read"})
    caller = await desk.signed_in(user)
    robot = desk.as_key(caller, await desk.key_of(caller, "bots.read"))
    service = desk.authentication
    with calling(robot):
        shown = await service.GetCurrentUser(pb.GetCurrentUserRequest(), CONTEXT)
        assert (shown.user.id, list(shown.user.permissions)) == (user.id, ["bots.read"])
        sessions = (await service.ListSessions(pb.ListSessionsRequest(), CONTEXT)).sessions
        assert [(session.id, session.current) for session in sessions] == [(caller.session_id, False)]
        assert len((await desk.keys.ListApiKeys(keys_pb.ListApiKeysRequest(), CONTEXT)).api_keys) == 1
        for attempt in (
            service.ChangePassword(pb.ChangePasswordRequest(), CONTEXT),
            service.EnrollTotp(pb.EnrollTotpRequest(), CONTEXT),
            service.ConfirmTotp(pb.ConfirmTotpRequest(), CONTEXT),
            service.DisableTotp(pb.DisableTotpRequest(), CONTEXT),
            desk.keys.CreateApiKey(keys_pb.CreateApiKeyRequest(), CONTEXT),
        ):
            with refused(PermissionDenied, "SESSION_REQUIRED"):
                await attempt


async def test_with_a_key_all_sessions_are_ended_or_none(world: World, desk: Desk) -> None:
    """It has none of its own; the key itself stays."""
    user = await world.user("ann", "viewer")
    caller = await desk.signed_in(user)
    key = await desk.key_of(caller, "bots.read")
    robot = desk.as_key(caller, key)
    with calling(robot):
        await desk.authentication.Logout(pb.LogoutRequest(), CONTEXT)
    assert (await world.sessions.current_user(user.id, caller.session_id)).id == user.id
    with calling(robot):
        await desk.authentication.Logout(pb.LogoutRequest(all_sessions=True), CONTEXT)
    with refused(Unauthenticated, "TOKEN_INVALID"):
        await world.sessions.current_user(user.id, caller.session_id)
    assert (await desk.introspected(robot, key.key)).active


async def test_the_same_request_id_with_another_request_is_refused(world: World, desk: Desk) -> None:
    """Every field counts."""
    caller = await desk.signed_in(await world.user("ann", "viewer"))
    request = keys_pb.CreateApiKeyRequest(display_name="ci", permissions=["bots.read"], request_id=new_id())
    with calling(caller):
        first = (await desk.keys.CreateApiKey(request, CONTEXT)).api_key
        again = (await desk.keys.CreateApiKey(request, CONTEXT)).api_key
        assert (first.id, first.prefix, bool(first.key)) == (again.id, again.prefix, True)
        assert again.key == ""
        request.display_name = "cd"
        with refused(InvalidArgument, "IDEMPOTENCY_KEY_REUSED"):
            await desk.keys.CreateApiKey(request, CONTEXT)


async def test_a_time_that_no_calendar_holds_is_refused_like_any_other(world: World, desk: Desk) -> None:
    """Protobuf carries more seconds than there are dates."""
    caller = await desk.signed_in(await world.user("ann", "viewer"))
    request = keys_pb.CreateApiKeyRequest(display_name="ci", permissions=["bots.read"])
    for seconds, reason in ((1 << 62, "INVALID_FIELD"), (-(1 << 62), "TIME_IN_PAST")):
        request.expire_time.seconds = seconds
        with calling(caller), refused(InvalidArgument, reason):
            await desk.keys.CreateApiKey(request, CONTEXT)


async def test_pages_of_keys_belong_to_their_list(world: World, desk: Desk) -> None:
    """A token of one list does not open another."""
    caller = await desk.signed_in(await world.user("ann", "viewer"))
    made = [(await desk.key_of(caller, "bots.read")).id for _ in range(3)]
    seen, token = [], ""
    with calling(caller):
        while True:
            request = keys_pb.ListApiKeysRequest(page_size=2, page_token=token)
            page = await desk.keys.ListApiKeys(request, CONTEXT)
            seen += [key.id for key in page.api_keys]
            if not page.next_page_token:
                break
            token = page.next_page_token
        assert seen == made[::-1]
        other = keys_pb.ListApiKeysRequest(page_size=2, page_token=token, show_inactive=True)
        with refused(InvalidArgument, "INVALID_PAGE_TOKEN"):
            await desk.keys.ListApiKeys(other, CONTEXT)
