"""What a file of posts says among itself, as far as it has been read: a row repeats an earlier one as it repeats a stored post."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from services.bot_manager.domain.model import Post
from services.bot_manager.domain.policy.facts import Likeness
from services.bot_manager.domain.policy.fingerprints import Fingerprint

MOST_ALIKE = 8
"""Earlier rows that are compared for one key."""


class Neighbourhood:
    """Times and texts of the posts so far. `times` are those of stored posts, in order."""

    def __init__(self, times: Iterable[datetime] = ()) -> None:
        self._times = list(times)
        self._texts: dict[int, list[tuple[str, datetime, str]]] = {}

    def add(self, post: Post, at: datetime, prints: Sequence[tuple[int, Fingerprint]]) -> None:
        """A post that is to be stored."""
        insort(self._times, at)
        for index, made in prints:
            for key in made.keys:
                known = self._texts.setdefault(key, [])
                if len(known) < MOST_ALIKE:
                    known.append((post.id, at, post.parts[index].sent_text))

    def alike(self, prints: Sequence[tuple[int, Fingerprint]]) -> list[Likeness]:
        """Posts that were added and share a key, those with the same text first."""
        found: dict[tuple[int, str, str], Likeness] = {}
        for index, made in prints:
            for key in made.keys:
                for post_id, time, text in self._texts.get(key, ()):
                    one = Likeness(index, post_id, ours=True, same=key == made.exact, time=time, text=text)
                    found.setdefault((index, post_id, text), one)
        return sorted(found.values(), key=lambda one: not one.same)

    def nearest(self, at: datetime, interval: timedelta) -> datetime | None:
        """The time that is closest to `at`, if closer than `interval`."""
        place = bisect_left(self._times, at)
        close = [time for time in self._times[max(0, place - 1) : place + 1] if abs(time - at) < interval]
        return min(close, key=lambda time: abs(time - at), default=None)
