"""What every post goes through before it is stored, whoever makes it: a person, an import, a schedule.

    media are looked up → templates are rendered → the policy checks are run → refused, unless it is a draft

The same way is gone by a preview, so that what is shown is what is sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from mesh.errors import FailedPrecondition, InvalidArgument
from services.bot_manager.domain.model import WHOLE_POST, Bot, Finding, PolicyRule, Post, Severity
from services.bot_manager.domain.policy.facts import PriceTable

Values = Mapping[str, Any]
"""What templates may name beside the post's own variables: `occurrence` and `item` of a schedule."""

Planned = tuple[Post, datetime | None]
"""A post and when it is to go out; None: a draft."""


class Shelf(Protocol):
    """Media, as far as a post needs them."""

    async def check(self, bot: Bot, post: Post) -> None:
        """Raises NotFound (MEDIA_NOT_FOUND) for a medium that does not exist or is another bot's, naming the field."""
        ...


class Composer(Protocol):
    """Renders templates."""

    def compose(self, bot: Bot, post: Post, at: datetime, values: Values) -> Post:
        """The post with `rendered_text` of every part that is not on X, and its seed chosen if it has a template without one.

        Raises InvalidArgument (TEMPLATE_FAILED), naming the field; metadata holds `part`, its index.
        """
        ...


class Inspector(Protocol):
    """The policy checks."""

    async def inspect(self, bot: Bot, post: Post, at: datetime | None, now: datetime) -> Sequence[Finding]:
        """What is found in a rendered post that is to go out `at` (None: a draft), errors first."""
        ...

    async def inspect_all(
        self, bot: Bot, planned: Sequence[Planned], now: datetime
    ) -> Sequence[Sequence[Finding]]:
        """As `inspect` for posts that are to be stored together, each held against those before it as well, in their order."""
        ...

    async def prices(self, bot: Bot) -> PriceTable:
        """What X charges the bot's app."""
        ...


@dataclass(frozen=True, slots=True)
class Maker:
    """See the module."""

    shelf: Shelf
    composer: Composer
    inspector: Inspector

    async def ready(self, bot: Bot, post: Post, at: datetime | None, now: datetime, values: Values) -> Post:
        """The post rendered, priced and inspected, findings noted; to go out `at`, or a draft.

        Raises NotFound (MEDIA_NOT_FOUND), and unless it is a draft InvalidArgument (TEMPLATE_FAILED) and FailedPrecondition
        (POLICY_VIOLATION) with the first error. A draft stays unrendered.
        """
        if at is None:
            sketch = await self.sketched(bot, post, now, values)
            return (await self.prospects(bot, [(sketch, None)], now))[0]
        return _accepted(await self.prospect(bot, post, at, now, values), at)

    async def still_ready(self, bot: Bot, post: Post, at: datetime | None, now: datetime) -> Post:
        """As `ready` for a post that is sent as it was rendered: what it was rendered with is not known any more, or was approved."""
        await self.shelf.check(bot, post)
        return _accepted(await self._inspected(bot, post, at, now), at)

    async def prospect(
        self, bot: Bot, post: Post, at: datetime | None, now: datetime, values: Values
    ) -> Post:
        """As `ready`, but nothing found refuses it."""
        return await self._inspected(bot, await self.rendered(bot, post, at, now, values), at, now)

    async def prospects(self, bot: Bot, rendered: Sequence[Planned], now: datetime) -> list[Post]:
        """As `prospect` for posts that are to be stored together: those that `rendered` has seen, and drafts that `sketched` has seen."""
        whole = [planned for planned in rendered if not planned[0].findings]
        found, prices = await self.inspector.inspect_all(bot, whole, now), await self.inspector.prices(bot)
        seen = {
            post.id: _told(post, findings, prices) for (post, _), findings in zip(whole, found, strict=True)
        }
        return [_stored(seen.get(post.id, post), at) for post, at in rendered]

    async def rendered(
        self, bot: Bot, post: Post, at: datetime | None, now: datetime, values: Values
    ) -> Post:
        """The post with its media found, its templates rendered and nothing found yet.

        Raises NotFound (MEDIA_NOT_FOUND), InvalidArgument (TEMPLATE_FAILED).
        """
        await self.shelf.check(bot, post)
        return self.composer.compose(bot, replace(post, findings=()), at or now, values)

    async def sketched(self, bot: Bot, post: Post, now: datetime, values: Values) -> Post:
        """As `rendered` for a draft, as if it went out now. A template that fails is found and not refused: what it lacks may come with
        the draft's time.
        """
        try:
            return await self.rendered(bot, post, None, now, values)
        except InvalidArgument as error:
            if error.reason != "TEMPLATE_FAILED":
                raise
            part = int(error.metadata.get("part", WHOLE_POST))
            finding = Finding(PolicyRule.TEMPLATE, Severity.ERROR, error.message, part, "text")
            return replace(post, findings=(finding,))

    async def _inspected(self, bot: Bot, post: Post, at: datetime | None, now: datetime) -> Post:
        found = await self.inspector.inspect(bot, post, at, now)
        return _told(post, found, await self.inspector.prices(bot))


def _told(post: Post, findings: Sequence[Finding], prices: PriceTable) -> Post:
    cost = sum(prices.part(post, part) for part in post.parts)
    return replace(post, findings=tuple(findings), cost_usd_micros=cost)


def _stored(post: Post, at: datetime | None) -> Post:
    """A draft is rendered when it gets a time."""
    if at is not None:
        return post
    return replace(post, parts=tuple(replace(part, rendered_text="") for part in post.parts))


def _accepted(post: Post, at: datetime | None) -> Post:
    if at is not None:
        refuse(post.findings, single=len(post.parts) == 1)
    return post


def refuse(findings: Sequence[Finding], *, single: bool = False) -> None:
    """Raises FailedPrecondition (POLICY_VIOLATION) for the first finding that is an error. `single`: the post has one part."""
    for finding in findings:
        if finding.severity is Severity.ERROR:
            place = "" if single or finding.part_index < 0 else f"parts[{finding.part_index}]."
            raise FailedPrecondition(
                "POLICY_VIOLATION",
                finding.message,
                field=f"post.{place}{finding.field}".rstrip("."),
                metadata={"rule": finding.rule.value},
            )
