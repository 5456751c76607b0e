"""The copy on the disk: private, whole, of this process alone, and not older than it may be."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.configuration.copy import Offer
from mesh.configuration.file import CopyFile, Kept, decode, encode
from mesh.telemetry.logs import configure
from tests.fakes.clock import START, ManualClock
from tests.unit.mesh.configuration.said import ATTEMPTS, HISTORY, LEASE, WORDS, said, staged

KEY = b"k" * 32
DAY = timedelta(days=1)


class Disk:
    """A directory with a clock; every file made here is a process's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.kept = Kept(said(7, (ATTEMPTS, staged(5, (9,), 30)), (LEASE, 31.5)), START, {WORDS.key: ["x"]})

    def file(self, service: str = "logging", instance: str = "logging-a-1", key: bytes = KEY) -> CopyFile:
        return CopyFile(self.folder, service, instance, key, 3 * DAY, self.clock)

    async def rested(self) -> None:
        """The file was written, and its loop waits for the second to pass."""
        async with asyncio.timeout(30):
            while self.clock.sleeping == 0:
                await asyncio.sleep(0.001)

    async def write(
        self, file: CopyFile, newest: Callable[[], Kept | None] | None = None
    ) -> asyncio.Task[None]:
        """Run the file's loop until it has written once."""
        running = asyncio.create_task(file.run(newest or (lambda: self.kept)))
        file.changed()
        async with asyncio.timeout(30):
            while not file.path.exists():
                await asyncio.sleep(0.001)
        return running


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "data")


async def end(running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_was_written_is_read_again(disk: Disk) -> None:
    """Settings, staged values, roles, bindings, what was in force, and where to go on from."""
    await end(await disk.write(disk.file()))
    assert disk.file().load() == disk.kept


async def test_the_file_is_private_and_nothing_else_is_left(disk: Disk) -> None:
    """Roles and settings of the mesh are nobody else's business."""
    file = disk.file()
    await end(await disk.write(file))
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in disk.folder.iterdir()] == [file.path.name]


async def test_two_processes_never_share_a_file(disk: Disk) -> None:
    """alibaba/nacos#11774: they overwrote each other's."""
    one, other = disk.file(instance="logging-a-1"), disk.file(instance="logging-a-2")
    assert one.path != other.path
    await end(await disk.write(one))
    assert other.load() is None
    one.path.rename(other.path)
    assert other.load() is None, "renamed, it still belongs to the other one"


@pytest.mark.parametrize("at", [0, 10, 64, 65, 200, -1])
async def test_a_file_that_was_altered_is_none(disk: Disk, at: int) -> None:
    """A role more in it would be a way in."""
    file = disk.file()
    await end(await disk.write(file))
    content = bytearray(file.path.read_bytes())
    content[at] ^= 1
    file.path.write_bytes(content)
    assert disk.file().load() is None


async def test_a_file_with_a_role_more_is_none(disk: Disk) -> None:
    """The attack itself."""
    file = disk.file()
    await end(await disk.write(file))
    seal, _, body = file.path.read_bytes().partition(b"\n")
    document = json.loads(body)
    document["roles"]["viewer"] = ["*"]
    file.path.write_bytes(seal + b"\n" + json.dumps(document).encode())
    assert disk.file().load() is None


async def test_a_file_of_another_service_or_password_is_none(disk: Disk) -> None:
    """The key comes from the service's own database password."""
    await end(await disk.write(disk.file()))
    assert disk.file(key=b"x" * 32).load() is None
    assert disk.file(service="authentication").load() is None


async def test_a_file_that_is_too_old_or_from_the_future_is_none(disk: Disk) -> None:
    """Who was dismissed last month must not be let in by a forgotten file."""
    await end(await disk.write(disk.file()))
    await disk.clock.advance(3 * DAY)
    assert disk.file().load() is not None
    await disk.clock.advance(timedelta(seconds=1))
    assert disk.file().load() is None
    disk.clock = ManualClock(START - timedelta(minutes=6))
    assert disk.file().load() is None


