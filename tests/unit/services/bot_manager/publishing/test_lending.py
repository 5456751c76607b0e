"""Tokens of OAuth 2.0 in leases: when they are replaced, how often, and what happens when that fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta

import pytest

from mesh.errors import FailedPrecondition, MeshError, NotFound, Unavailable
from mesh.tasks import TaskSet
from services.bot_manager.domain.model import OAUTH1, OAUTH2
from services.bot_manager.publishing.leases import Leases
from services.bot_manager.publishing.lending import PROVING_TIME
from services.bot_manager.x.port import OAUTH1_FIELDS, OAuth1Credentials, OAuth2Credentials, XCredentials
from tests.fakes.clock import ManualClock
from tests.unit.services.bot_manager.publishing.secrets import FakeSecrets
from vivesphere.secure_bot_data.v1 import bot_secret_pb2

BOT = "0190c6a1-0000-7000-8000-000000000001"
NEED = timedelta(seconds=11)
BEFORE = timedelta(minutes=5)


class FakeTokens:
    """Makes the next version when asked; `fail_next` makes it fail."""

    def __init__(self, secrets: FakeSecrets, clock: ManualClock) -> None:
        self.kind = OAUTH2
        self.replaced: list[int] = []
        self.dead: list[str] = []
        self.noted: list[int] = []
        self._secrets = secrets
        self._clock = clock
        self._failures: list[MeshError] = []

    def store(self, left: timedelta | None, *, refreshable: bool = True) -> None:
        """A new version whose token lasts for so long."""
        number = self._secrets.versions[BOT] + 1
        fields = {"access_token": f"canary-{number}", "scope": "tweet.write users.read"}
        if refreshable:
            fields["refresh_token"] = f"canary-refresh-{number}"
        if left is not None:
            fields["expires_at"] = (self._clock.now() + left).isoformat()
        self._secrets.put(BOT, fields)

    def fail_next(self, error: MeshError) -> None:
        """The next replacement raises this."""
        self._failures.append(error)

    async def kind_of(self, bot_id: str) -> str:
        """See Tokens."""
        return self.kind

    def is_due(self, left: timedelta) -> bool:
        """See Tokens."""
        return left <= BEFORE

    async def replace(self, bot_id: str, stale_version: int) -> int:
        """See Tokens."""
        self.replaced.append(stale_version)
        await asyncio.sleep(0)
        if self._failures:
            raise self._failures.pop(0)
        if self._secrets.versions[BOT] > stale_version:
            return self._secrets.versions[BOT]
        self.store(timedelta(hours=2))
        return self._secrets.versions[BOT]

    async def give_up(self, bot_id: str, version: int, reason: str) -> None:
        """See Tokens."""
        self.dead.append(reason)

    async def note(self, bot_id: str, version: int, expire_time: datetime | None) -> None:
        """See Tokens."""
        self.noted.append(version)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def secrets() -> FakeSecrets:
    secrets = FakeSecrets()
    secrets.kind = bot_secret_pb2.SECRET_KIND_X_OAUTH2
    return secrets


@pytest.fixture
def tokens(secrets: FakeSecrets, clock: ManualClock) -> FakeTokens:
    return FakeTokens(secrets, clock)


@pytest.fixture
async def leases(secrets: FakeSecrets, clock: ManualClock, tokens: FakeTokens) -> AsyncIterator[Leases]:
    async with TaskSet() as tasks:
        yield Leases(secrets, tasks, clock, tokens)


async def test_a_token_is_replaced_near_its_end_and_not_before(
    leases: Leases, tokens: FakeTokens, clock: ManualClock
) -> None:
    """Each refresh token is good once: earlier means more risk, later means refused posts."""
    tokens.store(BEFORE + timedelta(minutes=1))
    early = await leases.get(BOT, "publish", NEED)
    assert (early.version, tokens.replaced) == (1, [])
    assert early.credentials == OAuth2Credentials(
        early.credentials.access_token, frozenset({"tweet.write", "users.read"})
    )
    await clock.advance(timedelta(minutes=1))
    got = await asyncio.gather(*(leases.get(BOT, "publish", NEED) for _ in range(50)))
    assert ({one.version for one in got}, tokens.replaced, tokens.noted) == ({2}, [1], [2])


async def test_a_lease_never_outlasts_its_token(
    leases: Leases, tokens: FakeTokens, clock: ManualClock
) -> None:
    """A token that cannot be refreshed is used to its end, and no call begins that would reach X after it."""
    tokens.store(timedelta(seconds=20), refreshable=False)
    held = await leases.get(BOT, "publish", NEED)
    assert held.end - clock.monotonic() == pytest.approx(20)
    await clock.advance(timedelta(seconds=10))
    with pytest.raises(FailedPrecondition) as over:
        await leases.get(BOT, "publish", NEED)
    assert (over.value.reason, tokens.dead) == ("X_CREDENTIALS_REJECTED", ["X_CREDENTIALS_REJECTED"])


async def test_a_token_that_still_lasts_is_used_while_it_cannot_be_replaced(
    leases: Leases, tokens: FakeTokens
) -> None:
    """X's token endpoint may be away for minutes while posts go out."""
    tokens.store(timedelta(minutes=2))
    tokens.fail_next(Unavailable("X_UNAVAILABLE", "away"))
    assert (await leases.get(BOT, "publish", NEED)).version == 1
    leases.forget(BOT)
    tokens.fail_next(FailedPrecondition("X_CREDENTIALS_REJECTED", "dead"))
    with pytest.raises(FailedPrecondition):
        await leases.get(BOT, "publish", NEED)


