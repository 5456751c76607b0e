"""Credentials that somebody gives to a bot, on their way to secure_bot_data: what is stored, what is tried at X, what may be known of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from mesh.errors import InvalidArgument
from mesh.secret import Secret
from services.bot_manager.domain.model import OAUTH1, OAUTH2, CredentialsStatus
from services.bot_manager.tokens.port import ACCESS_TOKEN, TokenPair
from services.bot_manager.x.port import OAuth1Credentials, OAuth2Credentials, XCredentials

TOKEN_LIFE: Final = timedelta(hours=2)
"""How long X lets an access token live."""
WRITE: Final = "tweet.write"
"""Scope without which a bot cannot post."""


@dataclass(frozen=True, slots=True)
class Given:
    """Credentials of one kind. `fields` are those of the secret; `scopes` is empty where not known."""

    kind: str
    fields: Mapping[str, Secret] = field(repr=False)
    expire_time: datetime | None = None
    scopes: tuple[str, ...] = ()

    @property
    def credentials(self) -> XCredentials:
        """To call X with."""
        if self.kind == OAUTH1:
            return OAuth1Credentials(**self.fields)
        return OAuth2Credentials(self.fields[ACCESS_TOKEN], frozenset(self.scopes))

    def status(self, version: int, verify_time: datetime | None) -> CredentialsStatus:
        """What is known once they are stored as `version`; `verify_time` is when X confirmed them, None if it did not."""
        return CredentialsStatus(
            self.kind,
            version,
            verified=verify_time is not None,
            verify_time=verify_time,
            expire_time=self.expire_time,
            scopes=self.scopes,
        )


def of_oauth1(fields: Mapping[str, Secret]) -> Given:
    """The four strings."""
    return Given(OAUTH1, fields)


def of_tokens(pair: TokenPair, client: Mapping[str, Secret], now: datetime) -> Given:
    """Tokens of OAuth 2.0 with the keys of the client that they were issued to, as far as those are not with its app.

    Raises InvalidArgument for an end that has passed with nothing to refresh it, and for known scopes that do not let the bot post.
    """
    expire_time = pair.expire_time or now + TOKEN_LIFE
    if expire_time <= now and not pair.refresh_token:
        raise InvalidArgument("INVALID_FIELD", "the access token has ended", field="oauth2.expire_time")
    scopes = tuple(sorted(pair.scope.split()))
    if scopes and WRITE not in scopes:
        raise InvalidArgument(
            "INVALID_FIELD", f"{WRITE} is missing: the bot could not post", field="oauth2.scopes"
        )
    whole = TokenPair(pair.access_token, pair.refresh_token or None, expire_time, " ".join(scopes))
    return Given(
        OAUTH2, whole.over({name: value for name, value in client.items() if value}), expire_time, scopes
    )
