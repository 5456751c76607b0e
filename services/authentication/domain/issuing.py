"""Token pairs for a session."""

from collections.abc import Callable
from datetime import datetime, timedelta

from mesh.clock import Clock
from mesh.ids import new_id
from services.authentication.domain.keyring import Keyring
from services.authentication.domain.session import Lifetimes, Session
from services.authentication.domain.tokens import Signer, TokenPair
from services.authentication.domain.user import User

SHORTEST = timedelta(seconds=1)


class Issuer:
    """Signs pairs with the key in force."""

    def __init__(self, keyring: Keyring, lifetimes: Callable[[], Lifetimes], clock: Clock) -> None:
        self._keyring = keyring
        self._lifetimes = lifetimes
        self._clock = clock

    def signer(self) -> Signer:
        """Asked for before anything is written: without a key there is nothing to give. Raises Unavailable."""
        return self._keyring.signer()

    @property
    def lifetimes(self) -> Lifetimes:
        """The numbers in force."""
        return self._lifetimes()

    def pair(self, signer: Signer, user: User, session: Session, refresh_token: str) -> TokenPair:
        """The pair for a living session. An access token never outlives its session."""
        now = _issue_time(user, self._clock.now())
        lifetime = max(SHORTEST, min(self.lifetimes.access_token, session.expire_time - now))
        return TokenPair(
            access_token=signer.access_token(
                user_id=user.id,
                session_id=session.id,
                token_id=new_id(),
                roles=user.token_roles,
                now=now,
                lifetime=lifetime,
                second_factor_time=session.second_factor_time,
                password_change_required=user.password_change_required,
            ),
            refresh_token=refresh_token,
            expires_in=lifetime,
            session_id=session.id,
            password_change_required=user.password_change_required,
        )


def _issue_time(user: User, now: datetime) -> datetime:
    """Now, or the next whole second after the user's tokens were revoked: times of issue are whole seconds, and a token of the same
    second would be refused with those before it."""
    revoked = user.tokens_revoke_time
    return now if revoked is None else max(now, revoked.replace(microsecond=0) + SHORTEST)
