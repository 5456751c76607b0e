"""What processes print becomes records: one a line, folded where lines belong together, without secrets, whatever the bytes are."""

import json
import os
import traceback
from collections.abc import Iterable

import protovalidate
import pytest

from cli.terminal import MAX_LINE_BYTES, Line, Lines, LineSplitter
from cli.terminal_shipping import MAX_BODY_BYTES, MAX_FOLDED_LINES, Folding
from tests.unit.mesh.canaries import leaks, make_canaries
from vivesphere.logging.v1 import log_record_pb2

SEED = int.from_bytes(os.urandom(4)) if os.environ.get("VIVESPHERE_TEST_PROFILE") == "long" else 7


def folded(
    lines: Iterable[bytes], source: str = "postgres", ship: Iterable[str] = ()
) -> list[log_record_pb2.LogRecord]:
    """The records of one child that printed these lines to its standard error."""
    folding = Folding(list(ship))
    records: list[log_record_pb2.LogRecord] = []
    for line in lines:
        records += folding.add(Line(source, 17, "stderr", line, 0, 1_000), 1.0)
    records += folding.finish(1.0)
    for record in records:
        protovalidate.validate(record)
    return records


def bodies(records: Iterable[log_record_pb2.LogRecord]) -> list[str]:
    return [record.body for record in records]


def split(chunks: Iterable[bytes]) -> tuple[bytes, list[tuple[bytes, int]]]:
    pieces: list[bytes] = []
    lines: list[tuple[bytes, int]] = []
    splitter = LineSplitter(pieces.append, lambda text, cut: lines.append((text, cut)))
    for chunk in chunks:
        splitter.feed(chunk)
    splitter.close()
    return b"".join(pieces), lines


def test_a_line_is_a_record_of_its_process() -> None:
    """Whoever looks for what PostgreSQL said looks for the service postgres."""
    first, second = folded([b"LOG:  starting", b"", b"LOG:  ready\r"])
    assert (first.body, second.body) == ("LOG:  starting", "LOG:  ready")
    assert first.category == log_record_pb2.LOG_CATEGORY_TERMINAL
    assert first.severity == log_record_pb2.SEVERITY_UNSPECIFIED
    assert (first.service, first.instance.rpartition("/")[2]) == ("postgres", "17")
    assert first.attributes["log.iostream"] == "stderr"
    assert first.id < second.id


def failing() -> None:
    try:
        try:
            int("x")
        except ValueError as error:
            raise KeyError("y") from error
    except KeyError:
        raise OSError("z")  # noqa: B904 - the context is the case


def test_a_traceback_with_its_causes_is_one_record() -> None:
    """Forty records of one exception hide every other."""
    try:
        failing()
    except OSError as error:
        told = traceback.format_exception(error)
    lines = "".join(told).encode().split(b"\n")
    assert bodies(folded([b"before", *lines, b"after"])) == ["before", "".join(told).rstrip(), "after"]


def raise_group() -> None:
    raise ExceptionGroup("many", [ValueError("a"), KeyError("b")])


def test_an_exception_group_is_one_record() -> None:
    """Task groups raise them."""
    try:
        raise_group()
    except ExceptionGroup as error:
        told = "".join(traceback.format_exception(error))
    assert bodies(folded([b"before", *told.encode().split(b"\n"), b"after"])) == [
        "before",
        told.rstrip(),
        "after",
    ]


def test_indented_lines_belong_to_the_one_before() -> None:
    """PostgreSQL writes statements so."""
    assert bodies(folded([b"STATEMENT:  select", b"\tfrom x", b"   where y", b"LOG:  next"])) == [
        "STATEMENT:  select\n\tfrom x\n   where y",
        "LOG:  next",
    ]


def test_a_fold_is_bounded_in_lines_bytes_and_age() -> None:
    """A process that prints indented lines for ever must not fill the memory."""
    by_lines = folded([b"a", *[b" b"] * (MAX_FOLDED_LINES * 2)])
    assert [len(body.split("\n")) for body in bodies(by_lines)] == [MAX_FOLDED_LINES, MAX_FOLDED_LINES, 1]
    by_bytes = folded([b"a", *[b" " + b"b" * 20_000] * 10])
    assert all(len(body) <= MAX_BODY_BYTES for body in bodies(by_bytes))
    folding = Folding([])
    assert list(folding.add(Line("x", 1, "stdout", b"a", 0, 1), 1.0)) == []
    assert list(folding.finish(0.5)) == []
    assert bodies(folding.finish(1.0)) == ["a"]
    assert list(folding.finish(9.0)) == []


def test_streams_and_processes_are_folded_apart() -> None:
    """Both pipes of a process speak at once."""
    folding = Folding([])
    records = list(folding.add(Line("x", 1, "stdout", b"out", 0, 1), 1.0))
    records += folding.add(Line("x", 1, "stderr", b"error", 0, 1), 1.0)
    records += folding.add(Line("x", 1, "stdout", b" more out", 0, 1), 1.0)
    records += folding.add(Line("y", 2, "stderr", b" more", 0, 1), 1.0)
    records += folding.finish(1.0)
    assert sorted(bodies(records)) == [" more", "error", "out\n more out"]


