"""Settings on the whole mesh, by the command line: changed, compared, exported, imported, and explained who may."""

import asyncio
import json
import os
import subprocess
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio

from cli.rest import Api, ApiError
from mesh.ids import new_id
from tests.e2e.conftest import PASSWORD, Running
from vivesphere.configuration.v1 import settings_service_pb2, settings_service_pb2_grpc

KEY = "configuration.watch.poll_seconds"
LIFETIME = "authentication.access_token.lifetime"
PATIENCE_SECONDS = 30.0
VIVESPHERE = Path(sysconfig.get_path("scripts")) / "vivesphere"


def test_the_command_line_serves_settings_of_a_running_mesh(
    running: Running, api: Api, tmp_path: Path
) -> None:
    """From a password in a file to a file that changes nothing: as an operator would type it."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    environment = os.environ | {"VIVESPHERE_URL": running.url}

    def run(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(  # noqa: S603 - our own command
            [
                str(VIVESPHERE),
                "settings",
                "--username",
                "admin",
                "--password-file",
                str(password),
                *arguments,
            ],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    def ask(*arguments: str) -> Any:
        return json.loads(run(*arguments, "--json"))

    before = ask("get", KEY)
    assert (before["value"], before.get("modified", False)) == (1, False)
    stored = ask("set", KEY, "0.5", "--etag", before["etag"], "--comment", "look more often")
    assert stored["value"] == 0.5
    assert "INVALID_FIELD" in run("set", KEY, "7", code=1)
    assert "ETAG_MISMATCH" in run("set", KEY, "0.25", "--etag", before["etag"], code=1)
    assert ask("history", KEY)["revisions"][0]["comment"] == "look more often"
    earlier = str(int(stored["revision"]) - 1)
    assert {"key": KEY, "newValue": 0.5} in ask("diff", earlier)["diffs"]

    file = tmp_path / "settings.yaml"
    run("export", "--output", str(file))
    assert f"{KEY}: 0.5\n" in file.read_text()
    assert ask("import", str(file), "--reset-others").get("diffs", []) == []
    file.write_text(file.read_text() + "x.y: 1\n")
    assert "no setting is called x.y" in run("import", str(file), "--dry-run", code=1)
    assert ask("rollback", KEY, earlier)["value"] == 1

    me = api.get("/api/v1/users", filter='username = "admin"')["users"][0]["id"]
    why = api.post(
        "/api/v1/roles:explain",
        {"subject": me, "method": "vivesphere.configuration.v1.SettingsService/UpdateSetting"},
    )
    assert why["allowed"]
    assert why["grant"]["roleId"] == "admin"
    assert why["rule"]["permission"] == "settings.write"
    assert "the role admin of the account grants it" in why["explanation"]


async def test_a_setting_changes_another_service_whichever_way_it_is_changed(
    running: Running, tmp_path: Path
) -> None:
    """By REST, by gRPC and by the command line: how long access tokens live is authentication's business, and nothing is restarted."""

    def lives() -> int:
        with Api(running.url) as client:
            return int(client.sign_in("admin", PASSWORD)["expiresIn"])

    async def until_lives(seconds: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await asyncio.to_thread(lives) != seconds:
                await asyncio.sleep(0.1)

    def by_rest(value: int) -> None:
        with Api(running.url) as client:
            client.sign_in("admin", PASSWORD)
            client.call("PATCH", f"/api/v1/settings/{LIFETIME}", {"value": value})

    async def by_grpc(value: int) -> None:
        with Api(running.url) as client:
            token = (await asyncio.to_thread(client.sign_in, "admin", PASSWORD))["accessToken"]
        request = settings_service_pb2.UpdateSettingRequest(key=LIFETIME)
        request.value.number_value = value
        async with grpc.aio.insecure_channel(running.grpc) as channel:
            stub = settings_service_pb2_grpc.SettingsServiceStub(channel)
            await stub.UpdateSetting(request, metadata=(("authorization", f"Bearer {token}"),), timeout=10)

    def by_command_line(*arguments: str) -> None:
        password = tmp_path / "password"
        password.write_text(PASSWORD)
        signing_in = ["--username", "admin", "--password-file", str(password)]
        environment = os.environ | {"VIVESPHERE_URL": running.url}
        command = [str(VIVESPHERE), "settings", *signing_in, *arguments]
        subprocess.run(command, env=environment, capture_output=True, timeout=60, check=True)  # noqa: S603

    await asyncio.to_thread(by_rest, 120)
    await until_lives(120)
    await by_grpc(90)
    await until_lives(90)
    await asyncio.to_thread(by_command_line, "set", LIFETIME, "60")
    await until_lives(60)
    await asyncio.to_thread(by_command_line, "reset", LIFETIME)
    await until_lives(300)


def test_what_a_role_loses_is_refused_by_another_service(running: Running, api: Api) -> None:
    """With the token that was good a moment ago: roles are configuration's, bots are bot_manager's."""
    name = f"reader-{new_id()[-12:]}"
    api.post("/api/v1/roles", {"id": name, "permissions": ["bots.read", "posts.read"]})
    user = {"username": name, "password": "only for reading", "roles": [name]}
    until(
        lambda: outcome(lambda: api.post("/api/v1/users", user)) == "OK"
    )  # authentication hears of the role in a moment
    with Api(running.url) as reader:
        reader.sign_in(name, "only for reading")
        reader.get("/api/v1/bots")
        api.call("PATCH", f"/api/v1/roles/{name}", {"permissions": ["posts.read"]})
        until(lambda: outcome(lambda: reader.get("/api/v1/bots")) == "PERMISSION_MISSING")
        reader.get("/api/v1/posts")


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def outcome(call: Callable[[], Any]) -> str:
    try:
        call()
    except ApiError as error:
        return error.reason
    return "OK"
