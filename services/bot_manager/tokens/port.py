"""X's token endpoint in terms of our own: what refreshing asks of it, and what connecting an account does."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from mesh.secret import Secret

ACCESS_TOKEN: Final = "access_token"  # noqa: S105 - names of fields, not secrets
REFRESH_TOKEN: Final = "refresh_token"  # noqa: S105 - as above


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What X gave for a refresh token. Without a new refresh token the old one stays good; `expire_time` is the access token's."""

    access_token: Secret
    refresh_token: Secret | None = None
    expire_time: datetime | None = None
    scope: str = ""

    def over(self, fields: Mapping[str, Secret]) -> dict[str, Secret]:
        """The fields of a secret of kind X_OAUTH2 once this pair has replaced the one in them."""
        after = {name: value for name, value in fields.items() if name != "expires_at"}
        after[ACCESS_TOKEN] = self.access_token
        if self.refresh_token is not None:
            after[REFRESH_TOKEN] = self.refresh_token
        if self.scope:
            after["scope"] = Secret(self.scope)
        if self.expire_time is not None:
            after["expires_at"] = Secret(self.expire_time.astimezone(UTC).isoformat().replace("+00:00", "Z"))
        return after


class TokenEndpoint(Protocol):
    """Exchanges refresh tokens."""

    async def exchange(self, fields: Mapping[str, Secret]) -> TokenPair:
        """The successor of the refresh token in `fields` (a secret of kind X_OAUTH2, with the client's keys). Sent once, never repeated here.

        Raises FailedPrecondition (X_CREDENTIALS_REJECTED) when X refused the token (`invalid_grant`), ResourceExhausted or
        Unavailable when X was surely not asked, or surely did not take the request, and OutcomeUnknown for everything else: the
        answer was lost, or makes no sense.
        """
        ...


@dataclass(frozen=True, slots=True)
class AuthorizationCode:
    """What the redirect brought, with what was kept for it since."""

    code: Secret
    verifier: Secret
    client_id: str
    redirect_uri: str


class CodeEndpoint(Protocol):
    """Begins and ends what refreshing keeps up."""

    async def exchange_code(self, granted: AuthorizationCode, secret: Secret | None) -> TokenPair:
        """The first pair of an account. `secret` is the client's, None for a public one. Raises as `TokenEndpoint.exchange`."""
        ...

    async def revoke(self, fields: Mapping[str, Secret]) -> None:
        """Tell X that the tokens in `fields` (a secret of kind X_OAUTH2) are not needed any more. Raises as `TokenEndpoint.exchange`."""
        ...


class AppClients(Protocol):
    """The apps, as far as connecting accounts goes."""

    async def client_of(self, app_id: str) -> str:
        """The app's client id; empty if it has none. Raises NotFound (APP_NOT_FOUND)."""
        ...

    async def app_of(self, client_id: str) -> str:
        """The app with this client id; empty if none has it."""
        ...


class ClientKeys(Protocol):
    """Secrets of clients."""

    async def secret_of(self, client_id: str) -> Secret | None:
        """The client's secret; None for a public client. Raises what secure_bot_data or the way to it raises."""
        ...
