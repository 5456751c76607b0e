"""What the domain needs from a store. The store keeps and finds; it knows no rule.

A `Unit` is one transaction, or one look at the data. Times are given by the caller, so that one clock decides. Locks are taken in the
order accounts → user → session → token → lanes of attempts → revocation feed; whoever keeps to it cannot deadlock. A second factor is
written only where its user is locked.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from services.authentication.domain.api_key import ApiKey
from services.authentication.domain.events import Event
from services.authentication.domain.factor import SecondFactor
from services.authentication.domain.filters import Condition
from services.authentication.domain.revocation import Revocation, RevocationKind
from services.authentication.domain.session import EndReason, Session
from services.authentication.domain.signing import SigningKey
from services.authentication.domain.throttle import Attempts
from services.authentication.domain.user import Credentials, User


@dataclass(frozen=True, slots=True)
class Rotation:
    """A refresh token to be used up, and its successor, both as hashes; what the session is to remember of the use."""

    token: bytes
    successor: bytes
    address: str
    idle: timedelta


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A refresh token that was given out once."""

    session_id: str
    user_id: str
    generation: int
    """Number within its session, from 1."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a `request_id` was used for before."""

    fingerprint: bytes
    response_id: str


class UserStore(Protocol):
    """Accounts and their password hashes."""

    async def any(self) -> bool:
        """Whether there is any account."""

    async def get(self, user_id: str, *, lock: bool = False, hold: bool = False) -> User | None:
        """The user; `lock` keeps everybody else out until the transaction ends, `hold` only those who write."""

    async def credentials_by_name(self, username: str) -> Credentials | None:
        """By normal name."""

    async def credentials(self, user_id: str) -> Credentials | None:
        """By id."""

    async def list(self, conditions: Sequence[Condition], before_id: str | None, limit: int) -> list[User]:
        """Newest first, from the one before `before_id`."""

    async def insert(self, user: User, password_hash: str) -> bool:
        """False, and nothing written, if the name is taken."""

    async def update(self, user: User) -> None:
        """Write everything but password and sign-in time."""

    async def delete(self, user_id: str) -> None:
        """With sessions and tokens."""

    async def record_sign_in(
        self, user_id: str, password_version: int, now: datetime, new_hash: str | None
    ) -> User | None:
        """Note a sign-in, with a new hash of the same password if given; None if user or password have changed meanwhile."""

    async def set_password(
        self, user_id: str, password_version: int, password_hash: str, now: datetime
    ) -> User | None:
        """A new password that needs no change; None if user or password have changed meanwhile."""

    async def reset_password(self, user_id: str, password_hash: str, expire: datetime, now: datetime) -> None:
        """A one-time password that is good until `expire`."""

    async def revoke_tokens(self, user_ids: Sequence[str], now: datetime) -> None:
        """Remember that access tokens issued until now are revoked. Locks the users; goes with a revocation of the kind USER."""

    async def other_active_admin(self, user_id: str) -> bool:
        """Whether somebody else is an active administrator."""


class SessionStore(Protocol):
    """Sessions and their refresh tokens."""

    async def insert(self, session: Session, token: bytes) -> None:
        """A new session with its first refresh token."""

    async def get(self, session_id: str, user_id: str) -> Session | None:
        """The user's session, living or not."""

    async def list_living(
        self, user_id: str, now: datetime, before_id: str | None, limit: int
    ) -> list[Session]:
        """Newest first, from the one before `before_id`."""

    async def known_token(self, token: bytes) -> KnownToken | None:
        """What the token belongs to, used or not."""

    async def rotate(self, rotation: Rotation, now: datetime) -> Session | None:
        """Use the token up and put its successor in its place, in one statement; None unless the token was unused and alive."""

    async def retried(self, token: bytes, successor: bytes, since: datetime, now: datetime) -> Session | None:
        """The living session whose token was used up at `since` or later, in favour of this successor, which is unused."""

    async def end_reused(self, token: bytes, now: datetime) -> Session | None:
        """End the session of a used token. None if the token is unknown or unused, or the session had ended."""

    async def replace_token(self, session_id: str, token: bytes, now: datetime) -> Session | None:
        """Use up whatever refresh tokens the living session has and give it this one; None if it does not live."""

    async def end(
        self,
        user_id: str,
        reason: EndReason,
        now: datetime,
        *,
        only: str | None = None,
        but: str | None = None,
    ) -> Sequence[str]:
        """End the user's sessions: one, all but one, or all. Ids of those that lived until now."""

    async def known(self, user_id: str, session_ids: Collection[str]) -> frozenset[str]:
        """Which of these are sessions of the user, living or not."""

    async def end_these(
        self, user_id: str, session_ids: Collection[str], reason: EndReason, now: datetime
    ) -> Sequence[str]:
        """End these sessions of the user. Ids of those that lived until now."""

    async def end_all(self, user_ids: Collection[str], reason: EndReason, now: datetime) -> Sequence[str]:
        """End every session of these users. Ids of those that lived until now."""

    async def end_oldest(self, user_id: str, keep: int, now: datetime) -> Sequence[str]:
        """End (EVICTED) the user's living sessions but the newest `keep`. Their ids."""

    async def users_with_living(self, now: datetime) -> Sequence[str]:
        """Ids of all users who have a living session."""

    async def lock(self, session_id: str, user_id: str, now: datetime) -> Session | None:
        """The user's session, kept from other writers until the transaction ends; None if it does not live."""

    async def note_proofs(self, session: Session) -> None:
        """Write when password and second factor were last proved in it."""


