"""Proves an exported audit chain with nothing but the file: no network, no running mesh.

The file is read twice, a line at a time: first what was signed (tombstones, checkpoints), then the events in their order. Of the events a
few hundred are held at once, of each checkpoint its number and hash. What is broken first is told; what is merely unreadable counts as
altered, since it was written readable.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.audit_file import VERSION, BadLine, Line, event_from, lines_of, read
from cli.errors import CliError
from services.logging.domain.notes import (
    BadNote,
    Statement,
    VerifierKey,
    origin,
    read_key,
    read_note,
    read_statement,
)
from services.logging.domain.verifying import (
    Defect,
    DefectKind,
    Start,
    Walk,
    bad_signature,
    first,
    forked,
    truncated,
)


class BadFile(CliError):
    """Something that is no export at all, or cannot be used as one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the proof."""

    chain: str
    defect: Defect | None
    first: int
    last: int
    last_hash: bytes
    events: int
    erased: int
    checkpoints: int
    tombstones: int
    keys: Sequence[VerifierKey]
    """Those that signatures were held against."""


@dataclass(slots=True)
class _Signed:
    """What the file's signed lines say."""

    chain: str = ""
    keys: Sequence[VerifierKey] = ()
    start: Start = field(default_factory=Start)
    checkpoints: dict[int, set[bytes]] = field(default_factory=dict)
    checkpoint_count: int = 0
    tombstone_count: int = 0
    events_before: int = 0
    """Event lines in front of the one that is being read."""
    told: dict[str, Any] | None = None
    """The last line, with how many of each there should be."""
    defect: Defect | None = None
    bad_tombstone: Defect | None = None
    """Without a tombstone that holds nobody knows where the chain begins."""

    @property
    def place(self) -> int:
        """The event that would stand where the file is being read."""
        return self.start.sequence + self.events_before

    def accuse(self, defect: Defect) -> None:
        """Remember what comes first."""
        self.defect = first(self.defect, defect)


def verify(path: Path, keys: Sequence[str] = (), notes: Iterable[str] = ()) -> Verdict:
    """Prove the chain in a file, and that it leads through the checkpoints in `notes`.

    Signatures are held against `keys`; without any, against those that the file itself names. Raises BadFile, OSError.
    """
    signed = _read_signed(path, _keys(keys))
    for note in notes:
        _take_note(signed, note)
    walk, forks, erased = _walk(path, signed)
    defect = _decide(signed, walk, forks)
    return Verdict(
        chain=signed.chain,
        defect=defect,
        first=signed.start.sequence if walk.count else 0,
        last=walk.last_sequence if walk.count else 0,
        last_hash=walk.last_hash or b"",
        events=walk.count,
        erased=erased,
        checkpoints=signed.checkpoint_count,
        tombstones=signed.tombstone_count,
        keys=signed.keys,
    )


def _keys(texts: Iterable[str]) -> list[VerifierKey]:
    try:
        return [read_key(text.strip()) for text in texts]
    except BadNote as error:
        raise BadFile(f"not a verifier key: {error}") from None


def _read_signed(path: Path, keys: Sequence[VerifierKey]) -> _Signed:
    lines = lines_of(path)
    signed = _Signed()
    _read_header(next(lines, Line(1, b"")), keys, signed)
    for line in lines:
        if line.is_event:
            signed.events_before += 1
            continue
        try:
            _read_other(read(line), line, signed)
        except BadLine as error:
            signed.accuse(_unreadable(error, signed.place))
    return signed


def _read_header(line: Line, keys: Sequence[VerifierKey], signed: _Signed) -> None:
    try:
        item = read(line)
    except BadLine as error:
        raise BadFile(f"this is no audit export: {error}") from None
    named = item.get("verifier_keys")
    if (
        item.get("kind") != "audit-export"
        or not isinstance(named, list)
        or not all(isinstance(text, str) for text in named)
    ):
        raise BadFile("this is no audit export: its first line does not say so")
    if item.get("version") != VERSION:
        raise BadFile("this export is of a version that this program does not know")
    signed.chain = str(item.get("chain"))
    signed.keys = tuple(keys or _keys(named))
    if any(key.name != origin(signed.chain) for key in signed.keys):
        raise BadFile(f"the verifier key is not that of the chain {signed.chain}")


