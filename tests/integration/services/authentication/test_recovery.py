"""The way back in from the machine itself: the command as a person runs it, on the running engines."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import text

from cli.embedded import EmbeddedMesh
from cli.environment import inherited, python_module
from cli.registry import PROJECT_ROOT
from mesh.database import Database
from mesh.errors import Unauthenticated
from mesh.secret import Secret
from services.authentication.domain.accounts import UserChange
from services.authentication.domain.user import UserState
from services.authentication.recover import actor
from vivesphere.logging.v1 import log_record_pb2

from .support import CLIENT, PASSWORD, ROOT, World

WRONG = Secret("wrong horse battery")


async def run(command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A command of ours to its end; this process, which runs the engines, goes on meanwhile."""
    return await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def reset(engines: EmbeddedMesh, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`vivesphere users reset-password …` on the data directory of the engines."""
    command = [sys.executable, "-m", "cli.main", "users", "reset-password", *arguments]
    return await run(command, inherited() | {"VIVESPHERE_DATA_DIR": str(engines.data.root)})


async def test_a_locked_out_administrator_is_in_again(
    world: World, engines: EmbeddedMesh, database: Database
) -> None:
    """With the password that is printed, at once, and with nothing of it anywhere else; the trail says who did it."""
    boss = await world.user("boss", "admin")
    before = await world.sign_in.sign_in("boss", PASSWORD, CLIENT)
    for _ in range(4):
        with pytest.raises(Unauthenticated):
            await world.sign_in.sign_in("boss", WRONG, CLIENT)
    done = await reset(engines, "BOSS")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    password = Secret(done.stdout.strip())
    assert len(password.reveal()) >= 26
    assert password.reveal() not in done.stderr
    assert "has to be changed" in done.stderr
    with pytest.raises(Unauthenticated):
        await world.sessions.refresh(before.refresh_token, CLIENT)
    pair = await world.sign_in.sign_in("boss", password, CLIENT)
    assert pair.password_change_required
    async with database.read() as connection:
        payloads = [
            bytes(row.payload) for row in await connection.execute(text("SELECT payload FROM outbox"))
        ]
    assert not any(password.reveal().encode() in payload for payload in payloads)
    events = [log_record_pb2.LogRecord.FromString(payload) for payload in payloads]
    (event,) = [event for event in events if event.audit.action == "user.password_reset_locally"]
    assert (event.actor, event.audit.resource, event.severity_text) == (actor(), f"users/{boss.id}", "WARN")
    assert event.actor.startswith("local:")
    async with world.store.read() as unit:
        entries = await unit.revocations.after(0, world.clock.now(), 10)
    assert [(entry.kind.value, entry.target_id) for entry in entries] == [
        ("SESSION", before.session_id),
        ("USER", boss.id),
    ]


async def test_the_second_factor_is_forgotten_when_asked(
    world: World, engines: EmbeddedMesh, database: Database
) -> None:
    """For an administrator who has lost the device as well."""
    boss = await world.user("boss", "admin")
    async with database.transaction() as connection:
        insert = "INSERT INTO second_factors (user_id, sealed_secret, create_time) VALUES (:id, 'x', now())"
        await connection.execute(text(insert), {"id": boss.id})
    assert (await reset(engines, "boss", "--disable-totp")).returncode == 0
    async with database.read() as connection:
        left = await connection.execute(text("SELECT count(*) FROM second_factors"))
        assert left.scalar_one() == 0


async def test_what_cannot_be_done_is_told_and_changes_nothing(world: World, engines: EmbeddedMesh) -> None:
    """An unknown name, even one that looks like an option, and an account that a password would not open."""
    gone = await world.user("gone")
    await world.accounts.update(gone.id, UserChange(state=UserState.DISABLED), ROOT)
    for name, why in (("nobody", "there is no user nobody"), ("gone", "the account gone is disabled")):
        done = await reset(engines, name)
        assert (done.returncode, done.stdout) == (1, "")
        assert why in done.stderr
        assert "Traceback" not in done.stderr
    done = await reset(engines, "--", "--help")
    assert (done.returncode, done.stdout) == (1, "")
    await world.accounts.update(gone.id, UserChange(state=UserState.ACTIVE), ROOT)
    await world.sign_in.sign_in("gone", PASSWORD, CLIENT)


async def test_without_a_running_database_it_says_what_to_start(
    world: World, engines: EmbeddedMesh, tmp_path: Path
) -> None:
    """Neither the command here nor the one in a container may end in a trace."""
    command = [
        sys.executable,
        "-m",
        "cli.main",
        "users",
        "reset-password",
        "boss",
        "--data-dir",
        str(tmp_path),
    ]
    done = await run(command, inherited())
    assert (done.returncode, done.stdout) == (1, "")
    assert "start it with `vivesphere up` first" in done.stderr
    own = engines.environment("authentication")
    elsewhere = own["VIVESPHERE_DATABASE_URL"].replace(str(engines.ports["postgres"]), "1")
    alone = [*python_module("services.authentication.recover"), "boss"]
    done = await run(alone, inherited() | own | {"VIVESPHERE_DATABASE_URL": elsewhere})
    assert (done.returncode, done.stdout) == (1, "")
    assert "the database does not answer" in done.stderr
    done = await run(alone, inherited())
    assert (done.returncode, done.stdout) == (1, "")
    assert "VIVESPHERE_DATABASE_URL is not set" in done.stderr
