"""A bot that was stopped has no lease in force, whatever was away or died when it was stopped."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from cli.embedded import EmbeddedMesh
from mesh.clock import SystemClock
from mesh.database import Database
from mesh.errors import Internal, Unavailable
from mesh.ids import new_id
from mesh.tasks import TaskSet
from services.bot_manager.domain.bots import Bots
from services.bot_manager.domain.model import Bot, BotState
from services.bot_manager.publishing.ending import LeaseEnder
from services.bot_manager.publishing.leases import SECRET_NAME
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.lease_endings import AFTERMATH, PostgresLeaseEndings
from services.bot_manager.store.tables import lease_endings
from services.bot_manager.x.port import OAUTH1_FIELDS
from tests.fakes.clock import ManualClock
from tests.fakes.mesh import until
from tests.integration.services.secure_bot_data.test_process import channel_as
from tests.unit.services.bot_manager.publishing.secrets import FakeSecrets
from vivesphere.secure_bot_data.v1 import bot_secret_pb2
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import BotSecretServiceStub

from .conftest import NOW, AddBot

ACTOR = "0190c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5b"
AWAY = Unavailable("VAULT_UNAVAILABLE", "the secret store does not answer")


class Stopping:
    """Use cases and a loop over one database; `forgotten` are the bots that this process was told to forget."""

    def __init__(self, database: Database, bots: PostgresBots) -> None:
        self.database = database
        self.bots = Bots(bots, ManualClock(NOW), new_id)
        self.store = bots
        self.secrets = FakeSecrets()
        self.forgotten: list[str] = []
        self.endings = PostgresLeaseEndings(database)
        self.ender = LeaseEnder(self.endings, self.secrets, self.forgotten.append, SystemClock())

    async def pause(self, bot: Bot) -> None:
        """As PauseBot."""
        await self.bots.pause(bot.id, "", ACTOR, "holiday")

    async def later(self, time: timedelta) -> None:
        """As if the rows had been written so much earlier."""
        async with self.database.transaction() as connection:
            earlier = lease_endings.c.create_time - time
            await connection.execute(update(lease_endings).values(create_time=earlier))

    async def left(self) -> int:
        """How many bots are on the list."""
        async with self.database.read() as connection:
            return int(
                (await connection.execute(select(func.count()).select_from(lease_endings))).scalar_one()
            )


@pytest.fixture
def stopping(database: Database, bots: PostgresBots) -> Stopping:
    return Stopping(database, bots)


async def test_pausing_ends_the_leases_at_once_and_again_when_no_earlier_one_can_come(
    stopping: Stopping, add_bot: AddBot
) -> None:
    """A lease that was asked for before the stop may be granted after the first ending."""
    bot = await add_bot()
    await stopping.pause(bot)
    await stopping.ender.do_due()
    await stopping.ender.do_due()
    assert stopping.secrets.revoked == [(bot.id, "bot paused")]
    assert stopping.forgotten == [bot.id]
    await stopping.later(AFTERMATH)
    await stopping.ender.do_due()
    assert (stopping.secrets.revoked, await stopping.left()) == ([(bot.id, "bot paused")] * 2, 0)


async def test_archiving_ends_them_too_and_other_changes_do_not(stopping: Stopping, add_bot: AddBot) -> None:
    """The kill switches are two; a lost lease for a renamed bot would only slow it down."""
    archived, renamed = await add_bot(), await add_bot("other")
    await stopping.store.change(renamed.id, lambda bot: replace(bot, display_name="new"), NOW)
    await stopping.bots.archive(archived.id, "", ACTOR, "")
    await stopping.ender.do_due()
    assert stopping.secrets.revoked == [(archived.id, "bot archived")]


async def test_a_stop_that_is_not_committed_ends_nothing(stopping: Stopping, add_bot: AddBot) -> None:
    """The list and the state are one commit."""
    bot = await add_bot()

    async def refuse(connection: object) -> None:
        raise Unavailable("DATABASE_UNAVAILABLE", "no audit record, no change")

    stopping.database.before_commit(refuse)
    with pytest.raises(Unavailable):
        await stopping.pause(bot)
    assert ((await stopping.store.get(bot.id)).state, await stopping.left()) == (BotState.ACTIVE, 0)


async def test_what_fails_stays_on_the_list(stopping: Stopping, add_bot: AddBot) -> None:
    """A sealed vault when a bot is paused must not leave its leases in force."""
    bot = await add_bot()
    await stopping.pause(bot)
    stopping.secrets.fail_next(AWAY, times=2)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await stopping.ender.do_due()
    await stopping.ender.do_due()
    assert stopping.secrets.revoked == [(bot.id, "bot paused")]


async def test_one_that_is_refused_does_not_keep_the_others_waiting(
    stopping: Stopping, add_bot: AddBot
) -> None:
    """A defect that concerns one bot must not disarm the switch of all."""
    first, second = await add_bot(), await add_bot("other")
    await stopping.pause(first)
    await stopping.pause(second)
    stopping.secrets.fail_next(Internal("INTERNAL", "incident"))
    with pytest.raises(Internal):
        await stopping.ender.do_due()
    assert stopping.secrets.revoked == [(second.id, "bot paused")]


async def test_a_bot_that_runs_again_keeps_its_new_leases(stopping: Stopping, add_bot: AddBot) -> None:
    """The first ending happens in any case, the second is only for bots that are still stopped."""
    bot = await add_bot()
    await stopping.pause(bot)
    await stopping.store.change(bot.id, lambda old: replace(old, state=BotState.ACTIVE), NOW)
    await stopping.ender.do_due()
    await stopping.later(AFTERMATH)
    await stopping.ender.do_due()
    assert (len(stopping.secrets.revoked), await stopping.left()) == (1, 0)


async def test_a_stop_while_an_ending_is_under_way_is_not_lost(stopping: Stopping, add_bot: AddBot) -> None:
    """What is crossed off is the ending that was done, not the one that was asked for since."""
    bot = await add_bot()
    await stopping.pause(bot)
    (begun,) = await stopping.endings.due(9)
    await stopping.bots.archive(bot.id, "", ACTOR, "")
    await stopping.endings.done(begun)
    await stopping.ender.do_due()
    assert stopping.secrets.revoked == [(bot.id, "bot archived")]


async def test_the_loop_is_woken_by_a_stop_and_outlives_an_outage(
    stopping: Stopping, add_bot: AddBot
) -> None:
    """Nobody restarts it."""
    bot, clock = await add_bot(), ManualClock()
    stopping.ender = LeaseEnder(stopping.endings, stopping.secrets, stopping.forgotten.append, clock)
    async with TaskSet() as tasks:
        tasks.spawn(stopping.ender.run(), name="lease ender")
        await until(lambda: clock.sleeping == 1)
        stopping.secrets.fail_next(AWAY)
        await stopping.pause(bot)
        stopping.ender.wake()
        async with asyncio.timeout(30):
            while not stopping.secrets.revoked:
                await clock.advance(timedelta(seconds=1))
                await asyncio.sleep(0.01)
    assert stopping.secrets.revoked == [(bot.id, "bot paused")]


async def test_the_leases_at_secure_bot_data_are_over(
    stopping: Stopping, add_bot: AddBot, engines: EmbeddedMesh, secure_bot_data: None
) -> None:
    """The same with the real service: its own count says how many were in force, also of one granted after the first ending."""
    bot = await add_bot()
    about = {"bot_id": bot.id, "name": SECRET_NAME}
    async with channel_as(engines, "bot_manager") as channel:
        stub = BotSecretServiceStub(channel)
        fields = dict.fromkeys(OAUTH1_FIELDS, "value")
        kind = bot_secret_pb2.SECRET_KIND_X_OAUTH1
        await stub.StoreBotSecret(pb2.StoreBotSecretRequest(**about, kind=kind, fields=fields), timeout=10)
        ender = LeaseEnder(stopping.endings, stub, stopping.forgotten.append, SystemClock())

        async def in_force() -> int:
            probe = pb2.RevokeBotLeasesRequest(bot_id=bot.id, reason="counted")
            return (await stub.RevokeBotLeases(probe, timeout=10)).revoked_count

        await stub.LeaseBotSecret(pb2.LeaseBotSecretRequest(**about, reason="publish"), timeout=10)
        await stopping.pause(bot)
        await ender.do_due()
        assert await in_force() == 0
        await stub.LeaseBotSecret(pb2.LeaseBotSecretRequest(**about, reason="asked before"), timeout=10)
        await stopping.later(AFTERMATH)
        await ender.do_due()
        assert await in_force() == 0
