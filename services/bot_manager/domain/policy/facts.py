"""What the policy checks know of a post, and what they tell. Gathered elsewhere; what is not known is empty and checked by nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from services.bot_manager.domain.model import WHOLE_POST, Bot, Part, PartState, PolicyRule, Post
from services.bot_manager.domain.text import MAX_CODE_POINTS, MAX_WEIGHT

ENTERPRISE: Final = "ENTERPRISE"
READY: Final = "READY"


class Medium(Protocol):
    """What the checks need of a medium. `kind` is a name of the contract's MediaKind, `state` one of its MediaState."""

    @property
    def kind(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def has_alt_text(self) -> bool: ...


class PriceTable(Protocol):
    """What X charges the app of a bot."""

    def part(self, post: Post, part: Part) -> int:
        """One part of a post, in millionths of a US dollar."""
        ...


@dataclass(frozen=True, slots=True)
class Likeness:
    """Another post that may say the same as part `part_index`. `ours`: of the same bot; `same`: found by the key of the whole text."""

    part_index: int
    post_id: str
    ours: bool
    same: bool
    time: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings that the checks are made with. `cool_down`: how long a bot does not repeat itself, unless its policy says otherwise."""

    cool_down: timedelta = timedelta(hours=12)
    other_bots: timedelta = timedelta(days=7)
    """How long a bot does not repeat another."""
    threshold: float = 0.8
    """From this similarity on, texts are near-duplicates."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One post to be checked. `bot` is None where only what needs no bot is asked."""

    post: Post
    now: datetime
    bot: Bot | None = None
    at: datetime | None = None
    """When it is to go out; None for a draft."""
    limits: Limits = Limits()
    media: Mapping[str, Medium] = field(default_factory=dict)
    """By id. One that is missing is not known, and not checked."""
    tier: str = ""
    """Of the app at X, a name of the contract's AppTier; empty if not known."""
    prices: PriceTable | None = None
    replies_to_own: bool = False
    likenesses: Sequence[Likeness] = ()
    silent_until: datetime | None = None
    """End of the black-out window that `at` lies in."""
    nearest: datetime | None = None
    """The time of another post of the bot that is closer to `at` than its policy allows."""
    budget: str = ""
    """Which budget the cost goes beyond, in a sentence; empty if none."""

    @property
    def parts(self) -> Sequence[Part]:
        """What is still to be sent."""
        return [part for part in self.post.parts if part.state is not PartState.PUBLISHED]


@dataclass(frozen=True, slots=True)
class Remark:
    """What a check tells, before it is weighed. Not `certain`: it may be all right, so it never refuses the post."""

    rule: PolicyRule
    message: str
    part_index: int = WHOLE_POST
    field: str = ""
    other_post_id: str = ""
    certain: bool = True


def max_weight(bot: Bot | None) -> int:
    """The greatest weighted length that the account may send."""
    return MAX_CODE_POINTS if bot is not None and (bot.policy or {}).get("long_posts") else MAX_WEIGHT


def cool_down(bot: Bot | None, limits: Limits) -> timedelta:
    """How long the bot does not repeat a text: its policy's word, else the setting's."""
    return duration_of(bot, "repeat_cool_down", limits.cool_down)


def duration_of(bot: Bot | None, name: str, default: timedelta) -> timedelta:
    """A duration of the bot's policy."""
    text = ((bot.policy if bot else None) or {}).get(name)
    return default if text is None else timedelta(seconds=float(str(text).removesuffix("s")))
