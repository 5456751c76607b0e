"""The ledger as a worker uses it: one post at a time for the caller, many at a time for the database.

Batches are written outside of any call, so their entries carry no request id: no call caused them. A lease begins when its batch is
written, so a caller that measures it from before its own call measures it too short, never too long.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta

from mesh.batching import Batcher
from mesh.clock import Clock
from mesh.tasks import TaskSet
from services.bot_manager.domain.model import Attempt, Entry, Failure, Post
from services.bot_manager.store.ports import (
    Claim,
    ClaimedPost,
    Finish,
    Intent,
    PostLedger,
    Refusal,
    Release,
    Wait,
)


class WorkerLedger:
    """Everything that a worker writes, for one worker name. `start` before use."""

    def __init__(self, ledger: PostLedger, worker: str, lease: Callable[[], timedelta], clock: Clock) -> None:
        self._ledger = ledger
        self._worker = worker
        self._lease = lease
        self._clock = clock
        self._takes = Batcher[Claim, ClaimedPost | None](self._take, lambda claim: claim.post_id)
        self._begins = Batcher[Intent, Attempt | Refusal | Wait](self._begin, lambda intent: intent.post_id)
        self._finishes = Batcher[Finish, Post | None](self._finish, lambda one: one.attempt.post_id)
        self._releases = Batcher[Release, bool](self._release, lambda release: release.post_id)

    def start(self, tasks: TaskSet) -> None:
        """Begin to write; ends with the set."""
        tasks.spawn(self._takes.run(), name="takes")
        tasks.spawn(self._begins.run(), name="intents")
        tasks.spawn(self._finishes.run(), name="outcomes")
        tasks.spawn(self._releases.run(), name="releases")

    async def take(self, claim: Claim) -> ClaimedPost | None:
        """See PostLedger.take; None if the claim has ended."""
        return await self._takes.submit(claim)

    async def begin(self, intent: Intent) -> Attempt | Refusal | Wait:
        """See PostLedger.begin_attempts."""
        return await self._begins.submit(intent)

    async def finish(self, finish: Finish) -> Post | None:
        """See PostLedger.finish_attempts."""
        return await self._finishes.submit(finish)

    async def release(self, release: Release) -> None:
        """See PostLedger.release."""
        await self._releases.submit(release)

    async def note(self, post: Post, entries: Sequence[Entry]) -> None:
        """See PostLedger.note."""
        await self._ledger.note(post.id, post.claim_fence, entries, self._clock.now())

    async def give_up(self, post: Post, failure: Failure) -> None:
        """See PostLedger.give_up."""
        await self._ledger.give_up(post.id, post.claim_fence, failure, self._clock.now())

    async def _take(self, claims: Sequence[Claim]) -> Sequence[ClaimedPost | None]:
        taken = await self._ledger.take(claims, self._worker, self._clock.now(), self._lease())
        by_id = {one.post.id: one for one in taken}
        return [by_id.get(claim.post_id) for claim in claims]

    async def _begin(self, intents: Sequence[Intent]) -> Sequence[Attempt | Refusal | Wait]:
        return await self._ledger.begin_attempts(intents, self._worker, self._clock.now(), self._lease())

    async def _finish(self, finishes: Sequence[Finish]) -> Sequence[Post | None]:
        return await self._ledger.finish_attempts(finishes, self._clock.now(), self._lease())

    async def _release(self, releases: Sequence[Release]) -> Sequence[bool]:
        await self._ledger.release(releases, self._clock.now())
        return [True] * len(releases)