OWN = {
    "time": "2026-01-01",
    "severity": "WARNING",
    "body": "post waits",
    "service": "gateway",
    "instance": "gateway-1",
}


def test_lines_that_a_service_ships_itself_are_left_out() -> None:
    """They are in the store already, with more than the line tells."""
    line = json.dumps(OWN, separators=(",", ":")).encode()
    assert bodies(folded([b"plain", line, b"plain"], "gateway", ["gateway"])) == ["plain", "plain"]
    (record,) = folded([line], "gateway")
    assert (record.body, record.severity_text) == ("post waits", "WARNING")
    assert record.severity == log_record_pb2.SEVERITY_WARN


@pytest.mark.parametrize(
    "line",
    [
        json.dumps({**OWN, "service": "authentication"}, separators=(",", ":")).encode(),
        b'{"time":"' + b"[" * 30_000,
        b'{"time":"x"}',
        b'{"time":"x","severity":1,"body":2,"service":"gateway","instance":3,"attributes":[]}',
    ],
)
def test_a_line_that_only_looks_like_ours_is_kept(line: bytes) -> None:
    """Otherwise a process could hide what it prints behind another's name."""
    assert len(folded([line], "gateway", ["gateway"])) == 1


@pytest.mark.parametrize(
    ("line", "body"),
    [
        (b"\xff\xfe caf\xc3\xa9", "\\xff\\xfe café"),
        (b"a\x00b", "a\\x00b"),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07end", "red end"),
        (b"10%\r20%\r", "10%\\r20%"),
        ("a\u2028b\u202ec".encode(), "a\\u2028b\\u202ec"),
        (b"a\tb", "a\tb"),
        (b"\x1b", "\\x1b"),
    ],
)
def test_odd_bytes_become_plain_text(line: bytes, body: str) -> None:
    """What is stored is shown to people one day, at a terminal too."""
    assert bodies(folded([line])) == [body]


def test_a_long_line_is_cut_and_says_so() -> None:
    """A megabyte in one line is a program gone wild; its beginning tells which."""
    whole = b"start " + b"word " * 200_000
    printed, lines = split([whole[at : at + 5000] for at in range(0, len(whole), 5000)] + [b"\nnext\nlast"])
    assert printed.replace(b"\n", b"") == whole + b"nextlast"
    assert [(len(text), cut) for text, cut in lines[1:]] == [(4, 0), (4, 0)]
    text, cut = lines[0]
    assert (len(text), len(text) + cut) == (MAX_LINE_BYTES, len(whole))
    (record,) = list(Folding([]).add(Line("x", 1, "stdout", text, cut, 1), 1.0)) or list(
        _single(Line("x", 1, "stdout", text, cut, 1))
    )
    protovalidate.validate(record)
    assert record.attributes["log.cut_bytes"] >= cut
    assert record.body.startswith("start word")


def _single(line: Line) -> Iterable[log_record_pb2.LogRecord]:
    folding = Folding([])
    assert not list(folding.add(line, 1.0))
    return folding.finish(1.0)


def test_lines_come_out_as_they_were_however_the_pipe_cuts_them() -> None:
    """A pipe knows no lines."""
    text = b"one\n\ntwo\r\nthree"
    for size in range(1, len(text)):
        _, lines = split(text[at : at + size] for at in range(0, len(text), size))
        assert lines == [(b"one", 0), (b"", 0), (b"two\r", 0), (b"three", 0)]


def test_a_process_that_prints_too_much_loses_lines_and_leaves_room_for_others() -> None:
    """The child is never held up, the loss is counted, and the others go on being heard."""
    lines = Lines(max_bytes=100_000)
    for _ in range(1000):
        lines.put("loud", 1, "stdout", b"x" * 800)
    lines.put("quiet", 2, "stdout", b"y")
    kept = []
    while (line := lines.take(0)) is not None:
        kept.append(line.source)
    assert (kept.count("loud"), kept.count("quiet")) == (50, 1)
    assert lines.take_dropped() == {"loud": 950}
    assert lines.take_dropped() == {}
    lines.put("loud", 1, "stdout", b"x")
    assert lines.take(0) is not None


def test_no_secret_that_is_printed_becomes_part_of_a_record() -> None:
    """Libraries print what they like."""
    canaries = make_canaries(SEED)
    for canary in canaries:
        printed = canary.text.encode()
        coloured = b"\x1b[1m" + printed.replace(b" ", b"\x1b[0m \x1b[2m")
        for form in (printed, coloured, printed.replace(b"\n", b"\r\n")):
            records = folded(form.split(b"\n"))
            assert leaks([canary], "\n".join(map(str, records)) + "\n".join(bodies(records))) == []
