"""`vivesphere up`, `status` and `down` as a person uses them, on the real engines with stand-in services."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from cli.child import LAUNCHER
from cli.launch import NOBODY
from tests.integration.cli.standin import Project

LAST_LINE = "Ctrl-C stops everything."
STOP_SECONDS = 30.0


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


class Up:
    """A running `up`, its output so far, and its children."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.output = self.read_until(LAST_LINE)
        self.children = psutil.Process(process.pid).children()

    def read_until(self, text: str) -> str:
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line)
            if text in line:
                return "".join(lines)
        raise AssertionError("ended early:\n" + "".join(lines))

    def rest(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read()


class Start(Protocol):
    """Starts `up` and returns when it is ready; it is stopped at the test's end."""

    def __call__(self, *prefix: str, project: Project = ..., **more: str) -> Up: ...


@pytest.fixture
def start(project: Project) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def start(*prefix: str, project: Project = project, **more: str) -> Up:
        running.append(project.up(*prefix, **more))
        return Up(running[-1])

    yield start
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(15)
        assert process.stdout is not None
        process.stdout.close()


def nothing_left(children: list[psutil.Process], seconds: float = STOP_SECONDS) -> bool:
    _, alive = psutil.wait_procs(children, timeout=seconds)
    return not [
        process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


def test_from_the_first_start_to_the_last_stop(project: Project, start: Start) -> None:
    """The whole story: one password, once; status; a crash that heals; Ctrl-C; the same data again."""
    up = start()
    assert len(up.children) == 7  # three engines, two services, sandbox, gateway
    password = re.search(r"admin / (\S+)", up.output)
    assert password is not None
    taken = project.data / "services" / "authentication" / "password"
    assert taken.read_text() == password[1]
    taken.unlink()
    assert not holds(project.data, password[1])

    status = project.run("status")
    assert status.returncode == 0
    assert all(name in status.stdout for name in ("postgres", "logging", "gateway", "supervisor"))
    second = project.run("up")
    assert second.returncode == 1
    assert f"process {up.process.pid} already runs" in second.stderr

    victim = next(child for child in up.children if child.cmdline()[-1] == "services.logging")
    victim.kill()
    story = up.read_until("logging ready")
    assert "logging is down: was killed by SIGKILL" in story

    began = time.monotonic()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(STOP_SECONDS) == 0
    assert time.monotonic() - began < STOP_SECONDS
    stopped = re.findall(r"✓ (\w+) stopped", up.rest())
    assert stopped[0] == "gateway"
    assert set(stopped[-3:]) == {"postgres", "nats", "openbao"}
    assert nothing_left(up.children, 1)
    assert project.run("status").returncode == 3

    again = start()
    assert "admin /" not in again.output
    assert project.run("down").returncode == 0
    assert again.process.wait(1) == 0
    assert nothing_left(again.children, 1)


def test_killed_without_warning_it_leaves_no_process_and_starts_again(start: Start) -> None:
    """`kill -9`, or the out-of-memory killer."""
    up = start()
    up.process.kill()
    up.process.wait(5)
    again = start()  # at once, while PostgreSQL may still be shutting down
    assert nothing_left(up.children)
    again.process.send_signal(signal.SIGTERM)
    assert again.process.wait(STOP_SECONDS) == 0


def test_a_given_password_reaches_authentication_alone(project: Project, start: Start) -> None:
    """And is neither printed nor left on disk nor in anybody's environment."""
    up = start(VIVESPHERE_ADMIN_PASSWORD="correct-horse-battery")
    assert "admin /" not in up.output
    taken = project.data / "services" / "authentication" / "password"
    assert taken.read_text() == "correct-horse-battery"
    taken.unlink()
    assert not holds(project.data, "correct-horse-battery")
    for note in (project.data / "services").rglob("environment.json"):
        assert "correct-horse-battery" not in json.loads(note.read_text()).values()


def test_a_taken_port_is_an_error_that_names_it(project: Project) -> None:
    """Before anything is started."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        told = project.run("up", VIVESPHERE_GRPC_PORT=str(port))
    assert told.returncode == 1
    assert f"port {port} for gRPC is held by" in told.stderr
    assert f"pid {os.getpid()}" in told.stderr
    assert not (project.data / "postgres").exists()


def test_a_service_that_cannot_start_is_shown_with_its_last_words(project: Project) -> None:
    """Everything that had started is stopped again."""
    (project.root / "services" / "logging" / "__main__.py").write_text(
        "raise SystemExit('the map is missing')"
    )
    told = project.run("up")
    assert told.returncode == 1
    assert "logging ended with code 1" in told.stderr
    assert "the map is missing" in told.stderr
    assert project.run("status").returncode == 3


def test_nothing_runs_is_said_so(project: Project) -> None:
    """`down` twice is no error."""
    assert project.run("down").returncode == 0
    assert project.run("status").returncode == 3


@pytest.fixture
def open_project() -> Iterator[Project]:
    """A project in a directory that every user may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="vivesphere-") as folder:
        Path(folder).chmod(0o755)
        yield Project(Path(folder))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_can_run_it(open_project: Project, start: Start) -> None:
    """PostgreSQL then runs directly, without a namespace of its own.

    The launcher makes us `nobody` who may read root's directories, where the Python environment may lie.
    """
    open_project.data.mkdir(mode=0o700)
    os.chown(open_project.data, NOBODY, NOBODY)
    become_nobody = ("-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(signal.SIGKILL)), "capability")
    up = start(sys.executable, *become_nobody, project=open_project)
    assert {child.uids().effective for child in up.children} == {NOBODY}
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(STOP_SECONDS) == 0
    assert nothing_left(up.children, 1)


def holds(folder: Path, secret: str) -> bool:
    """Whether any file below `folder` holds the text."""
    return any(
        secret.encode() in path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
