"""The access stage: who is calling, and does the method's rule let them.

The rule comes from the contract (`mesh.contract`), roles from configuration's watch (`mesh.authorization`). Every call is judged anew in
the same order, and nothing is allowed that no rule allows:

    authenticate ─▶ revoked? ─▶ one-time password? ─▶ API key where a session is needed? ─▶ dangerous while revocations are stale?
        ─▶ permission ─▶ second factor recent enough? ─▶ second factor at all?

An access token is checked locally (`mesh.identity.tokens`), an API key by asking authentication (`mesh.identity.key_resolving`). A
method for services asks for the peer's certificate instead; a user's credential that comes along is held to the same rules, so that a
service cannot be made to act for somebody whose session has ended. An open stream hangs on its credential (`mesh.identity.streams`).
"""

from datetime import timedelta
from typing import Any, Literal, NamedTuple, Protocol, get_args

from mesh.authorization import Policy
from mesh.clock import Clock
from mesh.context import Call, Principal
from mesh.contract import ANY_SERVICE, MethodPolicy, Who
from mesh.errors import PermissionDenied, Unauthenticated
from mesh.identity.api_keys import PREFIX, is_well_formed
from mesh.identity.key_resolving import ApiKeyResolver
from mesh.identity.keys import KeySource
from mesh.identity.peer import GATEWAY
from mesh.identity.revocations import Revocations
from mesh.identity.streams import OpenStreams
from mesh.identity.tokens import AccessToken, Fault, TokenInvalid, UnknownKey, verify
from mesh.interceptors.chain import ServicerContext

MAX_CACHED_TOKENS = 10_000
_BEARER = "Bearer "

CredentialFault = Literal[Fault, "scheme", "api_key_form", "api_key_unknown", "revoked"]
"""Why a credential was refused, for the log."""
CREDENTIAL_FAULTS: frozenset[str] = frozenset(get_args(CredentialFault))


class PolicySource(Protocol):
    """Gives the newest roles and bindings."""

    def policy(self) -> Policy:
        """Raises Unavailable (POLICY_NOT_LOADED) if none were read yet."""


class SecondFactorRules(Protocol):
    """The settings that this stage enforces; see `mesh.identity.rules`."""

    @property
    def step_up_max_age(self) -> timedelta:
        """How long a proved second factor counts as recent."""

    @property
    def second_factor_required(self) -> bool:
        """Whether sessions without a second factor are limited to the own account."""


class Credential(NamedTuple):
    """What a call was authenticated by."""

    principal: Principal
    token: AccessToken | None
    """None for an API key."""


class _Seen(NamedTuple):
    credential: Credential
    token: AccessToken


class Authenticator:
    """Turns an `authorization` header into a credential that holds. Signatures of tokens seen before are not checked again."""

    def __init__(
        self, keys: KeySource, api_keys: ApiKeyResolver, revocations: Revocations, clock: Clock
    ) -> None:
        self._keys = keys
        self._api_keys = api_keys
        self._revocations = revocations
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    async def authenticate(self, call: Call) -> Credential:
        """Raises Unauthenticated, Unavailable. The answer does not say what is wrong with a credential; `call.auth_fault` does."""
        header = call.authorization
        if not header:
            raise Unauthenticated("CREDENTIAL_MISSING", "sign in first: the call carries no access token")
        if not header.startswith(_BEARER):
            raise _refused(call, "scheme")
        text = header[len(_BEARER) :]
        now = self._clock.now().timestamp()
        seen = self._seen.get(text)
        if seen is None or now >= seen.token.expires_at:
            if text.startswith(PREFIX):
                return await self._by_key(text, call, now)
            seen = await self._check(text, call, now)
        self._revocations.require_loaded()
        if self._revocations.refuses(seen.token):
            raise _refused(call, "revoked")
        return seen.credential

    async def _check(self, text: str, call: Call, now: float) -> _Seen:
        try:
            try:
                token = verify(text, self._keys.current(), now)
            except UnknownKey as unknown:
                token = verify(text, await self._keys.refresh_for(unknown.key_id), now)
        except TokenInvalid as invalid:
            raise _refused(call, invalid.fault) from None
        principal = Principal(
            token.subject,
            token.session_id,
            token.token_id,
            token.roles,
            token.expire_time,
            token.second_factor_time,
            token.password_change_required,
        )
        seen = _Seen(Credential(principal, token), token)
        self._remember(text, seen)
        return seen

    async def _by_key(self, text: str, call: Call, now: float) -> Credential:
        if not is_well_formed(text):
            raise _refused(call, "api_key_form")
        self._revocations.require_loaded()
        principal = await self._api_keys.resolve(text)
        if principal is None:
            raise _refused(call, "api_key_unknown")
        if now >= principal.expire_time.timestamp():
            raise _refused(call, "not_now")
        if self._revocations.refuses_key(principal.token_id):
            raise _refused(call, "revoked")
        return Credential(principal, None)

    def _remember(self, text: str, seen: _Seen) -> None:
        self._seen.pop(text, None)
        if len(self._seen) >= MAX_CACHED_TOKENS:
            del self._seen[next(iter(self._seen))]
        self._seen[text] = seen


