"""When a look at an account settles a post of unknown outcome, and when the next look is. Pure: times are arguments.

A look is clean if X answered with everything since the call began, so that what is missing counts as missing. The settle window begins
when the last call's outcome was lost. Looks come after `first`, then each time four times as late, the last at the window's end. Then:

    found                                       adopted, whenever it is found, however the look was
    nothing, over the whole window              at least LEAST_CLEAN clean looks, the last of them begun after the window's end:
        the bot's policy is SEND_AGAIN          it goes out again, unless X called it a duplicate or `max_attempts` calls were lost
        otherwise                               a person decides
    anything else                               another look; after the window at growing pauses, for as long as it takes

A look that failed counts for nothing: time alone settles no post. X that calls a text a duplicate and does not show it contradicts
itself; sending again would bring the same answer for ever, so a person has to look.

Two parts with the same text, one bot. What X shows is the same for both, so it does not matter which of them a found post is taken for,
as long as none is taken twice and no part goes out again while one is left that could be its own. That holds because posts of one bot
are settled one after the other, each takes the earliest that is free, a post on X belongs to one part by a unique index, and
because a part with the same text that is being sent this moment holds the others up: its answer will name its own. A part looks
back `reach` before its call, at least the whole window, so that a post that was shown late is never too old for the last of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from services.bot_manager.domain.model import AttemptOutcome, Bot

LEAST_CLEAN: Final = 2
SKEW: Final = timedelta(minutes=10)
"""How far X's clock and ours may differ."""
WIDER: Final = 4
LONGEST_PAUSE: Final = timedelta(hours=1)
"""Between looks that fail after the window; never shorter than the window itself."""
SHORTEST_PAUSE: Final = timedelta(milliseconds=100)
SEND_AGAIN_POLICY: Final = "UNKNOWN_OUTCOME_POLICY_SEND_AGAIN"
OPEN: Final = (None, AttemptOutcome.UNKNOWN, AttemptOutcome.DUPLICATE)
"""Outcomes of calls after which X may have the part."""


@dataclass(frozen=True, slots=True)
class Window:
    """The settle window: `length` after an outcome was lost, `first` until the first look."""

    first: timedelta
    length: timedelta

    @property
    def reach(self) -> timedelta:
        """How long before a call a post may have been made, by X's clock, and still be its own."""
        return max(SKEW, self.length)

    def marks(self) -> list[timedelta]:
        """When the account is looked at after an outcome was lost."""
        found, mark = [], self.first
        while timedelta() < mark < self.length:
            found.append(mark)
            mark *= WIDER
        return [*found, self.length]


@dataclass(frozen=True, slots=True)
class Lost:
    """One call for the part: `end_time` is when its outcome was written, by the database's clock."""

    start_time: datetime
    end_time: datetime
    outcome: AttemptOutcome | None


@dataclass(frozen=True, slots=True)
class History:
    """The calls for the part after which X may have it, in order, and the looks since the last of them."""

    calls: Sequence[Lost]
    looks: int = 0
    clean_looks: int = 0

    @property
    def start_time(self) -> datetime:
        """When the first of the calls began, by its worker's clock."""
        return self.calls[0].start_time

    def settle_time(self, window: Window) -> datetime:
        """When the settle window ends, by the database's clock."""
        return self.calls[-1].end_time + window.length


class Next(StrEnum):
    """What follows from a look that found nothing."""

    LOOK = "LOOK"
    SEND_AGAIN = "SEND_AGAIN"
    ASK = "ASK"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`pause` until the next look, of LOOK; `message` for people."""

    next: Next
    message: str
    pause: timedelta | None = None


def judge(bot: Bot, history: History, clean: bool, began: datetime, window: Window, max_lost: int) -> Verdict:
    """What follows from one more look that found nothing. `began` is when the look did, by the database's clock."""
    clean_looks = history.clean_looks + clean
    elapsed = began - history.calls[-1].end_time
    if not clean or elapsed < window.length or clean_looks < LEAST_CLEAN:
        told = "nothing of it is on the account so far" if clean else "the account could not be read fully"
        return Verdict(Next.LOOK, told, _pause(history.looks + 1, elapsed, clean, window))
    if history.calls[-1].outcome is AttemptOutcome.DUPLICATE:
        told = "X says that the account has this text already, and does not show it; a person decides with ResolvePost"
        return Verdict(Next.ASK, told)
    told = f"X does not show it after {clean_looks} complete reads of the account"
    if (bot.policy or {}).get("unknown_outcome") != SEND_AGAIN_POLICY:
        return Verdict(Next.ASK, f"{told}; a person decides with ResolvePost")
    if len(history.calls) >= max_lost:
        lost = f"{len(history.calls)} calls were lost"
        return Verdict(Next.ASK, f"{told}, and {lost}; a person decides with ResolvePost")
    return Verdict(Next.SEND_AGAIN, f"{told}; it goes out again")


def _pause(looks: int, elapsed: timedelta, clean: bool, window: Window) -> timedelta:
    """Until the next mark of the window; after its end soon where only a second clean look is missing, else longer each time."""
    marks = window.marks()
    ahead = next((mark for mark in marks if mark > elapsed), None)
    if ahead is not None:
        return max(ahead - elapsed, SHORTEST_PAUSE)
    if clean:
        return max(marks[0], SHORTEST_PAUSE)
    beyond = min(max(looks - len(marks), 0), 16)
    most = max(window.length, LONGEST_PAUSE)
    return max(min(marks[0] * (1 << beyond), most), SHORTEST_PAUSE)
