"""Refreshing against the real secure_bot_data: whoever dies between whichever steps, X is asked no oftener than that may save something."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from mesh.errors import FailedPrecondition, OutcomeUnknown
from mesh.secret import Secret
from services.bot_manager.tokens.keeping import PairKeeper, RotationClaim, StoredPair
from services.bot_manager.tokens.port import TokenPair
from tests.fakes.token_endpoint import FakeTokenEndpoint
from tests.integration.services.bot_manager.tokens.conftest import Replica

STEPS = tuple((step, done) for step in ("claim", "pair", "exchange", "store") for done in (False, True))
"""Each step of the procedure, and whether the process dies before it or when it was done and nobody had heard of it."""
USED_UP = (("exchange", True), ("store", False))
"""Where X has given the pair and nobody has it any more."""


class Killed(BaseException):
    """The end of the process: no handler of the procedure sees it, nothing is given back."""


class Dying:
    """A keeper and an endpoint in one that die at one step."""

    def __init__(self, keeper: PairKeeper, endpoint: FakeTokenEndpoint, step: str, done: bool) -> None:
        self._keeper = keeper
        self._endpoint = endpoint
        self._fatal = step, done

    async def claim(self, bot_id: str) -> RotationClaim:
        """See PairKeeper."""
        return await self._live("claim", self._keeper.claim, bot_id)

    async def pair(self, bot_id: str, version: int = 0) -> StoredPair:
        """See PairKeeper."""
        return await self._live("pair", self._keeper.pair, bot_id, version)

    async def store(
        self,
        bot_id: str,
        fields: Mapping[str, Secret],
        claim: RotationClaim,
        expected: int,
        rotate_time: datetime | None,
    ) -> int:
        """See PairKeeper."""
        return await self._live("store", self._keeper.store, bot_id, fields, claim, expected, rotate_time)

    async def release(self, bot_id: str, claim: RotationClaim, *, settled: bool) -> None:
        """See PairKeeper."""
        await self._keeper.release(bot_id, claim, settled=settled)

    async def exchange(self, fields: Mapping[str, Secret]) -> TokenPair:
        """See TokenEndpoint."""
        return await self._live("exchange", self._endpoint.exchange, fields)

    async def _live(self, step: str, act: Any, *arguments: object) -> Any:
        if self._fatal == (step, False):
            raise Killed
        result = await act(*arguments)
        if self._fatal == (step, True):
            raise Killed
        return result


async def test_whichever_step_a_process_dies_at_no_account_is_lost_that_could_be_saved(
    replicas: tuple[Replica, Replica], endpoint: FakeTokenEndpoint
) -> None:
    """The newest pair is stored, or X was asked once more with the stored token and its refusal is the answer. Never more often."""
    await asyncio.gather(*(_die_and_go_on(replicas, endpoint, step, done) for step, done in STEPS))
    assert endpoint.overlaps == 0


async def _die_and_go_on(
    replicas: tuple[Replica, Replica], endpoint: FakeTokenEndpoint, step: str, done: bool
) -> None:
    dying, other = replicas
    bot_id, token = await dying.connect(endpoint)
    parts = Dying(dying.keeper, endpoint, step, done)
    with pytest.raises(Killed):
        await dying.refresher(parts, parts).run(bot_id, 1)
    if (step, done) in USED_UP:
        with pytest.raises(FailedPrecondition) as refused:
            await other.refresher(endpoint).refresh(bot_id, 1)
        assert refused.value.reason == "X_CREDENTIALS_REJECTED", step
        assert endpoint.asked[token] == 2, step
        return
    assert await other.refresher(endpoint).refresh(bot_id, 1) == 2, step
    version, fields = await other.stored(bot_id)
    assert (version, endpoint.is_newest(fields), endpoint.asked[token]) == (2, True, 1), (step, done)


async def test_many_refreshers_on_two_replicas_exchange_once(
    replicas: tuple[Replica, Replica], endpoint: FakeTokenEndpoint
) -> None:
    """Every post of a bot finds the token stale at the same moment, on every replica."""
    bot_id, token = await replicas[0].connect(endpoint)
    refreshers = [replica.refresher(endpoint) for replica in replicas]
    answers = await asyncio.gather(*(refreshers[turn % 2].refresh(bot_id, 1) for turn in range(32)))
    assert (set(answers), endpoint.asked[token], endpoint.overlaps) == ({2}, 1, 0)
    version, fields = await replicas[1].stored(bot_id)
    assert (version, endpoint.is_newest(fields)) == (2, True)


async def test_many_refreshers_without_a_shared_flight_exchange_once(
    replicas: tuple[Replica, Replica], endpoint: FakeTokenEndpoint
) -> None:
    """The claim alone decides between processes, of which there may be more than two."""
    bot_id, token = await replicas[0].connect(endpoint)
    flights = (replicas[turn % 2].refresher(endpoint).run(bot_id, 1) for turn in range(32))
    assert set(await asyncio.gather(*flights)) == {2}
    assert (endpoint.asked[token], endpoint.overlaps) == (1, 0)


async def test_a_lost_answer_is_tried_once_by_whoever_comes_next(
    replicas: tuple[Replica, Replica], endpoint: FakeTokenEndpoint
) -> None:
    """The doubt crosses replicas: it is the claim's, not the process's."""
    bot_id, token = await replicas[0].connect(endpoint)
    endpoint.fail_next(OutcomeUnknown("X_OUTCOME_UNKNOWN", "no answer"), done=True)
    with pytest.raises(OutcomeUnknown):
        await replicas[0].refresher(endpoint).refresh(bot_id, 1)
    claim = await replicas[1].keeper.claim(bot_id)
    assert (claim.version, claim.interrupted) == (1, True)
    await replicas[1].keeper.release(bot_id, claim, settled=False)
    with pytest.raises(FailedPrecondition) as refused:
        await replicas[1].refresher(endpoint).refresh(bot_id, 1)
    assert refused.value.reason == "X_CREDENTIALS_REJECTED"
    assert endpoint.asked[token] == 2
    settled = await replicas[0].keeper.claim(bot_id)
    assert not settled.interrupted