def _read_other(item: dict[str, Any], line: Line, signed: _Signed) -> None:
    kind, note = item["kind"], item.get("note")
    if signed.told is not None:
        raise BadLine(f"line {line.number} stands behind the end")
    if kind == "end" and set(item) == {"kind", "events", "tombstones", "checkpoints"}:
        signed.told = item
    elif kind in ("tombstone", "checkpoint") and isinstance(note, str) and len(item) == len(("kind", "note")):
        _take_statement(signed, kind, note)
    else:
        raise BadLine(f"line {line.number} is of a kind that an export does not have")


def _take_statement(signed: _Signed, kind: str, note: str) -> None:
    removed = kind == "tombstone"
    statement, trusted = _statement(signed, note)
    if removed:
        signed.tombstone_count += 1
    else:
        signed.checkpoint_count += 1
    if statement is None or not trusted or statement.removed is not removed:
        defect = bad_signature(statement.sequence if statement else signed.place, kind)
        signed.accuse(defect)
        if removed and signed.bad_tombstone is None:
            signed.bad_tombstone = defect
    elif removed:
        signed.start = Start(statement.sequence + 1, statement.hash)
    else:
        signed.checkpoints.setdefault(statement.sequence, set()).add(statement.hash)


def _take_note(signed: _Signed, text: str) -> None:
    """A checkpoint that the caller kept."""
    try:
        read_statement(read_note(text))
    except BadNote as error:
        raise BadFile(f"a checkpoint that was given is none: {error}") from None
    _take_statement(signed, "checkpoint", text)
    signed.checkpoint_count -= 1  # it is no line of the file


def _statement(signed: _Signed, text: str) -> tuple[Statement | None, bool]:
    """What a note says, and whether the chain's key says it."""
    try:
        note = read_note(text)
        statement = read_statement(note)
    except BadNote:
        return None, False
    return statement, statement.chain == signed.chain and note.signed_by(signed.keys)


def _walk(path: Path, signed: _Signed) -> tuple[Walk, list[Defect], int]:
    """Along the events; also the first place where it disagrees with a checkpoint, and how many were erased."""
    walk = Walk(signed.start, signed.chain)
    forks: list[Defect] = []
    erased = 0
    for line in lines_of(path):
        if not line.is_event or walk.decided:
            continue
        before = walk.last_sequence
        try:
            event = event_from(line)
        except BadLine as error:
            broken = walk.finish() or _unreadable(error, before + 1)
            return walk, [*forks, broken], erased
        walk.feed([event])
        if walk.last_sequence > before:
            erased += event.erased
            said = signed.checkpoints.get(event.sequence, {event.hash}) - {event.hash}
            if said and not forks:
                forks.append(forked(event.sequence, min(said), event.hash, event_id=event.event.id))
    return walk, forks, erased


def _decide(signed: _Signed, walk: Walk, forks: Sequence[Defect]) -> Defect | None:
    if signed.bad_tombstone is not None:
        return signed.bad_tombstone
    broken = walk.finish()
    before = signed.start.sequence - 1
    removed = signed.start.hash or b""
    wrong = signed.checkpoints.get(before, {removed}) - {removed}
    if wrong:
        forks = [forked(before, removed, min(wrong), "the tombstone before it"), *forks]
    newest = max(signed.checkpoints, default=0)
    cut = None
    if broken is None and newest > walk.last_sequence:
        cut = truncated(walk.last_sequence, newest, min(signed.checkpoints[newest]))
    return first(signed.defect, broken, *forks, cut) or _incomplete(signed, walk)


def _incomplete(signed: _Signed, walk: Walk) -> Defect | None:
    """The last line says how much there must be."""
    counts = (walk.count, signed.tombstone_count, signed.checkpoint_count)
    told = signed.told or {}
    if counts == (told.get("events"), told.get("tombstones"), told.get("checkpoints")):
        return None
    message = (
        "The file is not complete: it has not as many lines as its last line says, or that line is missing."
    )
    return Defect(DefectKind.TRUNCATED, walk.last_sequence + 1, message)


def _unreadable(error: BadLine, sequence: int) -> Defect:
    return Defect(DefectKind.ALTERED, sequence, f"The file was altered: {error}.")
