"""The access stage alone: what is asked of a caller, in which order, with which answer."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mesh.authorization import Binding, Policy
from mesh.context import Call, Nowhere, Principal
from mesh.contract import MethodPolicy, Who
from mesh.errors import MeshError, PermissionDenied, Unauthenticated, Unavailable
from mesh.identity.api_keys import new_api_key
from mesh.identity.keys import KeySource
from mesh.identity.revocations import Revocations
from mesh.interceptors.access import CREDENTIAL_FAULTS, Access, Authenticator
from tests.fakes.clock import ManualClock, settle
from tests.fakes.contracts import PLAIN
from tests.fakes.issuer import Issuer
from tests.fakes.mesh import KeyDirectory, SettableRules
from tests.fakes.revocations import Script, entry, heartbeat, snapshot
from vivesphere.authentication.v1 import authentication_service_pb2 as pb
from vivesphere.authentication.v1.revocation_pb2 import (
    REVOCATION_KIND_API_KEY,
    REVOCATION_KIND_SESSION,
    REVOCATION_KIND_SIGNING_KEY,
    REVOCATION_KIND_TOKEN,
    REVOCATION_KIND_USER,
)

USER = "0190c6a1-0000-7000-8000-000000000001"
BOT = "0190c6a1-0000-7000-8000-0000000000aa"
OWN_ACCOUNT = replace(PLAIN, who=Who.AUTHENTICATED, permission="")
FOR_SERVICES = replace(PLAIN, who=Who.SERVICES, permission="", services=frozenset({"*"}))


class Gate:
    """The stage with all that it asks."""

    def __init__(self) -> None:
        self.clock, self.script = ManualClock(datetime.now(UTC)), Script()
        self.issuer, self.api_keys, self.rules = Issuer(), KeyDirectory(), SettableRules()
        self.revocations = Revocations(self.script.watch, self.clock, lambda: self.rules.max_staleness)
        self.keys = KeySource(self.issuer.jwks, self.clock)
        self.revocations.listen(self.keys)
        roles = {"poster": frozenset({"posts.*"}), "admin": frozenset({"*"})}
        self._policy = Policy(1, roles, {USER: (Binding(USER, "poster", BOT),)})
        authenticator = Authenticator(self.keys, self.api_keys, self.revocations, self.clock)
        self.access = Access(authenticator, self, self.revocations, self.rules, self.clock)
        self.sequence = 0

    def policy(self) -> Policy:
        return self._policy

    async def feed(self, *events: pb.WatchRevocationsResponse) -> None:
        self.script.give(*events)
        await settle()

    async def revoke(self, kind: int, revoked_id: str) -> None:
        self.sequence += 1
        made = entry(self.sequence, kind, revoked_id, self.clock.now())
        await self.feed(pb.WatchRevocationsResponse(revocation=made))

    async def ask(
        self, rule: MethodPolicy, credential: str = "", *, peer: str = "gateway", bot_id: str = ""
    ) -> Call:
        """Let a call in. Raises what it is refused by."""
        call = Call(rule.path, "request-1", Nowhere(peer), policy=rule, bot_id=bot_id)
        self.last = call
        call.authorization = f"Bearer {credential}" if credential else ""
        await self.access.enter(call, None, None)  # type: ignore[arg-type]  # nothing of gRPC is looked at
        return call

    async def refusal(self, rule: MethodPolicy, credential: str = "", **more: str) -> MeshError:
        with pytest.raises(MeshError) as caught:
            await self.ask(rule, credential, **more)
        return caught.value


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    made = Gate()
    await made.keys.refresh_for(made.issuer.key_id)
    task = asyncio.ensure_future(made.revocations.run())
    await made.feed(snapshot(0))
    yield made
    task.cancel()


def proved(ago: float = 0) -> int:
    """The claim of a second factor that was proved so many seconds ago."""
    return int(time.time() - ago)


async def test_a_caller_is_told_the_first_thing_that_is_missing(gate: Gate) -> None:
    """The order is a promise: each answer says what to do next, and none says more than the caller may know."""
    rule = replace(PLAIN, session=True, high_risk=True, step_up=True)
    gate.rules.second_factor_required = True
    await gate.clock.advance(timedelta(seconds=16))
    key, weak = gate.api_keys.add("poster"), {"password_change_required": True}
    one_time_key = gate.api_keys.add("poster", **weak)
    answers = [await gate.refusal(rule, credential) for credential in ("", "nonsense", one_time_key, key)]
    answers.append(await gate.refusal(rule, gate.issuer.token(**weak)))
    answers.append(await gate.refusal(rule, gate.issuer.token()))
    await gate.feed(heartbeat(0))
    answers.append(await gate.refusal(rule, gate.issuer.token()))
    answers.append(await gate.refusal(rule, gate.issuer.token("poster")))
    answers.append(await gate.refusal(rule, gate.issuer.token("poster", second_factor_time=proved(1000))))
    assert [answer.reason for answer in answers] == [
        "CREDENTIAL_MISSING",
        "TOKEN_INVALID",
        "PASSWORD_CHANGE_REQUIRED",
        "SESSION_REQUIRED",
        "PASSWORD_CHANGE_REQUIRED",
        "REVOCATIONS_STALE",
        "PERMISSION_MISSING",
        "STEP_UP_REQUIRED",
        "STEP_UP_REQUIRED",
    ]
    await gate.ask(rule, gate.issuer.token("poster", second_factor_time=proved()))


async def test_before_the_revocations_are_read_nobody_is_judged() -> None:
    """Good and revoked look alike until then: come back. Forged stays forged, and services without a user go on."""
    fresh = Gate()
    await fresh.keys.refresh_for(fresh.issuer.key_id)
    for credential in (fresh.issuer.token("poster"), fresh.api_keys.add("poster")):
        answer = await fresh.refusal(PLAIN, credential)
        assert isinstance(answer, Unavailable)
        assert (answer.reason, answer.retry_after) == ("POLICY_NOT_LOADED", timedelta(seconds=1))
    assert fresh.api_keys.asked == 0
    assert (await fresh.refusal(PLAIN, "nonsense")).reason == "TOKEN_INVALID"
    await fresh.ask(FOR_SERVICES, peer="logging")


@pytest.mark.parametrize(
    ("kind", "revoked_id"),
    [
        (REVOCATION_KIND_SESSION, "session-1"),
        (REVOCATION_KIND_USER, USER),
        (REVOCATION_KIND_TOKEN, "token-1"),
    ],
)
async def test_a_revoked_token_is_refused_from_the_next_call_on(
    gate: Gate, kind: int, revoked_id: str
) -> None:
    """Though it was good a moment ago and its signature is remembered as good."""
    token = gate.issuer.token("poster")
    await gate.ask(PLAIN, token)
    await gate.revoke(kind, revoked_id)
    answer = await gate.refusal(PLAIN, token)
    assert isinstance(answer, Unauthenticated)
    assert (answer.reason, gate.last.auth_fault) == ("TOKEN_INVALID", "revoked")
    assert gate.last.principal is None


async def test_a_compromised_signing_key_signs_nobody_in(gate: Gate) -> None:
    """Neither tokens seen before nor new ones, as long as a process lives."""
    token = gate.issuer.token("poster")
    await gate.ask(PLAIN, token)
    await gate.revoke(REVOCATION_KIND_SIGNING_KEY, gate.issuer.key_id)
    assert (await gate.refusal(PLAIN, token)).reason == "TOKEN_INVALID"
    assert gate.last.auth_fault == "revoked"
    later = gate.issuer.token("poster", jti="token-2")
    assert (await gate.refusal(PLAIN, later)).reason == "TOKEN_INVALID"
    assert gate.last.auth_fault == "unknown_key"


async def test_a_one_time_password_opens_what_is_needed_to_change_it(gate: Gate) -> None:
    """And nothing else, whatever the roles say."""
    token = gate.issuer.token("admin", password_change_required=True)
    await gate.ask(replace(OWN_ACCOUNT, one_time_password=True), token)
    for rule in (OWN_ACCOUNT, PLAIN, FOR_SERVICES):
        answer = await gate.refusal(rule, token, peer="bot_manager")
        assert (type(answer), answer.reason) == (PermissionDenied, "PASSWORD_CHANGE_REQUIRED")


async def test_what_changes_the_account_needs_a_session(gate: Gate) -> None:
    """A leaked key must not be able to take the account over."""
    rule = replace(OWN_ACCOUNT, session=True)
    assert (await gate.refusal(rule, gate.api_keys.add("admin"))).reason == "SESSION_REQUIRED"
    await gate.ask(rule, gate.issuer.token())


async def test_dangerous_methods_wait_for_fresh_revocations(gate: Gate) -> None:
    """A thief who cuts the feed must not gain by it; reading goes on, and so do services that act by themselves."""
    risky = replace(PLAIN, high_risk=True)
    token = gate.issuer.token("poster")
    await gate.clock.advance(timedelta(seconds=15))
    await gate.ask(risky, token)
    await gate.clock.advance(timedelta(seconds=1))
    for rule in (risky, replace(FOR_SERVICES, high_risk=True)):
        answer = await gate.refusal(rule, token, peer="bot_manager")
        assert (type(answer), answer.reason) == (Unavailable, "REVOCATIONS_STALE")
        assert answer.retry_after == timedelta(seconds=1)
    await gate.ask(PLAIN, token)
    await gate.ask(replace(FOR_SERVICES, high_risk=True), peer="bot_manager")
    gate.rules.max_staleness = timedelta(seconds=60)
    await gate.ask(risky, token)


async def test_a_user_who_comes_with_a_service_is_held_to_the_rules(gate: Gate) -> None:
    """The peer's right is the peer's; whom it names must be somebody who is still signed in."""
    token = gate.issuer.token()
    call = await gate.ask(FOR_SERVICES, token, peer="logging")
    assert call.principal is not None
    assert call.actor == USER
    assert (await gate.ask(FOR_SERVICES, peer="logging")).principal is None
    await gate.revoke(REVOCATION_KIND_SESSION, "session-1")
    assert (await gate.refusal(FOR_SERVICES, token, peer="logging")).reason == "TOKEN_INVALID"
    assert (await gate.refusal(FOR_SERVICES, token)).reason == "SERVICE_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("roles", "scope", "permission", "bot_id", "allowed"),
    [
        (("poster",), ("posts.write",), "posts.write", "", True),
        (("poster",), ("posts.*",), "posts.write", "", True),
        (("poster",), ("*",), "posts.write", "", True),
        (("poster",), ("posts.read",), "posts.write", "", False),
        (("poster",), ("*",), "bots.write", "", False),
        (("admin",), ("posts.*",), "bots.write", "", False),
        (("admin",), ("posts",), "posts.write", "", False),
        (("admin",), (), "posts.write", "", False),
        ((), ("*",), "posts.write", "", False),
        ((), ("posts.write",), "posts.write", BOT, True),
        ((), ("bots.*",), "posts.write", BOT, False),
        ((), ("*",), "posts.write", "0190c6a1-0000-7000-8000-0000000000bb", False),
    ],
)
async def test_a_key_needs_both_its_owners_right_and_its_own(
    gate: Gate, roles: tuple[str, ...], scope: tuple[str, ...], permission: str, bot_id: str, allowed: bool
) -> None:
    """It never does more than its owner, nor more than it was made for; bindings for one bot count as for a session."""
    key = gate.api_keys.add(*roles, scope=scope, user_id=USER)
    rule = replace(PLAIN, permission=permission)
    if allowed:
        await gate.ask(rule, key, bot_id=bot_id)
    else:
        assert (await gate.refusal(rule, key, bot_id=bot_id)).reason == "PERMISSION_MISSING"


def test_what_a_key_may_do_is_shown_without_what_it_may_not() -> None:
    """Callers see their permissions; a key must not promise its owner's."""
    policy = Policy(1, {"poster": frozenset({"posts.*", "bots.read"}), "admin": frozenset({"*"})})

    def shown(role: str, *scope: str) -> set[str]:
        principal = Principal("u", "", "k", (role,), datetime.now(UTC), scope=frozenset(scope))
        return set(policy.permissions(principal))

    assert shown("poster", "*") == {"posts.*", "bots.read"}
    assert shown("poster", "posts.write", "bots.write") == {"posts.write"}
    assert shown("admin", "posts.*", "logs.read") == {"posts.*", "logs.read"}
    assert shown("poster") == set()


