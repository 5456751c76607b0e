"""Where a watcher may go on from: never a silent gap."""

from datetime import UTC, datetime

import pytest

from mesh.errors import OutOfRange
from services.configuration.domain.changes import Head
from services.configuration.domain.position import Lost, Start, lost, start_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEAD = Head(revision=50, history_id="mine", oldest_revision=10, commit_time=NOW, read_time=NOW)


@pytest.mark.parametrize(
    ("revision", "history", "expected"),
    [
        (0, "", Start.SNAPSHOT),
        (0, "other", Start.SNAPSHOT),
        (10, "mine", Start.RESUME),
        (50, "mine", Start.RESUME),
        (50, "", Start.RESUME),
        (51, "mine", Start.RESYNC),
        (51, "", Start.RESYNC),
        (20, "other", Start.RESYNC),
        (5, "other", Start.RESYNC),
    ],
)
def test_each_start(revision: int, history: str, expected: Start) -> None:
    """A revision of another history names other changes, even if the number exists here too."""
    assert start_of(HEAD, revision, history) is expected


def test_compacted_revisions_are_told_with_the_oldest_kept() -> None:
    """etcd's compact_revision: the watcher takes a snapshot instead of missing something."""
    with pytest.raises(OutOfRange) as refused:
        start_of(HEAD, 9, "mine")
    assert refused.value.reason == "REVISION_COMPACTED"
    assert refused.value.metadata["oldestRevision"] == "10"


def test_in_mid_stream_the_same_holds() -> None:
    """A restore or a compaction may overtake a slow watcher."""
    assert lost(HEAD, 10, "mine") is None
    assert lost(HEAD, 9, "mine") is Lost.TOO_SLOW
    assert lost(HEAD, 51, "mine") is Lost.HISTORY_REPLACED
    assert lost(HEAD, 20, "other") is Lost.HISTORY_REPLACED
