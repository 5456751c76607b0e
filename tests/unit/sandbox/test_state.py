"""The state file: a restarted sandbox is the same X."""

import stat
from pathlib import Path

import aiohttp
import pytest

from sandbox.app import running
from sandbox.journal import Damaged
from sandbox.settings import Settings
from tests.unit.sandbox.clients import FakeClock, X


async def test_a_restart_keeps_accounts_posts_and_metrics(
    tmp_path: Path, clock: FakeClock, session: aiohttp.ClientSession
) -> None:
    """The embedded mesh restarts with the same data; its bots' keys must go on working."""
    settings = Settings(port=0, state_file=tmp_path / "x" / "state.jsonl")
    async with running(settings, clock) as url:
        x = X(url, clock, session)
        alice = await x.account()
        kept = await alice.post_id("kept", poll={"options": ["a", "b"], "duration_minutes": 5})
        gone = await alice.post_id("gone")
        await alice.send("DELETE", f"/2/tweets/{gone}")
        await x.send("PUT", f"/sandbox/posts/{kept}/metrics", body={"like_count": 3})
        before = await x.posts()
    async with running(settings, clock) as url:
        x = X(url, clock, session)
        again = await x.account()
        assert (again.user_id, again.keys) == (alice.user_id, alice.keys)
        assert await x.posts() == before
        seen = await again.send("GET", "/2/tweets", query={"ids": kept, "tweet.fields": "public_metrics"})
        assert seen.json["data"][0]["public_metrics"]["like_count"] == 3
        assert (await again.post("kept")).status == 403
        assert int(await again.post_id("new")) > int(gone)


async def test_the_state_file_is_private_and_holds_no_key(
    tmp_path: Path, clock: FakeClock, session: aiohttp.ClientSession
) -> None:
    """Whoever searches the data directory for a bot's secrets finds none."""
    path = tmp_path / "state.jsonl"
    async with running(Settings(port=0, state_file=path), clock) as url:
        alice = await X(url, clock, session).account()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [name for name, value in alice.keys.items() if value in path.read_text()]


async def test_a_torn_last_line_is_cut_off(
    tmp_path: Path, clock: FakeClock, session: aiohttp.ClientSession
) -> None:
    """A killed sandbox starts again."""
    path = tmp_path / "state.jsonl"
    settings = Settings(port=0, state_file=path)
    async with running(settings, clock) as url:
        alice = await X(url, clock, session).account()
        await alice.post_id("hello")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"record":"po')
    async with running(settings, clock) as url:
        assert len(await X(url, clock, session).posts()) == 1
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b"[]\n", b'{"record":"meteor"}\n', b'{"record":"post","id":"1"}\n']
)
async def test_a_damaged_file_is_refused(tmp_path: Path, clock: FakeClock, line: bytes) -> None:
    """Better no X than half of one."""
    path = tmp_path / "state.jsonl"
    path.write_bytes(b'{"record":"seed","seed":"' + b"00" * 32 + b'"}\n' + line)
    with pytest.raises(Damaged):
        async with running(Settings(port=0, state_file=path), clock):
            pass
