"""What this service's own guards ask in its own store, where other services ask over the network."""

from mesh.context import Principal
from services.authentication.domain.api_key import ResolvedKey
from services.authentication.domain.api_keys import ApiKeys
from services.authentication.domain.keyring import Keyring
from vivesphere.authentication.v1.revocation_pb2 import REVOCATION_KIND_SIGNING_KEY, Revocation


def principal_of(known: ResolvedKey) -> Principal:
    """Whom a good API key acts for, and how far."""
    key, owner = known.api_key, known.owner
    return Principal(
        user_id=owner.id,
        session_id="",
        token_id=key.id,
        roles=owner.token_roles,
        expire_time=key.expire_time,
        password_change_required=owner.password_change_required,
        scope=frozenset(key.permissions),
    )


class OwnApiKeys:
    """Implements `mesh.identity.key_resolving.ApiKeyResolver`. A use is noted as one."""

    def __init__(self, api_keys: ApiKeys) -> None:
        self._api_keys = api_keys

    async def resolve(self, key: str) -> Principal | None:
        """See ApiKeyResolver."""
        known = await self._api_keys.resolve(key)
        if known is None:
            return None
        await self._api_keys.touch(known.api_key.id)
        return principal_of(known)


class KeyringAlarm:
    """Implements `mesh.identity.revocations.Listener`: a key given up by another replica must not sign here for a moment longer."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def revoked(self, revocation: Revocation) -> None:
        """See Listener."""
        if revocation.kind == REVOCATION_KIND_SIGNING_KEY:
            self._keyring.wake()

    def started_over(self) -> None:
        """See Listener."""
        self._keyring.wake()
