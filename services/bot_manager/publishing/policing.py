"""The policy checks once more, right before a post begins to go out: settings may have changed, and two posts may have been made at once.

Only rules that refuse are run, in memory. What was said before is asked by the key of the whole text, for all posts that are about to be
sent in one query; near-duplicates, and whose post a reply answers, only where they refuse. Of two posts that say the same, the one made later gives way, so never both.
Once a part is on X the thread is finished, whatever the rules say: half a thread is worse. Windows, limits and money have checks of
their own, which put off instead of refusing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from mesh.batching import Batcher
from mesh.clock import Clock
from mesh.configuration import Snapshot
from services.bot_manager.domain.model import (
    Bot,
    Entry,
    Failure,
    Finding,
    Part,
    PolicyRule,
    Post,
    Severity,
)
from services.bot_manager.domain.policy.facts import Facts, Likeness, Limits, cool_down
from services.bot_manager.domain.policy.fingerprints import exact_key, fingerprint
from services.bot_manager.domain.policy.linter import Severities, errors_only, lint
from services.bot_manager.domain.rules import checked_entries
from services.bot_manager.policy.ports import Likenesses, Likes
from services.bot_manager.policy.settings import Policy
from services.bot_manager.publishing.checks import GiveUp

REPEATS: Final = frozenset({PolicyRule.DUPLICATE, PolicyRule.NEAR_DUPLICATE})


class Policing:
    """See the module. A `checks.Check`; `note` adds entries to the story of a post that is held, `is_own` is that of Surroundings. `run`
    must be running.
    """

    def __init__(
        self,
        likenesses: Likenesses,
        is_own: Callable[[str, str], Awaitable[bool]],
        note: Callable[[Post, Sequence[Entry]], Awaitable[None]],
        settings: Callable[[], Policy],
        clock: Clock,
    ) -> None:
        self._alike = Batcher[Likes, Sequence[Likeness]](likenesses.find)
        self._is_own = is_own
        self._note = note
        self._settings = settings
        self._clock = clock
        self._known: tuple[Snapshot, Severities, Limits] | None = None

    async def run(self) -> None:
        """Ask in batches until cancelled."""
        await self._alike.run()

    async def __call__(self, post: Post, bot: Bot, part: Part) -> GiveUp | None:
        """See Check."""
        if post.x_post_ids:
            return None
        (severities, limits), now = self._rules(), self._clock.now()
        likenesses = await self._likenesses(post, bot, severities, limits)
        facts = Facts(
            post,
            now,
            bot=bot,
            at=now,
            limits=limits,
            likenesses=likenesses,
            replies_to_own=await self._replies_to_own(post, bot, severities),
        )
        found = [finding for finding in lint(facts, severities) if finding.severity is Severity.ERROR]
        return await self._refuse(post, found) if found else None

    async def _replies_to_own(self, post: Post, bot: Bot, severities: Severities) -> bool:
        """Asked only where the answer decides: by default, being cold refuses no reply."""
        answered = post.content.get("reply_to_x_post_id", "")
        return bool(answered) and PolicyRule.COLD_REPLY in severities and await self._is_own(bot.id, answered)

    def _rules(self) -> tuple[Severities, Limits]:
        """What holds now, worked out once for each snapshot of the settings."""
        settings = self._settings()
        if self._known is None or self._known[0] is not settings.snapshot:
            self._known = settings.snapshot, errors_only(settings.severities), settings.limits
        return self._known[1:]

    async def _refuse(self, post: Post, found: Sequence[Finding]) -> GiveUp:
        await self._note(post, checked_entries(found, post.state))
        first = found[0]
        return GiveUp(Failure("POLICY_VIOLATION", first.message, self._clock.now(), first.part_index))

    async def _likenesses(
        self, post: Post, bot: Bot, severities: Severities, limits: Limits
    ) -> Sequence[Likeness]:
        if not REPEATS & severities.keys():
            return ()
        own, others, now = cool_down(bot, limits), limits.other_bots, self._clock.now()
        asked = [
            Likes(post.id, bot.id, part.index, keys, now, own, others, ahead=True)
            for part in post.parts
            if (keys := _keys(part.sent_text, severities))
        ]
        answers = await asyncio.gather(*map(self._alike.submit, asked))
        return [likeness for answer in answers for likeness in answer]


def _keys(text: str, severities: Severities) -> Sequence[int]:
    if PolicyRule.NEAR_DUPLICATE in severities:
        made = fingerprint(text)
        return made.keys if made else ()
    key = exact_key(text)
    return () if key is None else (key,)
