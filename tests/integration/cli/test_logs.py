"""`vivesphere logs` against a server that answers as the gateway does: what is asked, what is shown, how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cli import logs_tail
from cli.main import app
from cli.rest import Api, ApiError
from tests.integration.cli.stub import Stub

LOGS = "GET /api/v1/logs"
TAIL = "GET /api/v1/logs:tail"
EXPORT = "GET /api/v1/logs:export"
SECONDS = 20
HOSTILE = 'line\n\x1b[2Jfake "json": {}\x00\x7f\u2028\u202e\x9b'


def a_record(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"id-{number}",
        "time": f"2026-01-01T00:00:{number:02}.25Z",
        "severity": "SEVERITY_WARN2",
        "service": "bot_manager",
        "body": f"post {number} waits",
        **fields,
    }


def environment(stub: Stub) -> dict[str, str]:
    return {"VIVESPHERE_URL": stub.url, "VIVESPHERE_TOKEN": "secret-token"}


def run(stub: Stub, *arguments: str, terminal: bool = False, **variables: str) -> Result:
    colours = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "40"} if terminal else {}
    return CliRunner().invoke(app, ["logs", *arguments], env=environment(stub) | colours | variables)


def test_records_are_json_lines_behind_a_pipe_and_the_newest_comes_last(stub: Stub) -> None:
    """As in a terminal; over as many pages as are needed, and no more records than asked for."""
    stub.give(LOGS, {"records": [a_record(5), a_record(4)], "nextPageToken": "next"})
    stub.give(LOGS, {"records": [a_record(3)], "nextPageToken": "more"})
    done = run(stub, "query", "--limit", "3")
    assert done.exit_code == 0, done.output
    assert [json.loads(line) for line in done.stdout.splitlines()] == [a_record(n) for n in (3, 4, 5)]
    assert [query["pageSize"] for _, query, *_ in stub.asked] == ["3", "1"]
    assert stub.asked[1][1]["pageToken"] == "next"
    assert {query["order"] for _, query, *_ in stub.asked} == {"LOG_ORDER_NEWEST_FIRST"}
    assert {authorization for *_, authorization in stub.asked} == {"Bearer secret-token"}


def test_filters_are_sent_as_the_api_has_them(stub: Stub) -> None:
    """Each option is one parameter; what was not asked for is not sent."""
    stub.give(LOGS, {})
    done = run(
        stub,
        *("query", '"timed out" -retry', "-c", "debug", "-c", "user-activity", "-s", "warn"),
        *("--service", "bot_manager", "--actor", "ana", "--bot", "b", "--request", "r", "--trace", "t"),
        *("-a", "http.method=GET", "-a", "empty=", "--since", "2026-01-01T00:00Z", "--oldest"),
        *("--until", "2026-01-02T01:00+01:00"),
    )
    assert done.exit_code == 0, done.output
    assert sorted(stub.queries[0]) == sorted(
        [
            ("text", '"timed out" -retry'),
            ("categories", "LOG_CATEGORY_DEBUG"),
            ("categories", "LOG_CATEGORY_USER_ACTIVITY"),
            ("minSeverity", "SEVERITY_WARN"),
            ("service", "bot_manager"),
            ("actor", "ana"),
            ("botId", "b"),
            ("requestId", "r"),
            ("traceId", "t"),
            ("attributes[http.method]", "GET"),
            ("startTime", "2026-01-01T00:00:00Z"),
            ("endTime", "2026-01-02T00:00:00Z"),
            ("order", "LOG_ORDER_OLDEST_FIRST"),
            ("pageSize", "50"),
        ]
    )
    assert "attributes[empty]=&" in stub.raw_queries[0] + "&"


@pytest.mark.parametrize(
    "wrong",
    [("--since", "yesterday"), ("--since", "5y"), ("-a", "name"), ("-a", "=x"), ("-s", "loud"), ("-n", "0")],
)
def test_wrong_usage_is_2_and_asks_nobody(stub: Stub, wrong: tuple[str, str]) -> None:
    """A script can tell its own mistakes from the server's."""
    assert run(stub, "query", *wrong).exit_code == 2
    assert stub.asked == []


