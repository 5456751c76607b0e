"""How the service starts: with the first user, after a restart, and while parts of the mesh are away."""

import socket
from pathlib import Path

from cli.embedded import EmbeddedMesh
from mesh.database import Database
from vivesphere.authentication.v1 import authentication_service_pb2 as pb
from vivesphere.authentication.v1 import user_service_pb2 as users_pb

from .process import PASSWORD, Relay, bearer, eventually, login, read, refused, running


async def test_a_restart_keeps_keys_and_sessions_and_needs_no_configuration(
    engines: EmbeddedMesh, database: Database, tmp_path: Path
) -> None:
    """Nobody is signed out by an update. Configuration is away all the while: who one is can be told without it."""
    log = tmp_path / "log"
    password = tmp_path / "password"
    password.write_text(f"{PASSWORD}\n")
    async with running(engines, log, VIVESPHERE_ADMIN_PASSWORD_FILE=str(password)) as door:
        before = await login(door)
    password.unlink()
    async with running(engines, log, VIVESPHERE_ADMIN_PASSWORD_FILE=str(password)) as door:
        answer = await eventually(
            lambda: door.authentication.GetCurrentUser(
                pb.GetCurrentUserRequest(), metadata=bearer(before.access_token), timeout=5
            )
        )
        assert answer.user.username == "admin"
        assert list(answer.user.permissions) == []
        with refused("POLICY_NOT_LOADED"):
            await door.users.ListUsers(
                users_pb.ListUsersRequest(), metadata=bearer(before.access_token), timeout=5
            )
        after = (
            await door.authentication.RefreshToken(
                pb.RefreshTokenRequest(refresh_token=before.refresh_token), timeout=5
            )
        ).token_pair
        assert (await read(door, before.access_token)).subject == (
            await read(door, after.access_token)
        ).subject


async def test_a_first_user_that_nobody_ever_was_gets_the_newest_first_password(
    engines: EmbeddedMesh, database: Database, tmp_path: Path
) -> None:
    """A start that failed before its password was shown must not lock everybody out; one that succeeded is never undone."""
    for number in (1, 2):
        file = tmp_path / f"one_time_{number}"
        file.write_text(f"one time password {number}")
        async with running(
            engines, tmp_path / f"log{number}", VIVESPHERE_ADMIN_ONE_TIME_PASSWORD_FILE=str(file)
        ) as door:
            if number == 2:
                assert (await login(door, password="one time password 2")).password_change_required
    file = tmp_path / "late"
    file.write_text("too late for this")
    async with running(engines, tmp_path / "log3", VIVESPHERE_ADMIN_ONE_TIME_PASSWORD_FILE=str(file)) as door:
        assert (await login(door, password="one time password 2")).password_change_required
        with refused("LOGIN_FAILED"):
            await login(door, password="too late for this")


async def test_a_one_time_password_has_to_be_changed(
    engines: EmbeddedMesh, database: Database, tmp_path: Path
) -> None:
    """The way of a first start without a password of one's own."""
    file = tmp_path / "one_time"
    file.write_text("one time password")
    async with running(engines, tmp_path / "log", VIVESPHERE_ADMIN_ONE_TIME_PASSWORD_FILE=str(file)) as door:
        pair = await login(door, password="one time password")
        assert pair.password_change_required
        assert (await read(door, pair.access_token)).roles == ()
        changed = (
            await door.authentication.ChangePassword(
                pb.ChangePasswordRequest(
                    current_password="one time password", new_password="my own password"
                ),
                metadata=bearer(pair.access_token),
                timeout=5,
            )
        ).token_pair
        assert not changed.password_change_required
        assert (await read(door, changed.access_token)).roles == ("admin",)
        assert not (await login(door, password="my own password")).password_change_required


async def test_without_a_vault_at_start_keys_are_served_and_signing_in_waits_for_it(
    engines: EmbeddedMesh, database: Database, tmp_path: Path
) -> None:
    """A vault that is sealed after a power cut must not take the signed-in down with it, nor need our restart."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with running(engines, tmp_path / "log", VIVESPHERE_ADMIN_PASSWORD=PASSWORD) as door:
        before = await login(door)
    relay = Relay(engines.ports["openbao"])
    async with running(engines, tmp_path / "log", VIVESPHERE_VAULT_ADDR=f"https://127.0.0.1:{port}") as door:
        assert (await read(door, before.access_token)).session_id == before.session_id
        await eventually(
            lambda: door.authentication.GetCurrentUser(
                pb.GetCurrentUserRequest(), metadata=bearer(before.access_token), timeout=5
            )
        )
        with refused("VAULT_UNAVAILABLE"):
            await login(door)
        await relay.open(port)
        after = await eventually(lambda: login(door))
        assert (await read(door, after.access_token)).roles == ("admin",)
    await relay.close()
