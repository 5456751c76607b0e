"""What the watch promises, checked on what a watcher has seen. Knows nothing of how it was sent.

    ordered       later revisions come later
    unique        no revision comes twice, also across streams
    reliable      no revision between two that came is missing
    atomic        a revision comes whole: each of its changes, and no other
    resumable     a stream that begins after a revision goes on with the next one
    bookmarked    a bookmark names the newest revision that was sent, never one ahead of it

and a snapshot is the state at its revision. The truth is given: what each revision changed, by a model that the server never sees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from google.protobuf import json_format

from vivesphere.configuration.v1 import watch_pb2, watch_service_pb2

Thing: TypeAlias = tuple[str, str]
"""("setting" | "role" | "binding", its key or id)."""
State: TypeAlias = Mapping[Thing, Any]
Changes: TypeAlias = Mapping[Thing, Any]
"""What each thing is after the revision; None: gone."""


@dataclass
class Stream:
    """What came on one stream that began after revision `start` (0: with a snapshot)."""

    start: int
    events: list[watch_service_pb2.WatchResponse] = field(default_factory=list)


class Truth:
    """What was really changed, by revision."""

    def __init__(self) -> None:
        self.revisions: list[Changes] = []
        self._states: list[State] = [{}]

    @property
    def head(self) -> int:
        """Number of the newest revision."""
        return len(self.revisions)

    def add(self, changes: Changes) -> None:
        """The next revision."""
        self.revisions.append(dict(changes))
        after = {**self._states[-1], **changes}
        self._states.append({thing: value for thing, value in after.items() if value is not None})

    def state(self, revision: int) -> State:
        """Everything at a revision."""
        return self._states[revision]


def check(truth: Truth, streams: Sequence[Stream]) -> None:
    """Hold all streams of one watcher, in their order, against the promises. Raises AssertionError naming the broken one."""
    position = 0
    for stream in streams:
        assert stream.start in (0, position) or position == 0, "the watcher itself went astray"
        position = _check_stream(truth, stream, position)


def _check_stream(truth: Truth, stream: Stream, before: int) -> int:
    sent = stream.start
    parts: dict[Thing, Any] = {}
    snapshot_due = stream.start == 0
    for event in stream.events:
        match event.WhichOneof("event"):
            case "snapshot":
                assert snapshot_due, "a snapshot that nobody asked for"
                parts |= snapshot_state(event.snapshot)
                if not event.snapshot.more:
                    sent, snapshot_due = event.snapshot.revision, False
                    assert sent >= before, "ordered: a snapshot older than what was seen"
                    assert parts == truth.state(sent), "the snapshot is another state"
            case "transaction":
                revision = event.transaction.revision
                assert not snapshot_due, "a transaction before the snapshot"
                assert revision > sent, f"ordered and unique: {revision} after {sent}"
                assert revision == sent + 1, f"reliable and resumable: {revision} after {sent}"
                changes = transaction_changes(event.transaction)
                assert len(changes) == len(event.transaction.changes), "atomic: a thing twice in one revision"
                assert changes == truth.revisions[revision - 1], f"atomic: revision {revision} is another"
                sent = revision
            case "bookmark":
                assert not snapshot_due, "a bookmark before the snapshot"
                assert event.bookmark.revision == sent, f"bookmarked: {event.bookmark.revision} after {sent}"
            case "resync":
                assert event == stream.events[-1], "something after a resync"
                return 0
    return 0 if snapshot_due else sent


def snapshot_state(snapshot: watch_pb2.PolicySnapshot) -> dict[Thing, Any]:
    """What a part of a snapshot says there is."""
    state: dict[Thing, Any] = {}
    for setting in snapshot.settings:
        state["setting", setting.key] = plain(setting)
    for role in snapshot.roles:
        state["role", role.id] = tuple(role.permissions)
    for binding in snapshot.role_bindings:
        state["binding", binding.id] = (binding.subject, binding.role_id, binding.bot_id)
    return state


def transaction_changes(transaction: watch_pb2.PolicyTransaction) -> dict[Thing, Any]:
    """What a transaction says has changed."""
    changes: dict[Thing, Any] = {}
    for change in transaction.changes:
        match change.WhichOneof("change"):
            case "setting":
                changes["setting", change.setting.key] = plain(change.setting)
            case "removed_setting_key":
                changes["setting", change.removed_setting_key] = None
            case "role":
                changes["role", change.role.id] = tuple(change.role.permissions)
            case "removed_role_id":
                changes["role", change.removed_role_id] = None
            case "role_binding":
                binding = change.role_binding
                changes["binding", binding.id] = (binding.subject, binding.role_id, binding.bot_id)
            case "removed_role_binding_id":
                changes["binding", change.removed_role_binding_id] = None
    return changes


def plain(setting: watch_pb2.EffectiveSetting) -> Any:
    """A value as JSON, whether it is sensitive, and the revision that it dates from."""
    return json_format.MessageToDict(setting.value), setting.sensitive, setting.revision
