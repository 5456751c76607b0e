"""Where a watcher stands in the history, and whether it can go on from there. Never a silent gap: it goes on, or it is told.

from_revision 0                     snapshot
another history, or past the head   resync (HISTORY_REPLACED): the database was restored
older than what is kept             OUT_OF_RANGE with the oldest revision kept
otherwise                           resume after from_revision
"""

from enum import Enum

from mesh.errors import OutOfRange
from services.configuration.domain.changes import Head


class Start(Enum):
    """How a stream begins."""

    SNAPSHOT = "snapshot"
    RESUME = "resume"
    RESYNC = "resync"


class Lost(Enum):
    """Why a watcher cannot go on."""

    TOO_SLOW = "too_slow"
    HISTORY_REPLACED = "history_replaced"


def start_of(head: Head, from_revision: int, history_id: str) -> Start:
    """How to serve a watcher that has applied `from_revision`. Raises OutOfRange (REVISION_COMPACTED)."""
    if from_revision == 0:
        return Start.SNAPSHOT
    if _of_another_history(head, from_revision, history_id):
        return Start.RESYNC
    require_kept(head, from_revision)
    return Start.RESUME


def lost(head: Head, position: int, history_id: str) -> Lost | None:
    """Whether a watcher in mid-stream at `position` can no longer go on, and why."""
    if _of_another_history(head, position, history_id):
        return Lost.HISTORY_REPLACED
    return Lost.TOO_SLOW if position < head.oldest_revision else None


def require_kept(head: Head, revision: int) -> None:
    """Raises OutOfRange (REVISION_COMPACTED) unless the revisions after `revision` are kept and it has been made."""
    if not head.oldest_revision <= revision <= head.revision:
        raise not_kept(head, revision)


def not_kept(head: Head, revision: int) -> OutOfRange:
    """The answer to a revision that cannot be gone on from, with the oldest that can."""
    return OutOfRange(
        "REVISION_COMPACTED",
        f"revision {revision} was not made yet"
        if revision > head.revision
        else f"revision {revision} is no longer kept",
        metadata={"oldestRevision": str(head.oldest_revision), "revision": str(head.revision)},
    )


def _of_another_history(head: Head, position: int, history_id: str) -> bool:
    return bool(history_id and history_id != head.history_id) or position > head.revision
