"""What the policy checks ask of the rest of the service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from services.bot_manager.domain.model import Bot, Post
from services.bot_manager.domain.policy.facts import Likeness, Medium, PriceTable


@dataclass(frozen=True, slots=True)
class Likes:
    """A question for what is like one part. The first of `keys` is that of the whole text.

    `ahead`: only posts that were made before this one, or that X has or may be hearing of, so that of two that say the same one gives way.
    """

    post_id: str
    bot_id: str
    part_index: int
    keys: Sequence[int]
    time: datetime
    own_window: timedelta
    other_window: timedelta
    ahead: bool = False


class Likenesses(Protocol):
    """What was said before, and will be."""

    async def find(self, asked: Sequence[Likes]) -> Sequence[Sequence[Likeness]]:
        """A few posts for each question, those with the same text first. One query for all."""
        ...


class Surroundings(Protocol):
    """What stands around a post."""

    async def is_own(self, bot_id: str, x_post_id: str) -> bool:
        """Whether the post on X is one that this bot published here."""
        ...

    async def times(self, bot_id: str, begin: datetime, end: datetime, but: str) -> Sequence[datetime]:
        """When other posts of the bot than `but` went out or are to go out, after `begin` and before `end`, in order, at most 10,000."""
        ...


class Media(Protocol):
    """Media, as the checks see them."""

    async def facts(self, ids: Sequence[str]) -> Mapping[str, Medium]:
        """By id; those that are not known are left out."""
        ...


class Prices(Protocol):
    """What X charges."""

    async def table(self, bot: Bot) -> PriceTable:
        """For posts of the bot: its app's prices, else those of the settings."""
        ...


class Apps(Protocol):
    """The app that a bot uses."""

    async def tier(self, app_id: str) -> str:
        """A name of the contract's AppTier; empty if not known."""
        ...


class Budgets(Protocol):
    """What is left of the money."""

    async def excess(self, bot: Bot, post: Post, at: datetime) -> str:
        """Which budget the post would go beyond, in a sentence for people; empty if none."""
        ...


class Windows(Protocol):
    """When a bot is silent."""

    def __call__(self, bot: Bot, at: datetime) -> datetime | None:
        """When the black-out window ends that `at` lies in; None if it lies in none."""
        ...
