"""The process supervisor, with small real programs as children."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from cli.child import ChildFailed, ChildSpec, run_to_end
from cli.registry import PROJECT_ROOT
from cli.supervisor import LONGEST_DELAY_SECONDS, Event, Supervisor, restart_delay

WAIT_SECONDS = 10.0
SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({0!r}, 'w'); time.sleep(600)"
)


def python(name: str, code: str, cwd: Path, ready: Callable[[], Awaitable[bool]] | None = None) -> ChildSpec:
    spec = ChildSpec(name, [sys.executable, "-I", "-S", "-c", code], {"PATH": os.environ["PATH"]}, cwd)
    return spec if ready is None else ChildSpec(name, spec.argv, spec.env, cwd, ready)


def exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        return os.access(path, os.F_OK)

    return ready


class Reports:
    """Collects events and lets a test wait for one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    async def wait_for(self, kind: str, count: int = 1) -> Event:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(found := [event for event in self.events if event.kind == kind]) < count:
                self._news.clear()
                await self._news.wait()
        return found[count - 1]

    def order(self, kind: str) -> list[str]:
        return [event.name for event in self.events if event.kind == kind]


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
async def supervisor(tmp_path: Path, reports: Reports) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "logs", reports)
    yield supervisor
    await supervisor.stop()


def pids(supervisor: Supervisor) -> list[int]:
    return [child.pid for child in supervisor.children if child.pid is not None]


