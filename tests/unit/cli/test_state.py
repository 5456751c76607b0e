"""The lock and the state file of a data directory."""

import os
from pathlib import Path

import pytest

from cli.layout import DataDir
from cli.state import AlreadyRunning, ChildState, Lock, State, read_state, running_pid, write_state
from cli.status import process_lines


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "data")


def test_a_second_supervisor_is_refused_and_told_of_the_first(data: DataDir) -> None:
    """Two PostgreSQL servers on one cluster would destroy it."""
    with Lock(data):
        assert running_pid(data) == os.getpid()
        with pytest.raises(AlreadyRunning, match=str(os.getpid())):
            Lock(data).__enter__()


def test_the_lock_is_free_again_after_its_end(data: DataDir) -> None:
    """A stop must allow the next start."""
    with Lock(data):
        pass
    assert running_pid(data) is None
    with Lock(data):
        pass


def test_nothing_runs_where_nothing_ever_ran(data: DataDir) -> None:
    """`status` must not create a data directory."""
    assert running_pid(data) is None
    assert not data.root.exists()


def test_state_is_read_as_it_was_written(data: DataDir) -> None:
    """`status` shows it from another process."""
    state = State(
        {"pid": 1, "started": 2.0}, {"nats": 3}, {"grpc": "x"}, [ChildState("nats", 4, 5.0, {"nats": 3})]
    )
    write_state(data, state)
    assert read_state(data) == state


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"children": [1]}', '{"children": [], "unknown": 1}'])
def test_a_damaged_state_file_is_no_obstacle(data: DataDir, text: str) -> None:
    """It only holds what can be found out again."""
    data.state.parent.mkdir(parents=True)
    data.state.write_text(text)
    assert read_state(data) == State()


def test_processes_are_shown_with_what_can_be_seen() -> None:
    """A child that waits for its restart has no pid and no memory."""
    state = State(
        {"pid": os.getpid(), "started": 10.0}, {}, {}, [ChildState("nats", None, 20.0, {"nats": 3})]
    )
    supervisor, nats = process_lines(state, now=30.0)
    assert supervisor.uptime_seconds == 20.0
    assert supervisor.memory_mib is not None
    assert (nats.pid, nats.memory_mib, nats.ports) == (None, None, ["3"])