async def test_a_recent_second_factor_is_recent_by_the_setting(gate: Gate) -> None:
    """Asked of sessions and keys alike: a key has none and never will."""
    rule = replace(PLAIN, step_up=True)
    await gate.ask(rule, gate.issuer.token("poster", second_factor_time=proved(890)))
    for credential in (
        gate.issuer.token("poster", second_factor_time=proved(910)),
        gate.issuer.token("poster"),
        gate.api_keys.add("poster"),
    ):
        answer = await gate.refusal(rule, credential)
        assert (type(answer), answer.reason) == (PermissionDenied, "STEP_UP_REQUIRED")
    gate.rules.step_up_max_age = timedelta(hours=1)
    await gate.ask(rule, gate.issuer.token("poster", second_factor_time=proved(910)))


async def test_where_a_second_factor_is_required_sessions_without_one_keep_their_account(gate: Gate) -> None:
    """So that they can enrol one; keys are exempt, since no key could ever prove one."""
    gate.rules.second_factor_required = True
    answer = await gate.refusal(PLAIN, gate.issuer.token("poster"))
    assert answer.reason == "STEP_UP_REQUIRED"
    assert "enrol" in answer.message
    await gate.ask(OWN_ACCOUNT, gate.issuer.token("poster"))
    await gate.ask(PLAIN, gate.api_keys.add("poster"))
    await gate.ask(PLAIN, gate.issuer.token("poster", second_factor_time=proved(80_000)))


