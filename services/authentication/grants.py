"""Roles and permissions of callers, as configuration has them. Authentication names roles; what they allow is decided there."""

from mesh.configuration import ConfigurationWatch
from mesh.context import Principal
from mesh.errors import Unavailable
from services.authentication.domain.api_key import limited
from services.authentication.domain.permissions import Giver


class Grants:
    """Looks at configuration's newest copy."""

    def __init__(self, configuration: ConfigurationWatch) -> None:
        self._configuration = configuration

    def giver(self, principal: Principal) -> Giver:
        """The caller as one who gives roles. Raises Unavailable (POLICY_NOT_LOADED)."""
        policy = self._configuration.policy()

        def bound(user_id: str) -> list[str]:
            return [binding.role_id for binding in policy.bindings.get(user_id, ())]

        return Giver(self._held(principal), policy.roles, bound)

    def shown(self, principal: Principal) -> tuple[str, ...]:
        """What the caller holds for the whole fleet, sorted, for display; nothing while configuration was never heard of."""
        try:
            return tuple(sorted(self._held(principal)))
        except Unavailable:
            return ()

    def _held(self, principal: Principal) -> frozenset[str]:
        """What the caller's roles grant for the whole fleet; for an API key no more than it was given."""
        held = self._configuration.policy().permissions(principal)
        return held if principal.scope is None else limited(held, principal.scope)
