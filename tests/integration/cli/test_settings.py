"""`vivesphere settings` against a server that answers as the gateway does: what is asked, what is shown, how it ends."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cli.main import app
from cli.rest import Api, ApiError
from cli.settings import parse_value
from cli.settings_watch import follow
from tests.integration.cli.stub import Stub

KEY = "bot_manager.publish.max_attempts"
SETTING = {
    "key": KEY,
    "value": 5,
    "revision": "7",
    "etag": "r7",
    "modified": True,
    "updateTime": "2026-01-01T00:00:00Z",
    "updateActor": "ana",
    "definition": {
        "key": KEY,
        "defaultValue": 8,
        "unit": "attempts",
        "description": "How often a part [may] fail.",
    },
}
CHANGE = {
    "revision": "7",
    "key": KEY,
    "oldValue": 4,
    "newValue": 5,
    "actor": "ana",
    "comment": "slower",
    "createTime": "2026-01-01T00:00:00Z",
}
REFUSED = {
    "code": 3,
    "message": "not so",
    "details": [
        {"@type": "ErrorInfo", "reason": "INVALID_FIELD"},
        {"@type": "BadRequest", "fieldViolations": [{"field": "value", "description": "0 is less than 1"}]},
    ],
}
EXPIRED = {"code": 16, "message": "expired", "details": [{"reason": "TOKEN_INVALID"}]}
COMPACTED = {"code": 11, "message": "no longer kept", "details": [{"reason": "REVISION_COMPACTED"}]}


def _run(stub: Stub, *arguments: str, stdin: str = "", **environment: str) -> Result:
    settings = {
        "VIVESPHERE_URL": stub.url,
        "VIVESPHERE_TOKEN": "secret-token",
        "COLUMNS": "200",
    } | environment
    return CliRunner().invoke(app, ["settings", *arguments], input=stdin, env=settings)


def test_a_value_is_json_or_a_text() -> None:
    """Whoever types hello means a text, and whoever types 5 a number."""
    for text, value in (
        ("5", 5),
        ("-0.5", -0.5),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ('"5"', "5"),
    ):
        assert parse_value(text) == value
    for text in ("hello", "5 posts", "NaN", "{", ""):
        assert parse_value(text) == text


def test_one_setting_is_shown_and_printed(stub: Stub) -> None:
    """A table for people, the server's answer for programs."""
    stub.give(f"GET /api/v1/settings/{KEY}", SETTING)
    shown = _run(stub, "get", KEY)
    assert shown.exit_code == 0, shown.output
    for part in (KEY, "attempts", "r7", "by ana", "[may]"):
        assert part in shown.output
    assert json.loads(_run(stub, "get", KEY, "--json").stdout) == SETTING
    assert {authorization for *_, authorization in stub.asked} == {"Bearer secret-token"}


def test_lists_go_over_all_pages(stub: Stub) -> None:
    """With the filter on every one of them."""
    stub.give("GET /api/v1/settings", {"settings": [SETTING], "nextPageToken": "next"})
    stub.give("GET /api/v1/settings", {"settings": [SETTING | {"key": "a.b"}], "nextPageToken": ""})
    answer = _run(stub, "get", "--filter", "modified = true", "--json")
    assert [setting["key"] for setting in json.loads(answer.stdout)["settings"]] == [KEY, "a.b"]
    assert [(query.get("pageToken", ""), query["filter"]) for _, query, *_ in stub.asked] == [
        ("", "modified = true"),
        ("next", "modified = true"),
    ]


@pytest.mark.parametrize(
    ("typed", "sent"), [("5", 5), ("-5", -5), ("hello", "hello"), ('{"a": [1]}', {"a": [1]})]
)
def test_set_sends_what_was_typed(stub: Stub, typed: str, sent: Any) -> None:
    """With etag and comment."""
    stub.give(f"PATCH /api/v1/settings/{KEY}", SETTING)
    done = _run(stub, "set", KEY, typed, "--etag", "r7", "--comment", "slower")
    assert done.exit_code == 0, done.output
    assert stub.asked[0][2] == {"value": sent, "etag": "r7", "comment": "slower"}


