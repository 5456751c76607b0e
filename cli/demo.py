"""The proof: publishes through the public REST API of a running mesh and holds what X received against what was asked for.

Signs in, makes two bots, gives them credentials of the X sandbox, publishes two posts at once and three a few seconds ahead, waits,
and then asks the sandbox, not ourselves, what arrived. A post that is missing, doubled or early fails the demo.
"""

import secrets
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.rest import Api

FIRST_LEAD = timedelta(seconds=4)
STEP = timedelta(seconds=1)
PATIENCE = timedelta(seconds=60)
POLL_SECONDS = 0.25
UNSETTLED = {"SCHEDULED", "CLAIMED", "PUBLISHING"}
SHOWN_LOG_LINES = 12
COUNTED = ("impressions", "likes", "reposts", "replies")


@dataclass(frozen=True, slots=True)
class Planned:
    """A post that was asked for. `due` is None for "now"."""

    post_id: str
    bot_id: str
    x_user_id: str
    text: str
    asked: datetime
    due: datetime | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a planned post: how often X received it, and how late, in milliseconds."""

    planned: Planned
    state: str
    copies: int
    late_ms: float | None

    @property
    def good(self) -> bool:
        """Exactly once, and not before its time."""
        early = self.planned.due is not None and self.late_ms is not None and self.late_ms < 0
        return self.copies == 1 and self.state == "PUBLISHED" and not early


class DemoFailed(Exception):
    """The demo saw something that must not happen; the message says what."""


def run_demo(api: Api, sandbox: Api, console: Console, username: str, password: str) -> None:
    """Run the demo and print what happened. Raises DemoFailed, or ApiError if a call is refused."""
    api.sign_in(username, password)
    console.print(f"[green]✓[/] signed in as {username}")
    run = secrets.token_hex(3)
    bots = [_make_bot(api, sandbox, console, f"{name}_{run}") for name in ("aurora", "borealis")]
    planned = _ask_for_posts(api, console, bots, run)
    states = _wait(api, planned)
    verdicts = [_judge(sandbox, item, states[item.post_id]) for item in planned]
    _show_posts(console, verdicts)
    _show_statistics(api, sandbox, console, verdicts[0])
    _show_logs(api, console, bots[0]["id"])
    bad = [verdict for verdict in verdicts if not verdict.good]
    if bad:
        raise DemoFailed("; ".join(f"{v.planned.text!r}: {v.state}, {v.copies} copies on X" for v in bad))
    console.print(f"[green]✓[/] {len(verdicts)} posts asked for, {len(verdicts)} on X, each exactly once")


def _make_bot(api: Api, sandbox: Api, console: Console, handle: str) -> dict[str, Any]:
    account = sandbox.post("/sandbox/accounts", {"handle": handle})
    bot = api.post("/api/v1/bots", {"handle": handle, "displayName": handle.title(), "timeZone": "UTC"})
    stored = api.put(
        f"/api/v1/bots/{bot['id']}/credentials",
        {
            "oauth1": {
                "consumerKey": account["consumer_key"],
                "consumerSecret": account["consumer_secret"],
                "accessToken": account["access_token"],
                "accessTokenSecret": account["access_token_secret"],
            }
        },
    )
    if not stored.get("verified"):
        raise DemoFailed(f"X did not accept the credentials of @{handle}")
    bot = api.post(f"/api/v1/bots/{bot['id']}:activate", {})
    console.print(
        f"[green]✓[/] bot @{handle} connected, credentials in the vault (version {stored['version']})"
    )
    return {**bot, "x_user_id": account["user_id"]}


def _ask_for_posts(api: Api, console: Console, bots: list[dict[str, Any]], run: str) -> list[Planned]:
    planned = [_ask(api, bot, f"Hello from @{bot['handle']}", None) for bot in bots]
    first = datetime.now(UTC) + FIRST_LEAD
    for number in range(3):
        bot, due = bots[number % len(bots)], first + number * STEP
        planned.append(_ask(api, bot, f"Planned {number + 1} & <on time> {run}", due))
    console.print("[green]✓[/] 2 posts asked for now, 3 for a few seconds ahead")
    return planned


def _ask(api: Api, bot: dict[str, Any], text: str, due: datetime | None) -> Planned:
    asked = datetime.now(UTC)
    path = f"/api/v1/bots/{bot['id']}/posts"
    if due is None:
        post = api.post(path, {"text": text}, publishNow="true")
    else:
        due = due.replace(microsecond=due.microsecond // 1000 * 1000)
        stamp = due.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        post = api.post(path, {"text": text, "scheduledTime": stamp})
    return Planned(post["id"], bot["id"], bot["x_user_id"], text, asked, due)


def _wait(api: Api, planned: list[Planned]) -> dict[str, str]:
    """The state each post settled in, or its last one when patience ends."""
    states: dict[str, str] = {}
    end = time.monotonic() + PATIENCE.total_seconds()
    while time.monotonic() < end:
        for item in planned:
            state = str(api.get(f"/api/v1/posts/{item.post_id}")["state"])
            states[item.post_id] = state.removeprefix("POST_STATE_")
        if not UNSETTLED & set(states.values()):
            break
        time.sleep(POLL_SECONDS)
    return states


def _judge(sandbox: Api, item: Planned, state: str) -> Verdict:
    received = sandbox.get("/sandbox/posts", user_id=item.x_user_id)["posts"]
    copies = [post for post in received if post["text"] == item.text]
    late = None
    if copies:
        created = datetime.fromisoformat(copies[0]["created_at"])
        late = (created - (item.due or item.asked)) / timedelta(milliseconds=1)
    return Verdict(item, state, len(copies), late)


def _show_posts(console: Console, verdicts: list[Verdict]) -> None:
    table = Table(title="What X received", title_justify="left")
    for name in ("post", "asked for", "state", "copies on X", "late by"):
        table.add_column(name, justify="right" if name in ("copies on X", "late by") else "left")
    for verdict in verdicts:
        due = verdict.planned.due
        table.add_row(
            verdict.planned.text,
            due.strftime("%H:%M:%S") if due else "now",
            verdict.state,
            str(verdict.copies),
            "–" if verdict.late_ms is None else f"{verdict.late_ms:.0f} ms",
            style=None if verdict.good else "red",
        )
    console.print(table)


def _show_statistics(api: Api, sandbox: Api, console: Console, verdict: Verdict) -> None:
    """People "see" the first post on the sandbox; the statistics must show what X counts."""
    post = api.get(f"/api/v1/posts/{verdict.planned.post_id}")
    seen = {"impression_count": 128, "like_count": 7, "retweet_count": 2, "reply_count": 1}
    for x_post_id in post.get("xPostIds", []):
        sandbox.put(f"/sandbox/posts/{x_post_id}/metrics", seen)
    api.post(f"/api/v1/bots/{verdict.planned.bot_id}:refreshStatistics", {})
    statistics = api.get(f"/api/v1/posts/{verdict.planned.post_id}/statistics")
    latest = {name: int(statistics.get("latest", {}).get(name, 0)) for name in COUNTED}
    table = Table(*COUNTED, title="Statistics of the first post", title_justify="left")
    table.add_row(*(str(latest[name]) for name in COUNTED))
    console.print(table)
    if tuple(latest.values()) != tuple(seen.values()):
        raise DemoFailed(f"X counts {seen}, the statistics say {latest}")


def _show_logs(api: Api, console: Console, bot_id: str) -> None:
    """The trail of the first bot. Records travel by NATS, so the newest may take a moment to arrive."""
    end = time.monotonic() + PATIENCE.total_seconds() / 4
    while True:
        records = api.get("/api/v1/logs", botId=bot_id, pageSize=200).get("records", [])
        kinds = Counter(record["category"].removeprefix("LOG_CATEGORY_") for record in records)
        if (kinds["USER_ACTIVITY"] >= 3 and kinds["DEBUG"] >= 1) or time.monotonic() > end:
            break
        time.sleep(POLL_SECONDS)
    table = Table(title="What the logs say of the first bot (newest first)", title_justify="left")
    for name in ("time", "kind", "service", "what"):
        table.add_column(name)
    for record in records[:SHOWN_LOG_LINES]:
        table.add_row(
            record["time"][11:23],
            record["category"].removeprefix("LOG_CATEGORY_").lower(),
            record.get("service", ""),
            record.get("body", ""),
        )
    console.print(table)
    if not kinds["USER_ACTIVITY"] or not kinds["DEBUG"]:
        raise DemoFailed(f"the trail is incomplete: {dict(kinds)}")
