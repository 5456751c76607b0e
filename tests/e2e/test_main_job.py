"""The main job, done as a person does it: sign in, connect a bot, publish, see what happened. Through the public doors only."""

import json
import subprocess
import sysconfig
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli.demo import run_demo
from cli.rest import Api
from tests.e2e.conftest import PASSWORD, Running

PATIENCE_SECONDS = 30.0


def connected_bot(api: Api, sandbox: Api, handle: str) -> tuple[dict[str, Any], dict[str, str]]:
    """A bot with credentials that X accepts, and its account on X."""
    account = sandbox.post("/sandbox/accounts", {"handle": handle})
    bot = api.post("/api/v1/bots", {"handle": handle})
    credentials = {
        "consumerKey": account["consumer_key"],
        "consumerSecret": account["consumer_secret"],
        "accessToken": account["access_token"],
        "accessTokenSecret": account["access_token_secret"],
    }
    stored = api.put(f"/api/v1/bots/{bot['id']}/credentials", {"oauth1": credentials})
    assert stored["verified"] is True
    return bot, account


def eventually(look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    """What `look` shows once it is good; the last thing it showed if it never is."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        seen = look()
        if good(seen) or time.monotonic() > end:
            return seen
        time.sleep(0.1)


def settled(api: Api, post_id: str) -> dict[str, Any]:
    """The post once it is neither waiting nor under way."""
    busy = {"POST_STATE_SCHEDULED", "POST_STATE_CLAIMED", "POST_STATE_PUBLISHING"}
    return dict(
        eventually(lambda: api.get(f"/api/v1/posts/{post_id}"), lambda post: post["state"] not in busy)
    )


def test_the_demo_sees_every_post_exactly_once(running: Running, tmp_path: Path) -> None:
    """The demo is the product's own proof; it fails if a post is missing, doubled or early."""
    with Api(running.url) as api, Api(running.sandbox) as sandbox, (tmp_path / "out").open("w") as out:
        run_demo(api, sandbox, Console(file=out, width=120), "admin", PASSWORD)
    shown = (tmp_path / "out").read_text()
    assert "5 posts asked for, 5 on X, each exactly once" in shown


def test_a_post_goes_out_at_its_time_and_tells_its_story(api: Api, sandbox: Api) -> None:
    """On time means not before, and the timeline says what was done when."""
    bot, account = connected_bot(api, sandbox, "punctual")
    due = datetime.now(UTC) + timedelta(seconds=2)
    post = api.post(
        f"/api/v1/bots/{bot['id']}/posts", {"text": "on the dot", "scheduledTime": due.isoformat()}
    )
    assert post["state"] == "POST_STATE_SCHEDULED"
    assert settled(api, post["id"])["state"] == "POST_STATE_PUBLISHED"
    [seen] = sandbox.get("/sandbox/posts", user_id=account["user_id"])["posts"]
    assert seen["text"] == "on the dot"
    assert datetime.fromisoformat(seen["created_at"]) >= due - timedelta(milliseconds=1)
    assert api.get(f"/api/v1/posts/{post['id']}")["xPostIds"] == [seen["id"]]
    assert len(api.get(f"/api/v1/posts/{post['id']}/timeline")["entries"]) >= 3


def test_a_template_is_rendered_and_a_slot_is_given_to_one_post(api: Api, sandbox: Api) -> None:
    """From the outside in: the text that X shows is the one that was answered, and two posts get two slots."""
    bot, account = connected_bot(api, sandbox, "templates")
    path = f"/api/v1/bots/{bot['id']}"
    text = "{{ greeting }}, this is @{{ bot.handle }} {{ choose('today', 'now') }}"
    given = {"text": text, "template": {"variables": {"greeting": "Hello"}}}
    post = api.post(f"{path}/posts", given, publishNow="true")
    assert "seed" in post["template"]
    assert settled(api, post["id"])["state"] == "POST_STATE_PUBLISHED"
    [seen] = sandbox.get("/sandbox/posts", user_id=account["user_id"])["posts"]
    assert seen["text"] == post["parts"][0]["renderedText"]
    assert seen["text"].startswith("Hello, this is @templates ")
    api.call("PATCH", path, {"slots": [{"at": "00:00"}, {"at": "12:00"}]})
    times = [
        api.post(f"{path}/posts", {"text": f"slot {n}"}, nextFreeSlot="true")["scheduledTime"] for n in "ab"
    ]
    assert len(set(times)) == 2


def test_a_schedule_speaks_at_its_time_and_once(api: Api, sandbox: Api) -> None:
    """What the preview showed is what X shows; then the schedule has ended."""
    bot, account = connected_bot(api, sandbox, "regular")
    start = (datetime.now(UTC) + timedelta(seconds=3)).replace(microsecond=0)
    schedule = {
        "recurrence": {"rrule": "FREQ=DAILY;COUNT=1"},
        "startTime": start.isoformat(),
        "content": {"post": {"text": "every day, for one day"}},
    }
    [shown] = api.post("/api/v1/schedules:preview", {"schedule": schedule, "botId": bot["id"]})["occurrences"]
    made = api.post(f"/api/v1/bots/{bot['id']}/schedules", schedule)
    assert made["nextOccurrenceTime"] == shown["nominalTime"]
    [seen] = eventually(lambda: sandbox.get("/sandbox/posts", user_id=account["user_id"])["posts"], bool)
    assert seen["text"] == "every day, for one day"
    assert datetime.fromisoformat(seen["created_at"]) >= start - timedelta(milliseconds=1)
    ended = eventually(
        lambda: api.get(f"/api/v1/schedules/{made['id']}"),
        lambda found: found["state"] == "SCHEDULE_STATE_COMPLETED",
    )
    assert (ended["state"], ended["occurrenceCount"]) == ("SCHEDULE_STATE_COMPLETED", 1)


def test_a_repeated_request_makes_one_post(api: Api, sandbox: Api) -> None:
    """A client that did not hear the answer asks again with the same id and must not post twice."""
    bot, account = connected_bot(api, sandbox, "patient")
    path = f"/api/v1/bots/{bot['id']}/posts"
    key = "0190c6a1-0000-7000-8000-00000000beef"
    first, second = (
        api.post(path, {"text": "only once"}, publishNow="true", requestId=key) for _ in range(2)
    )
    assert first["id"] == second["id"]
    settled(api, first["id"])
    assert len(sandbox.get("/sandbox/posts", user_id=account["user_id"])["posts"]) == 1


@pytest.mark.parametrize("fault", ["timeout_after", "reset_after", "error_500_after", "no_id"])
def test_an_unknown_outcome_is_never_sent_again(api: Api, sandbox: Api, fault: str) -> None:
    """X took the post and the answer was lost: the state says so, and there is one copy, not two."""
    bot, account = connected_bot(api, sandbox, f"unlucky_{fault}")
    sandbox.post("/sandbox/faults", {"kind": fault, "count": 1, "user_id": account["user_id"]})
    post = api.post(f"/api/v1/bots/{bot['id']}/posts", {"text": f"lost answer {fault}"}, publishNow="true")
    assert settled(api, post["id"])["state"] == "POST_STATE_UNKNOWN"
    time.sleep(1.5)
    assert len(sandbox.get("/sandbox/posts", user_id=account["user_id"])["posts"]) == 1


def test_everything_done_is_on_the_trail_and_in_the_logs(api: Api, sandbox: Api) -> None:
    """Who did what, when, and how it ended; from every service, by one query."""
    bot, _ = connected_bot(api, sandbox, "watched")

    def actions() -> set[str]:
        events = api.get("/api/v1/audit/events", botId=bot["id"], pageSize=100).get("events", [])
        return {event["action"].rpartition("/")[2] for event in events}

    wanted = {"SetCredentials", "StoreBotSecret"}
    assert eventually(actions, lambda seen: wanted <= seen) >= wanted
    records = api.get("/api/v1/logs", botId=bot["id"], pageSize=200)["records"]
    assert {"secure_bot_data", "bot_manager"} <= {record["service"] for record in records}
    services = {
        record["service"]
        for record in eventually(
            lambda: api.get("/api/v1/logs", text="serving", pageSize=200).get("records", []),
            lambda found: len({record["service"] for record in found}) >= 5,
        )
    }
    assert services >= {"authentication", "bot_manager", "configuration", "logging", "secure_bot_data"}


def test_a_setting_changes_and_is_versioned(api: Api) -> None:
    """Settings are typed: a good value makes a revision, a bad one is refused by name."""
    key = "bot_manager.publish.max_attempts"
    before = api.get(f"/api/v1/settings/{key}")
    changed = api.call("PATCH", f"/api/v1/settings/{key}", {"value": 7, "etag": before["etag"]})
    assert (changed["value"], int(changed["revision"])) == (7, pytest.approx(int(changed["revision"])))
    assert int(changed["revision"]) > int(before.get("revision", 0))


def test_grpcurl_sees_and_calls_everything(running: Running) -> None:
    """The gRPC door is for tools that have never seen our contracts."""

    def grpcurl(*arguments: str) -> str:
        program = str(Path(sysconfig.get_path("scripts"), "grpcurl"))
        done = subprocess.run(  # noqa: S603 - our own arguments
            [program, "-plaintext", *arguments], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = grpcurl(running.grpc, "list").split()
    for service in (
        "authentication.v1.AuthenticationService",
        "bot_manager.v1.PostService",
        "logging.v1.LogService",
    ):
        assert f"vivesphere.{service}" in listed
    credentials = json.dumps({"username": "admin", "password": PASSWORD})
    answer = json.loads(
        grpcurl("-d", credentials, running.grpc, "vivesphere.authentication.v1.AuthenticationService/Login")
    )
    token = answer["tokenPair"]["accessToken"]
    header = ("-H", f"authorization: Bearer {token}")
    bots = json.loads(grpcurl(*header, running.grpc, "vivesphere.bot_manager.v1.BotService/ListBots"))
    assert isinstance(bots.get("bots", []), list)
