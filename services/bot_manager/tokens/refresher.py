"""Replaces a bot's access token by a refresh token that X takes once, so that no crash loses an account that could be saved.

    claim → lease the claimed version → exchange → store over that version → only now may anybody use it

One flight a bot in this process; over all replicas one claim. Nobody is handed a value: the answer is a version to lease.

- Before the exchange whatever fails gives the claim back and changes nothing.
- The exchange is sent once. Refused: the claim ends settled and somebody has to connect the account anew, unless the stored pair is another
  one by now. Surely not sent: the claim ends as it was. Answer lost: the claim ends in doubt, the next one is `interrupted`, and that one
  tries the stored token once, by this same rule.
- After the exchange the new pair exists in memory only, and is stored until it is stored, for as long as this process lives. There are at
  most MAX_FLIGHTS of them. A process that dies in this window leaves the doubt above.

A version that only encrypted the claimed one anew is replaced just the same; one that holds other credentials stays, and ours are dropped.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.context import background_call
from mesh.errors import (
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    MeshError,
    NotFound,
    OutcomeUnknown,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
)
from mesh.secret import Secret
from mesh.tasks import Backoff, TaskSet
from services.bot_manager.tokens.keeping import PairKeeper, RotationClaim, StoredPair
from services.bot_manager.tokens.port import ACCESS_TOKEN, REFRESH_TOKEN, TokenEndpoint, TokenPair

MAX_FLIGHTS: Final = 100
EXCHANGE_TIMEOUT: Final = timedelta(seconds=20)
SLACK: Final = timedelta(seconds=2)
"""What has to be left of a claim beyond the time limit of the exchange, so that nobody else asks X meanwhile."""
PATIENCE: Final = timedelta(minutes=6)
"""How long somebody else's claim is waited for; the longest lasts five minutes."""
POLL: Final = Backoff(first=timedelta(milliseconds=200), most=timedelta(seconds=5))
SHORTEST: Final = timedelta(milliseconds=50)
STORE_AGAIN: Final = Backoff(first=timedelta(milliseconds=100), most=timedelta(seconds=5))
ROUNDS: Final = 3
LAST_TRY: Final = timedelta(seconds=4)
"""How long the end of the process is held up for a pair that is not stored yet."""
HOPELESS: Final = (InvalidArgument, OutOfRange, FailedPrecondition, NotFound)
"""Refusals of a store that no waiting changes."""


@dataclass(slots=True)
class _Successor:
    """A pair that X gave and that lies in this process's memory only. `expected` is the version with the token it was given for."""

    bot_id: str
    claim: RotationClaim
    exchanged: Secret
    expected: int
    fields: Mapping[str, Secret] = field(repr=False)
    rotate_time: datetime | None = None