def _refused(call: Call, fault: CredentialFault) -> Unauthenticated:
    call.auth_fault = fault
    return Unauthenticated("TOKEN_INVALID", "the access token is not valid; sign in or refresh it")


class Access:
    """Enforces each method's access rule."""

    name = "access"

    def __init__(
        self,
        authenticator: Authenticator,
        policies: PolicySource,
        revocations: Revocations,
        rules: SecondFactorRules,
        clock: Clock,
    ) -> None:
        self._authenticator = authenticator
        self._policies = policies
        self._revocations = revocations
        self._rules = rules
        self._clock = clock
        self._streams = OpenStreams(revocations)

    async def enter(self, call: Call, request: Any, context: ServicerContext) -> None:
        rule = call.policy
        if rule is None:
            raise PermissionDenied("PERMISSION_MISSING", "this is a bug: the method carries no access rule")
        if request is not None:
            call.bot_id = rule.bot_id(request)
        if rule.who is Who.PUBLIC:
            return
        if rule.who is Who.SERVICES:
            _require_service(call, rule)
            if not call.authorization:
                return
            # A service that acts for a user sends the user's credential along, so that the trail names the user.
        credential = await self._authenticator.authenticate(call)
        call.principal = credential.principal
        self._judge(credential.principal, rule, call.bot_id)
        # No pause since the credential was found good: a revocation comes either before that or after this.
        if rule.request_streaming or rule.response_streaming:
            self._hang(call, credential)

    async def leave(self, call: Call) -> None:
        if call.lifeline is not None:
            self._streams.close(call.lifeline)

    def _judge(self, principal: Principal, rule: MethodPolicy, bot_id: str) -> None:
        """What the rule asks of a known caller. The order is part of what callers are promised."""
        if principal.password_change_required and not rule.one_time_password:
            raise PermissionDenied("PASSWORD_CHANGE_REQUIRED", "change the one-time password first")
        is_key = principal.scope is not None
        if is_key and rule.session:
            raise PermissionDenied("SESSION_REQUIRED", "sign in for this: an API key is not enough")
        if rule.high_risk:
            self._revocations.require_fresh()
        needs_permission = rule.who is Who.PERMISSION
        if needs_permission and not self._policies.policy().allows(principal, rule.permission, bot_id):
            raise PermissionDenied(
                "PERMISSION_MISSING",
                f"this needs the permission {rule.permission}",
                metadata={"permission": rule.permission},
            )
        proved = principal.second_factor_time
        if rule.step_up and (proved is None or self._clock.now() - proved > self._rules.step_up_max_age):
            raise PermissionDenied(
                "STEP_UP_REQUIRED", "this needs a recent second factor; sign in again with it"
            )
        if needs_permission and proved is None and not is_key and self._rules.second_factor_required:
            raise PermissionDenied(
                "STEP_UP_REQUIRED", "this needs a second factor: enrol one and sign in with it"
            )

    def _hang(self, call: Call, credential: Credential) -> None:
        token = credential.token
        call.lifeline = (
            self._streams.open_for_key(credential.principal)
            if token is None
            else self._streams.open_for_token(token)
        )


def _require_service(call: Call, rule: MethodPolicy) -> None:
    any_service = ANY_SERVICE in rule.services and call.peer not in ("", GATEWAY)
    if call.peer not in rule.services and not any_service:
        raise PermissionDenied("SERVICE_NOT_ALLOWED", "this method is for services of the mesh")