def test_reset_and_rollback(stub: Stub) -> None:
    """Each is one call."""
    stub.give(f"DELETE /api/v1/settings/{KEY}", {})
    stub.give(f"POST /api/v1/settings/{KEY}:rollback", SETTING)
    assert _run(stub, "reset", KEY, "--comment", "back").exit_code == 0
    assert stub.asked[0][1] == {"comment": "back"}
    assert _run(stub, "rollback", KEY, "6").exit_code == 0
    assert stub.asked[1][2]["revision"] == 6


def test_a_refusal_is_told_with_reason_and_fields(stub: Stub) -> None:
    """On stderr, with exit code 1; nothing that looks like an answer on stdout."""
    stub.give(f"PATCH /api/v1/settings/{KEY}", REFUSED, 400)
    refused = _run(stub, "set", KEY, "0")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "not so (INVALID_FIELD)" in refused.stderr
    assert "value: 0 is less than 1" in refused.stderr


def test_wrong_usage_is_2_and_a_dead_server_1(stub: Stub) -> None:
    """A script can tell its own mistakes from the server's."""
    assert _run(stub, "rollback", KEY, "zero").exit_code == 2
    assert _run(stub, "set", KEY).exit_code == 2
    nobody = _run(stub, "get", KEY, VIVESPHERE_TOKEN="")
    assert nobody.exit_code == 2
    assert "VIVESPHERE_TOKEN" in nobody.stderr
    dead = _run(stub, "get", KEY, VIVESPHERE_URL="http://127.0.0.1:1")
    assert dead.exit_code == 1
    assert "does not answer" in dead.stderr


def test_credentials_come_from_files_and_prompts(stub: Stub, tmp_path: Path) -> None:
    """Never from the command line, where every process of the machine reads them."""
    stub.give(f"GET /api/v1/settings/{KEY}", SETTING)
    stub.give("POST /api/v1/auth/login", {"accessToken": "signed-in"})
    stub.give("POST /api/v1/auth/logout", {})
    token, password = tmp_path / "token", tmp_path / "password"
    token.write_text("from-file\n")
    password.write_text("open sesame\n")
    assert _run(stub, "--token-file", str(token), "get", KEY).exit_code == 0
    assert stub.asked[-1][3] == "Bearer from-file"
    stub.asked.clear()
    assert _run(stub, "--username", "ana", "--password-file", str(password), "get", KEY).exit_code == 0
    assert stub.asked[0][2] == {"username": "ana", "password": "open sesame"}
    assert [item[0] for item in stub.asked[1:]] == [f"GET /api/v1/settings/{KEY}", "POST /api/v1/auth/logout"]
    assert {item[3] for item in stub.asked[1:]} == {"Bearer signed-in"}
    prompted = _run(stub, "--username", "ana", "get", KEY, "--json", stdin="open sesame\n")
    assert json.loads(prompted.stdout) == SETTING


def test_history_and_diff_tell_defaults_from_values(stub: Stub) -> None:
    """What is not there is the default; a null is a null."""
    reset = {name: value for name, value in CHANGE.items() if name != "newValue"} | {"oldValue": None}
    stub.give(f"GET /api/v1/settings/{KEY}/revisions", {"revisions": [reset, CHANGE]})
    stub.give("GET /api/v1/settings:diff", {"diffs": [{"key": KEY, "newValue": 5}], "toRevision": "7"})
    shown = _run(stub, "history", KEY)
    assert shown.exit_code == 0, shown.output
    assert [word in shown.output for word in ("null", "(default)", "slower", "ana")] == [True] * 4
    assert "(default)" in _run(stub, "diff", "3").output
    assert stub.asked[-1][1] == {"fromRevision": "3", "toRevision": "0"}