class TokenRefresher:
    """See the module."""

    def __init__(
        self,
        keeper: PairKeeper,
        endpoint: TokenEndpoint,
        tasks: TaskSet,
        clock: Clock,
        *,
        exchange_timeout: timedelta = EXCHANGE_TIMEOUT,
    ) -> None:
        self._keeper = keeper
        self._endpoint = endpoint
        self._tasks = tasks
        self._clock = clock
        self._exchange_timeout = exchange_timeout
        self._flights: dict[tuple[str, int], asyncio.Task[int | MeshError]] = {}

    async def refresh(self, bot_id: str, stale_version: int) -> int:
        """A version newer than `stale_version`, whose access token is of no use any more; made here or by somebody else.

        Raises FailedPrecondition X_CREDENTIALS_REJECTED when the account has to be connected anew, CREDENTIALS_MISSING without a refresh
        token; OutcomeUnknown X_OUTCOME_UNKNOWN when X may have given a pair that is lost; ResourceExhausted OVERLOADED; and what the
        keeper and the endpoint raise. A caller that is cancelled stops nothing.
        """
        answer = await asyncio.shield(self._flight(bot_id, stale_version))
        if isinstance(answer, MeshError):
            raise answer
        return answer

    def _flight(self, bot_id: str, stale_version: int) -> "asyncio.Task[int | MeshError]":
        key = bot_id, stale_version
        flight = self._flights.get(key)
        if flight is None:
            if len(self._flights) >= MAX_FLIGHTS:
                raise ResourceExhausted(
                    "OVERLOADED", "too many tokens are being refreshed", retry_after=POLL.most
                )
            flight = self._tasks.spawn(self._answer(bot_id, stale_version), name="token refresh")
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return flight

    async def _answer(self, bot_id: str, stale_version: int) -> int | MeshError:
        # Neither the deadline nor the credential of whoever came first: others wait too, and a pair outlives them all.
        with background_call("bot_manager/refresh token", bot_id=bot_id):
            try:
                return await self.run(bot_id, stale_version)
            except MeshError as error:
                return error

    async def run(self, bot_id: str, stale_version: int) -> int:
        """The procedure itself, once; see `refresh`."""
        claim = await self._claim(bot_id)
        if claim.version > stale_version:
            await self._give_back(bot_id, claim)
            return claim.version
        try:
            pair = await self._keeper.pair(bot_id, claim.version)
            self._check_time(claim)
        except MeshError:
            await self._give_back(bot_id, claim)
            raise
        try:
            given = await self._exchange(bot_id, claim, pair)
        except FailedPrecondition as refused:
            return await self._after_refusal(bot_id, pair, refused)
        successor = _Successor(
            bot_id, claim, pair.refresh_token, claim.version, given.over(pair.fields), given.expire_time
        )
        return await self._store(successor)

    async def _claim(self, bot_id: str) -> RotationClaim:
        """Our claim, after those of others have ended."""
        give_up = self._clock.monotonic() + PATIENCE.total_seconds()
        refusals = 0
        while True:
            try:
                return await self._keeper.claim(bot_id)
            except Aborted as claimed:
                if claimed.reason != "ROTATION_CLAIMED" or self._clock.monotonic() > give_up:
                    raise
                refusals += 1
                pause = POLL.pause(refusals)
                await self._clock.sleep(max(SHORTEST, min(pause, claimed.retry_after or pause)))

    def _check_time(self, claim: RotationClaim) -> None:
        left = claim.end - self._clock.monotonic()
        if left < (self._exchange_timeout + SLACK).total_seconds():
            raise DeadlineExceeded("DEADLINE_TOO_SHORT", "too little of the claim is left to ask X")

    async def _exchange(self, bot_id: str, claim: RotationClaim, pair: StoredPair) -> TokenPair:
        if claim.interrupted:
            logger.bind(version=claim.version).warning("refresh token may be used up, tried once")
        try:
            async with asyncio.timeout(self._exchange_timeout.total_seconds()):
                return await self._endpoint.exchange(pair.fields)
        except FailedPrecondition as refused:
            if refused.reason == "X_CREDENTIALS_REJECTED":
                await self._release(bot_id, claim, settled=True)
            else:
                await self._give_back(bot_id, claim)
            raise
        except (Unavailable, ResourceExhausted):
            await self._give_back(bot_id, claim)
            raise
        except Exception as error:
            logger.bind(error_type=type(error).__name__).error("answer of the token endpoint lost")
        await self._release(bot_id, claim, settled=False)
        raise OutcomeUnknown("X_OUTCOME_UNKNOWN", "X may have given new tokens, and the answer was lost")

    async def _after_refusal(self, bot_id: str, pair: StoredPair, refused: FailedPrecondition) -> int:
        """Whoever held the claim before us may have stored a new pair while X refused the old one to us."""
        with suppress(MeshError):
            current = await self._keeper.pair(bot_id)
            if not current.has(REFRESH_TOKEN, pair.refresh_token):
                return current.version
        raise refused

    async def _store(self, successor: _Successor) -> int:
        """Store it, whatever it takes."""
        try:
            return await self._store_in_time(successor)
        except asyncio.CancelledError:
            await self._last_try(successor)
            raise

    async def _store_in_time(self, successor: _Successor) -> int:
        failures = 0
        while True:
            try:
                version = await self._try_to_store(successor)
            except HOPELESS as error:
                logger.bind(reason=error.reason).error("token pair cannot be stored")
                raise
            except MeshError as error:
                failures += 1
                if failures == 1:
                    logger.bind(reason=error.reason).warning("token pair waits to be stored")
            else:
                logger.bind(version=version, failures=failures).info("token refreshed")
                return version
            await self._clock.sleep(STORE_AGAIN.pause(failures))

    async def _last_try(self, successor: _Successor) -> None:
        """The process stops, and the pair would be gone with it."""
        try:
            async with asyncio.timeout(LAST_TRY.total_seconds()):
                await self._try_to_store(successor)
        except (MeshError, TimeoutError):
            logger.error("token pair lost")

    async def _try_to_store(self, successor: _Successor) -> int:
        """The version that it became, or that has taken its place. Raises Aborted when others were faster again and again."""
        for _ in range(ROUNDS):
            try:
                return await self._keeper.store(
                    successor.bot_id,
                    successor.fields,
                    successor.claim,
                    successor.expected,
                    successor.rotate_time,
                )
            except Aborted:
                current = await self._keeper.pair(successor.bot_id)
            if current.has(ACCESS_TOKEN, successor.fields[ACCESS_TOKEN]):
                return current.version
            if not current.has(REFRESH_TOKEN, successor.exchanged):
                logger.bind(version=current.version).warning("credentials were replaced, token pair dropped")
                return current.version
            successor.expected = current.version
        raise Aborted("VERSION_MISMATCH", "the secret changes too fast")

    async def _give_back(self, bot_id: str, claim: RotationClaim) -> None:
        """X was not asked under this claim: what was in doubt before it still is."""
        await self._release(bot_id, claim, settled=not claim.interrupted)

    async def _release(self, bot_id: str, claim: RotationClaim, *, settled: bool) -> None:
        """A claim that cannot be given back ends by itself, in doubt."""
        try:
            await self._keeper.release(bot_id, claim, settled=settled)
        except MeshError as error:
            logger.bind(reason=error.reason, settled=settled).warning("claim not released")