def test_a_refusal_is_told_on_stderr(stub: Stub) -> None:
    """With the server's words, which say what helps."""
    stub.give(
        LOGS, {"code": 4, "message": "more filters help", "details": [{"reason": "DEADLINE_TOO_SHORT"}]}, 504
    )
    refused = run(stub, "query")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "more filters help (DEADLINE_TOO_SHORT)" in refused.stderr


def test_on_a_terminal_records_are_lines_in_colour(stub: Stub) -> None:
    """By severity; long ones are not cut, and nothing in a record is taken for markup."""
    attributes = {"post_id": "7", "text": "two words", "n": 3}
    stub.give(LOGS, {"records": [a_record(1, body="[red]post[/] " + "x" * 80, attributes=attributes)]})
    shown = run(stub, "query", terminal=True).stdout
    assert "\x1b[33m" in shown
    plain = without_colours(shown)
    assert plain == (
        "2026-01-01 00:00:01.250 WARN  bot_manager  [red]post[/] "
        + "x" * 80
        + '  post_id=7  text="two words"  n=3\n'
    )
    assert json.loads(run(stub, "query", "--json", terminal=True).stdout)["id"] == "id-1"


def test_no_record_drives_the_terminal_or_forges_a_line(stub: Stub) -> None:
    """Control characters and direction marks are shown escaped, in JSON as well."""
    stub.give(
        LOGS, {"records": [a_record(1, body=HOSTILE, actor="\x1b]0;x\x07", attributes={"\x1b": "\r\n"})]}
    )
    shown = run(stub, "query", terminal=True).stdout
    first, second = without_colours(shown).splitlines()
    assert first.endswith("\\x1b=\\r\\n")
    assert second == '    \\x1b[2Jfake "json": {}\\x00\\x7f\\u2028\\u202e\\x9b'
    printed = run(stub, "query").stdout
    assert printed.isascii()
    assert not {character for character in printed if character < " " or character == "\x7f"} - {"\n"}
    assert json.loads(printed)["body"] == HOSTILE


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _item(number: int) -> dict[str, Any]:
    return {"result": {"record": a_record(number), "resumeToken": f"after-{number}"}}


def test_a_tail_goes_on_where_it_was(stub: Stub) -> None:
    """After a stream that ends, breaks within a line, or is refused for now: each record once, and one word on each outage."""
    gap = {"result": {"gap": {"droppedCount": 4}, "resumeToken": "after-gap"}}
    stub.give(TAIL, {"message": "away"}, 503)
    stub.give(TAIL, {"message": "away"}, 503)
    stub.give(TAIL, (_item(1), _item(2)))
    stub.give(TAIL, (_item(3), gap, b'{"result": {"rec', None))
    stub.give(TAIL, (_item(4), {"error": {"code": 14, "message": "stopping", "details": []}}))
    stub.give(TAIL, {"message": "no such token", "details": [{"reason": "INVALID_PAGE_TOKEN"}]}, 400)
    pauses: list[float] = []
    lost: list[str] = []
    seen: list[dict[str, Any]] = []
    with Api(stub.url) as api:
        stream = logs_tail.follow(api, lambda _: "", {"service": "x"}, 5, lost.append, pauses.append)
        seen.extend(next(stream) for _ in range(5))
        with pytest.raises(ApiError, match="INVALID_PAGE_TOKEN"):
            next(stream)
    assert [item.get("record", {}).get("id", "gap") for item in seen] == [
        "id-1",
        "id-2",
        "id-3",
        "gap",
        "id-4",
    ]
    asked = [{name: query[name] for name in query if name != "service"} for _, query, *_ in stub.asked]
    assert asked == [
        *({"initialCount": "5"},) * 3,
        {"resumeToken": "after-2"},
        {"resumeToken": "after-gap"},
        {"resumeToken": "after-4"},
    ]
    assert {query["service"] for _, query, *_ in stub.asked} == {"x"}
    assert len(lost) == 4
    assert pauses == [0.2, 0.4, 0.2, 0.2, 0.2]