async def test_a_malformed_key_is_refused_without_a_look_up(gate: Gate) -> None:
    """Garbage costs a checksum and nothing of authentication."""
    key = gate.api_keys.add("poster")
    for text in (key[:-1], key + "0", key[:-1] + ("0" if key[-1] != "0" else "1"), "vsk_", "vsk_" + "0" * 49):
        assert (await gate.refusal(PLAIN, text)).reason == "TOKEN_INVALID"
        assert gate.last.auth_fault == "api_key_form"
    assert gate.api_keys.asked == 0


async def test_a_key_that_is_not_good_is_told_no_more_than_a_token(gate: Gate) -> None:
    """Unknown, ended and revoked look alike; that nobody answers does not."""
    ended, revoked = gate.api_keys.add("poster", life=-1), gate.api_keys.add("poster")
    await gate.revoke(REVOCATION_KIND_API_KEY, gate.api_keys.principals[revoked].token_id)
    faults = []
    for key in (new_api_key(), ended, revoked):
        answer = await gate.refusal(PLAIN, key)
        assert (type(answer), answer.reason) == (Unauthenticated, "TOKEN_INVALID")
        faults.append(gate.last.auth_fault)
    assert faults == ["api_key_unknown", "not_now", "revoked"]
    gate.api_keys.failing = True
    assert (await gate.refusal(PLAIN, gate.api_keys.add("poster"))).reason == "SERVICE_UNAVAILABLE"


