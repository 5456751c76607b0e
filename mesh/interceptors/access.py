"""The access stage: who is calling, and does the method's rule let them.

The rule comes from the contract (`mesh.contract`), the token is checked locally (`mesh.identity.tokens`), roles come from
configuration's watch (`mesh.authorization`). Nothing is allowed that no rule allows.

Not enforced yet: `step_up`, since no second factor can be enrolled in this version, and `high_risk`, since revocations are not sent
to the services yet: an ended session's access token is refused by authentication at once and elsewhere when its five minutes are over.
"""

from typing import Any, Protocol

from mesh.authorization import Policy
from mesh.clock import Clock
from mesh.context import Call, Principal
from mesh.contract import ANY_SERVICE, MethodPolicy, Who
from mesh.errors import PermissionDenied, Unauthenticated
from mesh.identity.keys import KeySource
from mesh.identity.peer import GATEWAY
from mesh.identity.tokens import AccessToken, TokenInvalid, UnknownKey, verify
from mesh.interceptors.chain import ServicerContext

MAX_CACHED_TOKENS = 10_000
_BEARER = "Bearer "


class PolicySource(Protocol):
    """Gives the newest roles and bindings."""

    def policy(self) -> Policy:
        """Raises Unavailable (POLICY_NOT_LOADED) if none were read yet."""


class Authenticator:
    """Turns an `authorization` header into a principal. Signatures of tokens seen before are not checked again."""

    def __init__(self, keys: KeySource, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._seen: dict[str, AccessToken] = {}

    async def authenticate(self, authorization: str) -> Principal:
        """Raises Unauthenticated; the answer does not say what is wrong with a token."""
        if not authorization:
            raise Unauthenticated("CREDENTIAL_MISSING", "sign in first: the call carries no access token")
        if not authorization.startswith(_BEARER):
            raise _invalid()
        text = authorization[len(_BEARER) :]
        now = self._clock.now().timestamp()
        token = self._seen.get(text)
        if token is None or now >= token.expires_at:
            token = await self._check(text, now)
            self._remember(text, token)
        return Principal(token.subject, token.session_id, token.token_id, token.roles, token.expire_time)

    async def _check(self, text: str, now: float) -> AccessToken:
        try:
            try:
                return verify(text, self._keys.current(), now)
            except UnknownKey as unknown:
                return verify(text, await self._keys.refresh_for(unknown.key_id), now)
        except TokenInvalid:
            raise _invalid() from None

    def _remember(self, text: str, token: AccessToken) -> None:
        self._seen.pop(text, None)
        if len(self._seen) >= MAX_CACHED_TOKENS:
            del self._seen[next(iter(self._seen))]
        self._seen[text] = token


def _invalid() -> Unauthenticated:
    return Unauthenticated("TOKEN_INVALID", "the access token is not valid; sign in or refresh it")


class Access:
    """Enforces each method's access rule."""

    name = "access"

    def __init__(self, authenticator: Authenticator, policies: PolicySource) -> None:
        self._authenticator = authenticator
        self._policies = policies

    async def enter(self, call: Call, request: Any, context: ServicerContext) -> None:
        rule = call.policy
        if rule is None:
            raise PermissionDenied("PERMISSION_MISSING", "this is a bug: the method carries no access rule")
        if request is not None:
            call.bot_id = rule.bot_id(request)
        if rule.who is Who.PUBLIC:
            return
        if rule.who is Who.SERVICES:
            await self._admit_service(call, rule)
            return
        call.principal = await self._authenticator.authenticate(call.authorization)
        if rule.who is Who.PERMISSION:
            self._require(call, rule)

    async def leave(self, call: Call) -> None:
        return

    async def _admit_service(self, call: Call, rule: MethodPolicy) -> None:
        any_service = ANY_SERVICE in rule.services and call.peer not in ("", GATEWAY)
        if call.peer not in rule.services and not any_service:
            raise PermissionDenied("SERVICE_NOT_ALLOWED", "this method is for services of the mesh")
        if call.authorization:
            # A service that acts for a user sends the user's token along, so that the trail names the user.
            call.principal = await self._authenticator.authenticate(call.authorization)

    def _require(self, call: Call, rule: MethodPolicy) -> None:
        principal = call.principal
        if principal is None or not self._policies.policy().allows(principal, rule.permission, call.bot_id):
            raise PermissionDenied(
                "PERMISSION_MISSING",
                f"this needs the permission {rule.permission}",
                metadata={"permission": rule.permission},
            )