async def test_a_refused_token_is_replaced_once_however_many_posts_met_the_refusal(
    leases: Leases, tokens: FakeTokens
) -> None:
    """Two hundred posts in flight are two hundred refusals of one token."""
    tokens.store(None)
    await leases.get(BOT, "publish", NEED)

    async def refused() -> int:
        leases.refuse(BOT, 1)
        return (await leases.get(BOT, "X refused", NEED)).version

    assert set(await asyncio.gather(*(refused() for _ in range(50)))) == {2}
    assert tokens.replaced == [1]
    leases.refuse(BOT, 1)
    assert ((await leases.get(BOT, "late", NEED)).version, tokens.replaced) == (2, [1])


async def test_a_new_token_that_x_refuses_at_once_is_not_replaced_again(
    leases: Leases, tokens: FakeTokens, clock: ManualClock
) -> None:
    """It is the account that X refuses then, and refreshing for ever would hide it; hours later it is worth another try."""
    tokens.store(None)
    leases.refuse(BOT, 1)
    assert (await leases.get(BOT, "publish", NEED)).version == 2
    leases.refuse(BOT, 2)
    assert ((await leases.get(BOT, "publish", NEED)).version, tokens.replaced) == (2, [1])
    leases.forget(BOT)
    leases.refuse(BOT, 2)
    assert (await leases.get(BOT, "publish", NEED)).version == 3
    await clock.advance(PROVING_TIME)
    leases.refuse(BOT, 3)
    assert (await leases.get(BOT, "publish", NEED)).version == 4


async def test_what_was_asked_for_before_a_refusal_was_known_does_not_answer_it(
    leases: Leases, tokens: FakeTokens
) -> None:
    """The lender may be slow, and its answer the very version that X has refused meanwhile."""
    tokens.store(None)
    waiting = asyncio.ensure_future(leases.get(BOT, "publish", NEED))
    await asyncio.sleep(0)
    leases.refuse(BOT, 1)
    assert (await leases.get(BOT, "X refused", NEED)).version == 2
    assert (await waiting).version == 2


async def test_the_kind_that_the_bot_uses_decides_which_secret_is_lent(
    leases: Leases, tokens: FakeTokens, secrets: FakeSecrets
) -> None:
    """A bot that went from one kind to the other has both."""
    tokens.kind = OAUTH1
    secrets.kind = bot_secret_pb2.SECRET_KIND_X_OAUTH1
    secrets.put(BOT, dict.fromkeys(OAUTH1_FIELDS, "canary"))
    lent = await leases.get(BOT, "publish", NEED)
    assert isinstance(lent.credentials, OAuth1Credentials)
    leases.refuse(BOT, 1)
    assert lent.same_as(await leases.get(BOT, "publish", NEED))
    assert tokens.replaced == []
    secrets.fail_next(NotFound("SECRET_NOT_FOUND", "no such secret"))
    leases.forget(BOT)
    with pytest.raises(FailedPrecondition) as missing:
        await leases.get(BOT, "publish", NEED)
    assert missing.value.reason == "CREDENTIALS_MISSING"


async def test_a_reading_call_goes_on_with_the_token_that_takes_the_place_of_a_refused_one(
    leases: Leases, tokens: FakeTokens
) -> None:
    """Once; what X refuses then is refused, and what it refuses for another reason is not tried again."""
    tokens.store(None)
    shown: list[str] = []

    def refusing(*good: str) -> Callable[[XCredentials], Awaitable[str]]:
        async def read(credentials: XCredentials) -> str:
            token = credentials.access_token.reveal()
            shown.append(token)
            if token not in good:
                raise FailedPrecondition("X_CREDENTIALS_REJECTED", "refused")
            return "read"

        return read

    assert await leases.call(BOT, "read metrics", NEED, refusing("canary-2")) == "read"
    assert shown == ["canary-1", "canary-2"]
    with pytest.raises(FailedPrecondition):
        await leases.call(BOT, "read metrics", NEED, refusing())
    assert (shown[2:], tokens.replaced) == (["canary-2"], [1])