class SecondFactorStore(Protocol):
    """Second factors with their recovery codes, at most one a user."""

    async def get(self, user_id: str) -> SecondFactor | None:
        """The user's factor, waiting or confirmed."""

    async def put(self, factor: SecondFactor) -> bool:
        """A factor that waits, in place of any that waits. False, and nothing written, if one is confirmed."""

    async def confirm(self, factor: SecondFactor, step: int, codes: Sequence[bytes], now: datetime) -> bool:
        """Confirm exactly this waiting factor, with `step` as used and hashes of recovery codes. False if it waits no more."""

    async def use_step(self, factor: SecondFactor, step: int) -> bool:
        """Use a time step up, in one statement. False unless exactly this factor is confirmed and all its used steps are older."""

    async def use_code(self, factor: SecondFactor, code: bytes, now: datetime) -> bool:
        """Use a recovery code up, in one statement. False unless it was there and unused."""

    async def delete(self, user_id: str) -> bool:
        """With its recovery codes. False if there was none."""


class ApiKeyStore(Protocol):
    """API keys, found by their hash."""

    async def get(self, key_id: str, user_id: str) -> ApiKey | None:
        """The user's key, in force or not."""

    async def by_hash(self, key_hash: bytes) -> ApiKey | None:
        """Whosever it is, in force or not."""

    async def list(
        self, user_id: str, before_id: str | None, limit: int, active_at: datetime | None
    ) -> list[ApiKey]:
        """Newest first, from the one before `before_id`; only those in force at `active_at` if given."""

    async def active(self, user_id: str, now: datetime) -> Sequence[str]:
        """Ids of the user's keys that are in force."""

    async def count_active(self, user_id: str, now: datetime) -> int:
        """How many of the user's keys are in force."""

    async def insert(self, key: ApiKey, key_hash: bytes) -> None:
        """A new key."""

    async def revoke(self, user_id: str, now: datetime, *, only: str | None = None) -> Sequence[str]:
        """Revoke the user's keys: one, or all. Ids of those that were in force until now."""

    async def note_use(self, key_id: str, now: datetime, before: datetime) -> None:
        """Note a use, unless one after `before` is noted already."""


class KeyStore(Protocol):
    """Signing keys, and other keys that the vault has sealed."""

    async def lock(self) -> None:
        """Keep other writers of signing keys out until the transaction ends."""

    async def list(self) -> list[SigningKey]:
        """All that are not retired."""

    async def insert(self, key: SigningKey) -> bool:
        """False, and nothing written, if another key has the state already (NEXT and ACTIVE are for one key each)."""

    async def update(self, key: SigningKey) -> None:
        """Write state and times."""

    async def sealed(self, name: str) -> str | None:
        """The sealed key of that name."""

    async def insert_sealed(self, name: str, sealed: str, now: datetime) -> None:
        """Keep it, unless there is one of that name."""


class AttemptStore(Protocol):
    """Counts of failed sign-ins by lane. Lanes are locked in ascending order of their keys, within a call and from call to call."""

    async def get(self, lanes: Collection[bytes]) -> dict[bytes, Attempts]:
        """The counts that there are, without locking."""

    async def lock(self, lanes: Sequence[bytes], now: datetime) -> dict[bytes, Attempts]:
        """The counts of these lanes, in ascending order, locked until the transaction ends; zero failures where there is none."""

    async def put(self, counts: Mapping[bytes, Attempts]) -> None:
        """Replace the counts of lanes that are locked."""

    async def forget(self, beginning: bytes) -> None:
        """Forget the counts of all lanes whose keys begin so."""


class IdempotencyStore(Protocol):
    """What creates were asked before, for 24 hours."""

    async def find(self, request_id: str, method: str, actor: str) -> Remembered | None:
        """What the id was used for."""

    async def remember(
        self, request_id: str, method: str, actor: str, what: Remembered, now: datetime
    ) -> None:
        """Written in the transaction of the create."""


class RevocationStore(Protocol):
    """The numbered feed of revocations."""

    async def add(self, kind: RevocationKind, target_ids: Sequence[str], now: datetime) -> None:
        """Append entries. Holds the feed's lock until the transaction ends, so do it last."""

    async def newest_sequence(self) -> int:
        """Number of the newest entry there ever was; 0 if none."""

    async def after(self, sequence: int, now: datetime, limit: int) -> list[Revocation]:
        """Entries in force with higher numbers, ascending."""


class Unit(Protocol):
    """One transaction."""

    @property
    def users(self) -> UserStore: ...
    @property
    def sessions(self) -> SessionStore: ...
    @property
    def second_factors(self) -> SecondFactorStore: ...
    @property
    def api_keys(self) -> ApiKeyStore: ...
    @property
    def keys(self) -> KeyStore: ...
    @property
    def attempts(self) -> AttemptStore: ...
    @property
    def idempotency(self) -> IdempotencyStore: ...
    @property
    def revocations(self) -> RevocationStore: ...

    async def note(self, event: Event) -> None:
        """Put it on the trail, together with what this transaction does."""

    async def lock_accounts(self) -> None:
        """Keep every other writer of accounts out until the transaction ends: for rules about all accounts together."""


class Store(Protocol):
    """Gives transactions. All raise Unavailable, Aborted or DeadlineExceeded."""

    def transaction(self, *, concludes: bool = True) -> AbstractAsyncContextManager[Unit]:
        """Commits when the block ends well. `concludes=False`: the call may still fail afterwards."""

    def read(self) -> AbstractAsyncContextManager[Unit]:
        """For looking only."""


class Sealer(Protocol):
    """Keeps private keys unreadable at rest. Raises Unavailable while the vault is away."""

    async def seal(self, plaintext: bytes, bound_to: bytes) -> str: ...

    async def open(self, sealed: str, bound_to: bytes) -> bytes: ...


class Trail(Protocol):
    """The record of the call that is being served."""

    def about(self, resource: str) -> None:
        """What the call is about, for example `users/0190…`."""
