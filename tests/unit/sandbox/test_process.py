"""`python -m sandbox` as its users start it."""

import asyncio
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path

import aiohttp
import pytest

from sandbox.settings import BadSetting, Settings, from_environment
from tests.unit.sandbox.clients import FakeClock, X

ROOT = Path(__file__).parents[3]


async def _start(**settings: str) -> asyncio.subprocess.Process:
    environment = {**os.environ, **{f"VIVESPHERE_SANDBOX_{name}": value for name, value in settings.items()}}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox", cwd=ROOT, env=environment, stdout=PIPE, stderr=PIPE
    )


async def test_it_prints_one_line_when_ready_and_stops_at_once(session: aiohttp.ClientSession) -> None:
    """A supervisor reads the line and sends SIGTERM, even while a client is kept waiting."""
    process = await _start(PORT="0")
    assert process.stdout
    assert process.stderr
    line = (await asyncio.wait_for(process.stdout.readline(), 10)).decode()
    assert line.startswith("X sandbox ready at http://127.0.0.1:")
    x = X(line.split()[-1], FakeClock(time.time()), session)
    alice = await x.account()
    await x.fault("timeout_after")
    waiting = asyncio.create_task(alice.post("hello"))
    while not await x.posts():  # each look is a round trip, so the other request gets its turn
        pass
    process.send_signal(signal.SIGTERM)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await waiting
    output, errors = await asyncio.wait_for(process.communicate(), 5)
    assert (process.returncode, output, errors) == (0, b"", b"")


async def test_a_taken_port_is_a_clear_error() -> None:
    """Not a traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = await _start(PORT=str(taken.getsockname()[1]))
        _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 1
    assert errors.startswith(b"sandbox: cannot start: ")
    assert errors.count(b"\n") == 1


def test_settings_have_defaults_and_are_read() -> None:
    """The documented handles."""
    assert from_environment({}) == Settings("127.0.0.1", 8090, rate_limits=True)
    given = {
        "PORT": "0",
        "HOST": "::1",
        "RATE_LIMITS": "off",
        "STATE_FILE": "/x",
        "DUPLICATE_WINDOW_SECONDS": "5",
    }
    read = from_environment({f"VIVESPHERE_SANDBOX_{name}": value for name, value in given.items()})
    assert read == Settings("::1", 0, rate_limits=False, duplicate_window_seconds=5, state_file=Path("/x"))


@pytest.mark.parametrize(("name", "value"), [("PORT", "65536"), ("PORT", "http"), ("RATE_LIMITS", "maybe")])
def test_a_wrong_setting_names_its_variable(name: str, value: str) -> None:
    """Found at start, not later."""
    with pytest.raises(BadSetting, match=f"VIVESPHERE_SANDBOX_{name}"):
        from_environment({f"VIVESPHERE_SANDBOX_{name}": value})