def test_gaps_are_one_clear_line(stub: Stub) -> None:
    """With how many are missing and when, so that a query can show them."""
    gap = {
        "droppedCount": 12,
        "firstTime": "2026-01-01T00:00:01Z",
        "lastTime": "2026-01-01T00:00:02.500Z",
    }
    stub.give(TAIL, (_item(1), {"result": {"gap": gap, "resumeToken": "t"}}))
    stub.give(TAIL, {"message": "gone"}, 404)
    shown = run(stub, "tail", terminal=True)
    assert shown.exit_code == 1
    assert (
        "-- 12 records left out, 2026-01-01 00:00:01.000 to 2026-01-01 00:00:02.500: read too slowly --"
        in without_colours(shown.stdout)
    )
    stub.answers.clear()
    stub.give(TAIL, ({"result": {"gap": gap, "resumeToken": "t"}},))
    stub.give(TAIL, {"message": "gone"}, 404)
    assert json.loads(run(stub, "tail").stdout) == {"gap": gap}
    assert stub.asked[-2][1] == {"initialCount": "10"}


def test_an_export_is_written_as_it_came(stub: Stub, tmp_path: Path) -> None:
    """Byte for byte, to a file or to whoever reads."""
    data = bytes(range(256)) * 3_000
    stub.give(EXPORT, data)
    file = tmp_path / "logs.csv"
    done = run(stub, "export", "-f", "csv", "-o", str(file), "--limit", "9", "-s", "error")
    assert done.exit_code == 0, done.output
    assert file.read_bytes() == data
    assert stub.asked[0][1] == {
        "format": "LOG_EXPORT_FORMAT_CSV",
        "limit": "9",
        "minSeverity": "SEVERITY_ERROR",
        "order": "LOG_ORDER_NEWEST_FIRST",
    }
    assert run(stub, "export").stdout_bytes == data
    assert [item.name for item in tmp_path.iterdir()] == ["logs.csv"]


def test_an_export_that_breaks_off_does_not_look_whole(stub: Stub, tmp_path: Path) -> None:
    """What was there stays, what is half is removed, and the program says so."""
    stub.give(EXPORT, (b"half", None))
    file = tmp_path / "logs.ndjson"
    file.write_text("older")
    done = run(stub, "export", "-o", str(file))
    assert done.exit_code == 1
    assert "not complete" in done.stderr
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("logs.ndjson", "older")]


def started(stub: Stub, *arguments: str) -> "subprocess.Popen[bytes]":
    """The program as a shell would start it for somebody who can press Ctrl-C."""
    # Tests that run in the background inherit that it is ignored, and so would the program; what is handled here is not inherited.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "cli.main", "logs", *arguments],
            env=os.environ
            | environment(stub)
            | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("command", ["query", "export"])
def test_a_reader_that_has_enough_ends_the_program_quietly(stub: Stub, command: str) -> None:
    """As in `vivesphere logs query | head`."""
    stub.give(LOGS, {"records": [a_record(n, body="x" * 2_000) for n in range(50)] * 20})
    stub.give(EXPORT, b"x" * 2_000_000)
    with started(stub, command, "-n", "1000") as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.read(10)
        program.stdout.close()
        assert program.stderr.read() == b""
        assert program.wait(SECONDS) == 0


def test_ctrl_c_ends_a_tail_quietly(stub: Stub) -> None:
    """Following ends by Ctrl-C; that is no failure."""
    stub.hold(TAIL, (_item(1),))
    with started(stub, "tail") as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert json.loads(program.stdout.readline())["id"] == "id-1"
        program.send_signal(signal.SIGINT)
        assert program.wait(SECONDS) == 0
        assert program.stderr.read() == b""
    stub.let_go()


def test_a_silent_tail_is_opened_anew_without_a_word(stub: Stub) -> None:
    """Nothing to say and nobody there sound the same."""
    stub.hold(TAIL, (_item(1),))
    stub.give(TAIL, {"message": "gone"}, 404)
    lost: list[str] = []
    with Api(stub.url) as api, pytest.raises(ApiError):
        list(logs_tail.follow(api, lambda _: "", {}, 1, lost.append, silence_seconds=0.3))
    assert [query for _, query, *_ in stub.asked] == [{"initialCount": "1"}, {"resumeToken": "after-1"}]
    assert lost == []
    stub.let_go()
