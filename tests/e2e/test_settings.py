"""Settings on the whole mesh, by the command line: changed, compared, exported, imported, and explained who may."""

import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from cli.rest import Api
from tests.e2e.conftest import PASSWORD, Running

KEY = "configuration.watch.poll_seconds"
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
