"""What secure_bot_data lends, as credentials that can be used: four strings of OAuth 1.0a, or an access token that is fresh enough.

An access token is replaced when its end is near, or when X has refused it; in both cases once, however many ask. A token that was made
because X had refused the one before, and is refused at once itself, is not replaced again: then it is the account that X refuses.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from google.protobuf.duration_pb2 import Duration
from loguru import logger

from mesh.channels import invoke
from mesh.clock import Clock
from mesh.errors import FailedPrecondition, MeshError
from mesh.secret import Secret
from services.bot_manager.domain.model import OAUTH1
from services.bot_manager.tokens.fresh import DEAD
from services.bot_manager.tokens.keeping import SECRET_NAME as TOKENS_NAME
from services.bot_manager.tokens.port import ACCESS_TOKEN, REFRESH_TOKEN
from services.bot_manager.x.port import OAuth1Credentials, OAuth2Credentials, XCredentials, scopes_of
from vivesphere.secure_bot_data.v1 import bot_secret_pb2, bot_secret_service_pb2

SECRET_NAME: Final = "x_oauth1"  # noqa: S105 - the name under which it is kept, not a secret
SHORTEST_TERM: Final = timedelta(minutes=1)
LONGEST_TERM: Final = timedelta(minutes=5)
"""What the lender allows."""
CALL_TIMEOUT: Final = timedelta(seconds=5)
PROVING_TIME: Final = timedelta(minutes=5)
"""How long a token counts as just made."""
MISSING: Final = frozenset({"SECRET_NOT_FOUND", "SECRET_DELETED", "SECRET_DESTROYED", "SECRET_EXPIRED"})
"""What the lender answers when there is nothing to lend, and nothing will change by waiting."""

Answer = bot_secret_service_pb2.LeaseBotSecretResponse


class Tokens(Protocol):
    """`tokens.fresh.FreshTokens`."""

    async def kind_of(self, bot_id: str) -> str: ...
    def is_due(self, left: timedelta) -> bool: ...
    async def replace(self, bot_id: str, stale_version: int) -> int: ...
    async def give_up(self, bot_id: str, version: int, reason: str) -> None: ...
    async def note(self, bot_id: str, version: int, expire_time: datetime | None) -> None: ...


@dataclass(frozen=True, slots=True)
class LeasedCredentials:
    """Credentials to use until `end` (monotonic seconds) and then to forget. `version` is secure_bot_data's."""

    credentials: XCredentials
    version: int
    end: float

    def same_as(self, other: "LeasedCredentials") -> bool:
        """Whether both are the same version of the same secret."""
        return self.version == other.version and type(self.credentials) is type(other.credentials)


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A version that X refused at `time`, and the one that took its place for that. `final`: that one was refused at once too."""

    refused: int
    time: float
    renewed: int = 0
    final: bool = False


@dataclass(frozen=True, slots=True)
class _Loan:
    """An answer of the lender and what follows from it. `left`: how long its token lasts; None where that is not known."""

    answer: Answer
    asked: float
    term: timedelta
    expire_time: datetime | None
    left: timedelta | None

    def leased(self, credentials: XCredentials) -> LeasedCredentials:
        """To use until the lease or the token ends, whichever comes first."""
        term = self.answer.ttl.ToTimedelta() or self.term
        if self.left is not None:
            term = min(term, self.left)
        return LeasedCredentials(credentials, self.answer.version, self.asked + term.total_seconds())


class Lender:
    """`secrets` is a stub with LeaseBotSecret. Without `tokens` every bot uses OAuth 1.0a."""

    def __init__(self, secrets: Any, clock: Clock, tokens: Tokens | None = None) -> None:
        self._secrets = secrets
        self._clock = clock
        self._tokens = tokens
        self._doubts: dict[str, _Doubt] = {}

    async def lend(self, bot_id: str, reason: str, need: timedelta) -> LeasedCredentials:
        """Credentials that last for `need`.

        Raises FailedPrecondition CREDENTIALS_MISSING, or X_CREDENTIALS_REJECTED when the account has to be connected anew; else what the
        lender, the refresher or the record raise.
        """
        tokens = self._tokens
        if tokens is None or await tokens.kind_of(bot_id) == OAUTH1:
            loan = await self._borrow(bot_id, SECRET_NAME, reason, need)
            return loan.leased(_oauth1(loan.answer))
        loan = await self._borrow(bot_id, TOKENS_NAME, reason, need)
        newer = await self._fresher(tokens, bot_id, loan, need)
        if newer:
            loan = await self._borrow(bot_id, TOKENS_NAME, reason, need)
            await tokens.note(bot_id, loan.answer.version, loan.expire_time)
        return loan.leased(_oauth2(loan.answer))

    def refuse(self, bot_id: str, version: int) -> bool:
        """X refused this version: it is replaced before anything is lent again, once. Whether that is news."""
        now, known = self._clock.monotonic(), self._doubts.get(bot_id)
        if known is not None and version <= known.refused:
            return False
        if known is not None and known.renewed == version and now - known.time < PROVING_TIME.total_seconds():
            self._doubts[bot_id] = replace(known, refused=version, final=True)
        else:
            self._doubts[bot_id] = _Doubt(version, now)
        return True

    def trust(self, bot_id: str) -> None:
        """The bot has new credentials."""
        self._doubts.pop(bot_id, None)

    def sweep(self) -> None:
        """Drop doubts that nobody will ask about any more."""
        since = self._clock.monotonic() - 2 * PROVING_TIME.total_seconds()
        self._doubts = {bot_id: doubt for bot_id, doubt in self._doubts.items() if doubt.time > since}

    async def _fresher(self, tokens: Tokens, bot_id: str, loan: _Loan, need: timedelta) -> bool:
        """Whether a newer version was made, or found."""
        version, left, doubt = loan.answer.version, loan.left, self._doubts.get(bot_id)
        refused = doubt is not None and doubt.refused == version and not doubt.final
        over = left is not None and left <= need
        if not (refused or over or (left is not None and tokens.is_due(left))):
            return False
        if REFRESH_TOKEN not in loan.answer.fields:
            if over:
                await tokens.give_up(bot_id, version, "X_CREDENTIALS_REJECTED")
                raise FailedPrecondition(
                    "X_CREDENTIALS_REJECTED",
                    "the access token has ended and there is none to refresh it with",
                )
            return False
        try:
            newer = await tokens.replace(bot_id, version)
        except MeshError as error:
            if refused or over or error.reason in DEAD:
                raise
            logger.bind(bot_id=bot_id, reason=error.reason).warning("token not refreshed yet")
            return False
        if refused:
            self._doubts[bot_id] = _Doubt(version, self._clock.monotonic(), renewed=newer)
        return True

    async def _borrow(self, bot_id: str, name: str, reason: str, need: timedelta) -> _Loan:
        term = min(max(need * 2, SHORTEST_TERM), LONGEST_TERM)
        request = bot_secret_service_pb2.LeaseBotSecretRequest(
            bot_id=bot_id, name=name, ttl=_duration(term), reason=reason
        )
        asked = self._clock.monotonic()
        try:
            answer: Answer = await invoke(self._secrets.LeaseBotSecret, request, timeout=CALL_TIMEOUT)
        except MeshError as error:
            raise _missing(error) from None
        expire_time = _time(answer.fields.get("expires_at", ""))
        left = None if expire_time is None else expire_time - self._clock.now()
        return _Loan(answer, asked, term, expire_time, left)


def _oauth1(answer: Answer) -> OAuth1Credentials:
    if answer.kind != bot_secret_pb2.SECRET_KIND_X_OAUTH1:
        raise _of_another_kind()
    try:
        return OAuth1Credentials.from_fields(answer.fields)
    except ValueError as error:
        raise FailedPrecondition("CREDENTIALS_MISSING", str(error)) from None


def _oauth2(answer: Answer) -> OAuth2Credentials:
    if answer.kind != bot_secret_pb2.SECRET_KIND_X_OAUTH2 or not answer.fields.get(ACCESS_TOKEN):
        raise _of_another_kind()
    return OAuth2Credentials(Secret(answer.fields[ACCESS_TOKEN]), scopes_of(answer.fields.get("scope", "")))


def _of_another_kind() -> FailedPrecondition:
    return FailedPrecondition("CREDENTIALS_MISSING", "the stored secret is of another kind")


def _missing(error: MeshError) -> MeshError:
    if error.reason in MISSING:
        return FailedPrecondition(
            "CREDENTIALS_MISSING", f"the bot has no usable credentials: {error.message}"
        )
    return error


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _duration(value: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(value)
    return duration
