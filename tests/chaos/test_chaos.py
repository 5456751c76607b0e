"""Processes are killed at random while posts go out and X loses answers. Afterwards X holds each post exactly once.

X hides posts for less than the settle window, and every bot's policy is to send again what X does not show: beyond that the guarantee does
not reach. `make chaos` runs the long form; VIVESPHERE_CHAOS_POSTS and _KILLS make it longer still, VIVESPHERE_CHAOS_SEED repeats the order
of kills of another run.
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg import OperationalError

from mesh.ids import new_id
from services.bot_manager.domain import rules
from services.bot_manager.domain.model import Part, Post, PostState
from services.bot_manager.store.posts import PostgresPosts
from tests.chaos.conftest import Mesh
from tests.fakes.engines import database_of

LONG = os.environ.get("VIVESPHERE_TEST_PROFILE") == "long"
POSTS = int(os.environ.get("VIVESPHERE_CHAOS_POSTS", "3000" if LONG else "240"))
KILLS = int(os.environ.get("VIVESPHERE_CHAOS_KILLS", "60" if LONG else "4"))
SEED = int(os.environ.get("VIVESPHERE_CHAOS_SEED", time.time_ns() % 1_000_000 if LONG else 7))
SECONDS_PER_KILL = 6.0 if LONG else 1.5
PATIENCE_SECONDS = 1800 if LONG else 150
BOTS = 6
VICTIMS: Final = ("bot_manager", "postgres", "bot_manager-2", "nats")
FAULTS: Final = {
    "error_500_after": 0.04,
    "no_id": 0.03,
    "reset_after": 0.02,
    "timeout_after": 0.02,
    "error_500_before": 0.02,
    "html_502": 0.02,
    "reset_before": 0.02,
    "timeout_before": 0.01,
}
"""Chance of each for each call to X: of a sixth of all nobody knows what became."""
COUNTS: Final = {
    "attempts": "SELECT count(*) FROM attempts",
    "unknown": "SELECT count(*) FROM attempts WHERE outcome = 'UNKNOWN'",
    "adopted": "SELECT count(*) FROM post_events WHERE kind = 'ADOPTED'",
    "sent again": "SELECT count(*) FROM post_events WHERE kind = 'SCHEDULED' AND message LIKE 'X does not have it%'",
    "leases lost": "SELECT count(*) FROM post_events WHERE kind = 'LEASE_EXPIRED'",
    "looks": "SELECT count(*) FROM post_events WHERE kind = 'RECONCILE_READ'",
}
STATES: Final = "SELECT state, count(*) FROM posts GROUP BY state"


@dataclass(frozen=True, slots=True)
class Chaos:
    """A mesh under way, and the order in which it is broken."""

    mesh: Mesh
    chance: random.Random

    async def kills(self) -> Counter[str]:
        """Kill until enough are; each once before one is a second time."""
        killed: Counter[str] = Counter()
        order: list[str] = []
        while killed.total() < KILLS and not await self.settled():
            order = order or self.chance.sample(VICTIMS, len(VICTIMS))
            name = order.pop()
            await self.kill(name)
            killed[name] += 1
            await asyncio.sleep(self.chance.uniform(0.1, 1.5))
        return killed

    async def kill(self, name: str) -> None:
        """SIGKILL, and wait until the supervisor has started it again."""
        [child] = [one for one in self.mesh.embedded.supervisor.children if one.spec.name == name]
        before = child.pid
        if before is None:
            return
        os.kill(before, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while child.pid in (None, before) or not await child.spec.ready():
                await asyncio.sleep(0.05)

    async def settled(self) -> bool:
        """Whether all posts are on X, as the record has it."""
        try:
            states = await asyncio.to_thread(self.ask, STATES)
        except OperationalError:
            return False
        return [row[0] for row in states] == ["PUBLISHED"]

    def ask(self, query: str) -> Sequence[tuple[str, int]]:
        """Ask the record."""
        with self.mesh.embedded.admin.connect() as connection:
            connection.execute("SET search_path TO bot_manager")
            return connection.execute(query.encode()).fetchall()


async def test_killed_at_random_with_ambiguous_faults_every_post_is_on_x_once(mesh: Mesh) -> None:
    """None lost, none doubled."""
    chaos = Chaos(mesh, random.Random(SEED))  # noqa: S311 - repeatable chance
    bots = [await asyncio.to_thread(mesh.bot, f"chaos_{number}") for number in range(BOTS)]
    for kind, probability in FAULTS.items():
        mesh.x.post("/sandbox/faults", {"kind": kind, "probability": probability})
    mesh.x.post("/sandbox/faults", {"kind": "hidden_for_seconds", "seconds": 1.5, "probability": 0.3})
    wanted = await posts_of(mesh, bots)
    began = time.monotonic()
    killed = await chaos.kills()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await chaos.settled():
            await asyncio.sleep(0.2)
    shown = Counter(str(post["text"]) for post in mesh.x.get("/sandbox/posts")["posts"])
    told = {name: chaos.ask(query)[0][0] for name, query in COUNTS.items()}
    doubled = {text: count for text, count in shown.items() if count > 1}
    lost = [text for text in wanted if text not in shown]
    states = dict(chaos.ask(STATES))
    print(
        f"\nchaos: seed {SEED}, {POSTS} posts of {len(wanted)} parts, {states.get('PUBLISHED', 0)} published, "
        + ", ".join(f"{count} {name}" for name, count in told.items())
        + f", {killed.total()} kills {dict(killed)}, {len(doubled)} doubled, {len(lost)} lost, "
        + f"{time.monotonic() - began:.0f} s"
    )
    assert (doubled, lost) == ({}, [])
    assert shown == Counter(wanted)


async def posts_of(mesh: Mesh, bots: Sequence[str]) -> list[str]:
    """Posts of all bots, due from soon on, within as long as the kills may take; the texts of all their parts."""
    texts: list[str] = []
    begin = datetime.now(UTC) + timedelta(seconds=2 + POSTS / 100)
    spread = timedelta(seconds=KILLS * SECONDS_PER_KILL)
    async with database_of(mesh.embedded, "bot_manager") as database:
        store = PostgresPosts(database, "chaos")
        for number in range(POSTS):
            parts = tuple(
                Part(index, f"chaos {number}, part {index}") for index in range(2 if number % 10 == 0 else 1)
            )
            now = datetime.now(UTC)
            draft = Post(new_id(), bots[number % len(bots)], PostState.DRAFT, parts, now, now)
            due = begin + spread * (number / POSTS)
            change = rules.create(draft, due, timedelta(days=1))
            await store.create(change.post, change.entries, None)
            texts += [part.text for part in parts]
    return texts