async def test_the_log_learns_why_in_fixed_words(gate: Gate) -> None:
    """Whoever looks for an attack needs the reason; nothing of the credential may be in it."""
    head, body, signature = gate.issuer.token().split(".")
    seen = set()
    for credential in (
        "a" * 9000,
        "nonsense",
        f"{head}.{body}.{signature}A",
        f"{head}.e30.{signature}",
        f"{head}.{body}.{signature[:-8]}AAAAAAAA",
        Issuer().token(),
        gate.issuer.token(life=-10),
        gate.issuer.token(iss="other"),
        gate.issuer.token(extra=1),
        gate.issuer.token(life=1000),
    ):
        await gate.refusal(PLAIN, credential)
        seen.add(gate.last.auth_fault)
    assert seen <= CREDENTIAL_FAULTS
    assert len(seen) >= 8
    call = Call("/x.Y/Z", "request-1", policy=PLAIN, authorization="Basic YTpi")
    with pytest.raises(Unauthenticated):
        await gate.access.enter(call, None, None)  # type: ignore[arg-type]  # nothing of gRPC is looked at
    assert call.auth_fault == "scheme"


async def test_streams_are_watched_from_the_moment_they_are_let_in(gate: Gate) -> None:
    """Between that and the handler other stages run; a revocation there must not be missed. What has ended is not kept."""
    tail = replace(PLAIN, response_streaming=True)
    call = await gate.ask(tail, gate.issuer.token("poster"))
    assert call.lifeline is not None
    await gate.revoke(REVOCATION_KIND_SESSION, "session-1")
    ended: list[str] = []
    call.lifeline.hold(lambda: ended.append("at once"))
    assert ended == ["at once"]
    for rule, credential in ((PLAIN, gate.issuer.token("poster", sid="s-2")), (tail, "")):
        peer = "logging" if not credential else "gateway"
        rule = rule if credential else replace(FOR_SERVICES, response_streaming=True)
        assert (await gate.ask(rule, credential, peer=peer)).lifeline is None
    await gate.access.leave(call)
    assert len(gate.access._streams) == 0
    assert gate.access._streams._revocable._things == {}