def test_files_go_out_and_come_in(stub: Stub, tmp_path: Path) -> None:
    """Byte for byte, by file or by pipe."""
    text = f"# ViveSphere settings, revision 7\n{KEY}: 5\n"
    stub.give("GET /api/v1/settings:export", text)
    stub.give("POST /api/v1/settings:import", {"diffs": [{"key": KEY, "newValue": 5}], "revision": "8"})
    assert _run(stub, "export").stdout == text
    file = tmp_path / "settings.yaml"
    assert _run(stub, "export", "--defaults", "-o", str(file)).exit_code == 0
    assert (file.read_text(), stub.asked[-1][1]) == (text, {"includeDefaults": "true"})
    done = _run(stub, "import", str(file), "--reset-others")
    assert done.exit_code == 0, done.output
    assert "revision 8" in done.output
    assert stub.asked[-1][2] == {"yaml": text, "dryRun": False, "resetOthers": True, "comment": ""}
    _run(stub, "import", "-", stdin=text)
    assert stub.asked[-1][2]["yaml"] == text


def test_a_dry_run_with_problems_ends_with_1(stub: Stub) -> None:
    """A pipeline that checks a file before it is merged must stop."""
    problem = {"key": KEY, "line": 2, "description": "0 is less than 1"}
    stub.give("POST /api/v1/settings:import", {"problems": [problem], "revision": "0"})
    done = _run(stub, "import", "-", "--dry-run", stdin="x: 1")
    assert done.exit_code == 1
    assert f"line 2: {KEY}: 0 is less than 1" in done.stderr


def _event(revision: int) -> dict[str, Any]:
    return {"result": {"transaction": {"revision": str(revision), "changes": [CHANGE]}}}


def test_watching_goes_on_where_it_was(stub: Stub) -> None:
    """After a stream that ends, one that breaks, and a token that expires: each revision once, and the new token at work."""
    path = "GET /api/v1/settings:watch"
    bookmark = {"result": {"bookmark": {"revision": "5"}}}
    stub.give(path, (bookmark, _event(6)))
    stub.give(path, (_event(7), {"error": {"code": 14, "message": "stopping", "details": []}}))
    stub.give(path, {"message": "away"}, 503)
    stub.give(path, (_event(8), {"error": EXPIRED}))
    stub.give(path, (_event(9),))
    stub.give(path, {"code": 16, "message": "expired", "details": [{"reason": "TOKEN_INVALID"}]}, 401)
    stub.give(path, COMPACTED, 400)
    tokens = iter(["b", "c"])
    pauses: list[float] = []
    seen: list[int] = []

    def renew(api: Api) -> str:
        token = next(tokens)
        api.carry(token)
        return token

    def watch_all(api: Api) -> None:
        for event in follow(api, renew, 0, pauses.append):
            seen.extend([int(event["transaction"]["revision"])] if "transaction" in event else [])

    with Api(stub.url) as api:
        api.carry("a")
        with pytest.raises(ApiError) as ended:
            watch_all(api)
    assert ended.value.reason == "REVISION_COMPACTED"
    assert seen == [6, 7, 8, 9]
    assert [int(query["fromRevision"]) for _, query, *_ in stub.asked] == [0, 6, 7, 7, 8, 9, 9]
    assert [item[3][-1] for item in stub.asked] == ["a", "a", "a", "a", "b", "b", "c"]
    assert pauses == [0.2, 0.2, 0.4, 0.2]


def test_a_token_that_stays_refused_ends_the_watch(stub: Stub) -> None:
    """Asking for ever with a dead token helps nobody."""
    stub.give("GET /api/v1/settings:watch", EXPIRED, 401)
    ended = _run(stub, "watch")
    assert ended.exit_code == 1
    assert "TOKEN_INVALID" in ended.stderr
    assert len(stub.asked) == 2


def test_events_are_lines(stub: Stub) -> None:
    """One a change for people; one an event for programs."""
    stub.give("GET /api/v1/settings:watch", (_event(7), {"error": COMPACTED}))
    shown = _run(stub, "watch")
    assert shown.exit_code == 1
    assert f"7  {KEY}  4 → 5  by ana  slower" in shown.stdout
    printed = _run(stub, "watch", "--json")
    assert [json.loads(line) for line in printed.stdout.splitlines()] == [_event(7)["result"]]