async def test_an_unreadable_file_is_none(disk: Disk, tmp_path: Path) -> None:
    """Whatever lies there, the process starts, and a link leads nowhere."""
    file = disk.file()
    disk.folder.mkdir()
    file.path.write_bytes(b"")
    assert file.load() is None
    file.path.unlink()
    file.path.mkdir()
    assert file.load() is None
    file.path.rmdir()
    file.path.symlink_to(tmp_path / "elsewhere")
    assert file.load() is None


async def test_a_reason_is_logged_once(disk: Disk, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody looks for a file that was silently not used."""
    await end(await disk.write(disk.file()))
    configure("logging", "logging-a-1", "INFO")
    disk.file(key=b"x" * 32).load()
    printed = capsys.readouterr()
    lines = [line for line in (printed.out + printed.err).splitlines() if "is ignored" in line]
    assert len(lines) == 1
    assert "seal" in lines[0]


async def test_values_of_sensitive_settings_are_not_written(disk: Disk) -> None:
    """Their keys are, so that nobody goes on from a copy that lacks them."""
    offer = Offer(("10.1.2.3:22",), sensitive=True, staged=None)
    disk.kept = replace(
        disk.kept, copy=said(7, (WORDS, offer), (ATTEMPTS, 5)), in_force={WORDS.key: "10.9.9.9"}
    )
    file = disk.file()
    await end(await disk.write(file))
    assert b"10." not in file.path.read_bytes()
    loaded = disk.file().load()
    assert loaded is not None
    assert loaded.omitted == {WORDS.key}
    assert (ATTEMPTS.key in loaded.copy.settings, WORDS.key in loaded.copy.settings) == (True, False)


async def test_a_burst_is_written_at_most_once_a_second(disk: Disk) -> None:
    """Thousands of revisions in an import must not become thousands of fsyncs."""
    revisions: list[int] = []

    def newest() -> Kept:
        revisions.append(len(revisions))
        return disk.kept

    file = disk.file()
    running = await disk.write(file, newest)
    await disk.rested()
    for _ in range(50):
        file.changed()
        await asyncio.sleep(0)
    assert len(revisions) == 1
    await disk.rested()
    await disk.clock.advance(timedelta(seconds=1))
    assert len(revisions) == 2
    await disk.rested()
    await end(running)
    assert len(revisions) == 2


async def test_what_is_left_is_written_at_the_end(disk: Disk) -> None:
    """The last change before a restart is the one that matters after it."""
    file = disk.file()
    running = await disk.write(file)
    await disk.rested()
    disk.kept = replace(disk.kept, copy=said(8, (ATTEMPTS, 6)))
    file.changed()
    await end(running)
    loaded = disk.file().load()
    assert loaded is not None
    assert loaded.copy.revision == 8


async def test_a_quiet_history_does_not_age(disk: Disk) -> None:
    """Nothing was changed for a week, and configuration was heard of a minute ago: the file says so."""
    file = disk.file()
    running = await disk.write(file)
    await disk.rested()
    before = file.path.stat().st_mtime_ns
    await disk.clock.advance(timedelta(minutes=9))
    file.confirmed()
    await disk.clock.advance(timedelta(minutes=2))
    assert file.path.stat().st_mtime_ns == before
    file.confirmed()
    async with asyncio.timeout(30):
        while file.path.stat().st_mtime_ns == before:
            await asyncio.sleep(0.001)
    await end(running)


async def test_a_full_disk_stops_nobody(disk: Disk) -> None:
    """The file is a convenience; the process goes on, and writes again when it can."""
    disk.folder.parent.mkdir(exist_ok=True)
    disk.folder.write_text("in the way")
    file = disk.file()
    running = asyncio.create_task(file.run(lambda: disk.kept))
    file.changed()
    await disk.rested()
    disk.folder.unlink()
    file.changed()
    await disk.clock.advance(timedelta(seconds=1))
    async with asyncio.timeout(30):
        while not file.path.exists():
            await asyncio.sleep(0.001)
    await end(running)


_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1), _json, max_size=5))
def test_any_value_survives_the_disk(values: dict[str, Any]) -> None:
    """What is in force after a start is what was in force before it."""
    copy = replace(said(3), settings={key: Offer((value,)) for key, value in values.items()})
    kept = Kept(copy, START, {})
    assert decode(json.loads(json.dumps(encode(kept)))) == kept
    assert kept.copy.history_id == HISTORY