async def gone(pid: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while psutil.pid_exists(pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                    return
            await asyncio.sleep(0.02)


async def test_children_stop_in_the_opposite_order_of_their_stages(
    supervisor: Supervisor, reports: Reports, tmp_path: Path
) -> None:
    """Doors close first, engines last."""
    await supervisor.start(1, python("engine", SLEEPER, tmp_path))
    await supervisor.start(3, python("door", SLEEPER, tmp_path))
    await supervisor.start(2, python("service", SLEEPER, tmp_path))
    await supervisor.stop()
    assert reports.order("stopped") == ["door", "service", "engine"]
    assert pids(supervisor) == []


async def test_start_returns_when_the_probe_says_yes(
    supervisor: Supervisor, reports: Reports, tmp_path: Path
) -> None:
    """What comes next relies on it."""
    code = f"import time; time.sleep(0.3); open({str(tmp_path / 'flag')!r}, 'w'); time.sleep(600)"
    await supervisor.start(1, python("slow", code, tmp_path, exists(tmp_path / "flag")))
    assert (tmp_path / "flag").exists()
    assert [event.kind for event in reports.events] == ["starting", "ready"]


async def test_a_child_that_never_was_ready_fails_the_start_with_its_last_words(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """Restarting would hide the mistake."""
    code = "print('cannot read the map'); raise SystemExit(3)"
    with pytest.raises(ChildFailed, match=r"(?s)lost ended with code 3.*cannot read the map"):
        await supervisor.start(1, python("lost", code, tmp_path, exists(tmp_path / "never")))


async def test_a_probe_that_never_says_yes_fails_the_start(supervisor: Supervisor, tmp_path: Path) -> None:
    """A hanging child must not hang its supervisor."""
    argv = [sys.executable, "-I", "-S", "-c", SLEEPER]
    spec = ChildSpec("mute", argv, {}, tmp_path, exists(tmp_path / "never"), ready_seconds=0.2)
    with pytest.raises(ChildFailed, match="mute was not ready within"):
        await supervisor.start(1, spec)


async def test_a_crashed_child_is_reported_and_started_again(
    supervisor: Supervisor, reports: Reports, tmp_path: Path
) -> None:
    """The mesh heals itself and says so."""
    await supervisor.start(1, python("worker", SLEEPER, tmp_path))
    (first,) = pids(supervisor)
    os.kill(first, signal.SIGKILL)
    crashed = await reports.wait_for("crashed")
    assert "was killed by SIGKILL" in crashed.detail
    await reports.wait_for("ready", 2)
    (second,) = pids(supervisor)
    assert second != first


async def test_variables_of_the_first_start_are_not_given_again(
    supervisor: Supervisor, reports: Reports, tmp_path: Path
) -> None:
    """They name a password file that is gone by then."""
    seen = tmp_path / "seen"
    seen.touch()
    code = "import os, time; open('seen', 'a').write(f'{os.environ.get(\"ONCE\")}\\n'); time.sleep(0 if 'ONCE' in os.environ else 600)"

    async def ready() -> bool:
        return len(seen.read_text().split()) >= len(reports.order("starting"))

    argv = [sys.executable, "-I", "-S", "-c", code]
    await supervisor.start(1, ChildSpec("auth", argv, {}, tmp_path, ready, first_env={"ONCE": "file"}))
    await reports.wait_for("ready", 2)
    assert seen.read_text() == "file\nNone\n"


def test_restarts_become_rarer_up_to_a_limit() -> None:
    """A child that cannot run must not eat the machine."""
    assert [restart_delay(n) for n in (1, 2, 3, 4)] == [0.5, 1, 2, 4]
    assert restart_delay(1000) == LONGEST_DELAY_SECONDS


async def test_a_child_that_ignores_sigterm_is_killed(
    supervisor: Supervisor, reports: Reports, tmp_path: Path
) -> None:
    """Stopping has a bound."""
    flag = tmp_path / "flag"
    argv = [sys.executable, "-I", "-S", "-c", STUBBORN.format(str(flag))]
    await supervisor.start(1, ChildSpec("stubborn", argv, {}, tmp_path, exists(flag), stop_seconds=0.2))
    (pid,) = pids(supervisor)
    began = time.monotonic()
    await supervisor.stop()
    assert time.monotonic() - began < 2
    assert reports.order("killed") == ["stubborn"]
    assert not psutil.pid_exists(pid)


async def test_what_a_child_leaves_behind_is_ended_too(supervisor: Supervisor, tmp_path: Path) -> None:
    """A worker without its parent would keep ports and connections."""
    flag = tmp_path / "pid"
    code = (
        "import os, subprocess, sys, time\n"
        f"worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(flag)!r} + '.new', 'w').write(str(worker.pid)); os.rename({str(flag)!r} + '.new', {str(flag)!r})\n"
        "time.sleep(600)"
    )
    await supervisor.start(1, python("parent", code, tmp_path, exists(flag)))
    await supervisor.stop()
    await gone(int(flag.read_text()))


async def test_output_without_line_ends_is_kept(tmp_path: Path) -> None:
    """The last words of a dying process often lack one."""
    with pytest.raises(ChildFailed) as told:
        await run_to_end(
            python("talker", "print('x' * 200_000); print('bye', end=''); raise SystemExit(1)", tmp_path),
            tmp_path,
        )
    assert told.value.lines[-1] == "bye"


async def test_ctrl_c_reaches_the_supervisor_alone(supervisor: Supervisor, tmp_path: Path) -> None:
    """Only then can it stop the children in order."""
    await supervisor.start(1, python("child", SLEEPER, tmp_path))
    (pid,) = pids(supervisor)
    assert os.getpgid(pid) != os.getpgid(0)
    assert os.getsid(pid) != os.getsid(0)


ORPHANER = """
import asyncio, sys
from pathlib import Path
from cli.child import ChildSpec
from cli.supervisor import Supervisor

async def main():
    here = Path(sys.argv[1])
    supervisor = Supervisor(here)
    async def ready():
        return (here / "flag").exists()
    code = {stubborn!r}.format(str(here / "flag"))
    await supervisor.start(1, ChildSpec("stubborn", [sys.executable, "-I", "-S", "-c", code], {{}}, here, ready))
    print(supervisor.children[0].pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_no_child_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    """Nobody else would ever stop it."""
    code = ORPHANER.format(stubborn=STUBBORN)
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220, S603 - starts at once; our own code
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert psutil.pid_exists(pid)
        process.kill()
        await gone(pid)
