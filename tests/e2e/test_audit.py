"""The trail of the whole mesh, by the command line: exported, proved without the mesh, and a person erased from it."""

import json
import os
import subprocess
import sysconfig
import time
from pathlib import Path

from cli.rest import Api
from tests.e2e.conftest import PASSWORD, Running

PATIENCE_SECONDS = 30.0
VIVESPHERE = Path(sysconfig.get_path("scripts")) / "vivesphere"


def test_the_trail_is_exported_and_proved_without_the_mesh(
    running: Running, api: Api, tmp_path: Path
) -> None:
    """As an auditor would: a checkpoint now, an export later, and the proof on a machine of his own."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    who = ["--url", running.url, "--username", "admin", "--password-file", str(password)]

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(  # noqa: S603 - our own command
            [str(VIVESPHERE), "audit", *arguments],
            env=os.environ | {"VIVESPHERE_TOKEN": ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    _until_there_are_events(api)
    kept, export = tmp_path / "kept.note", tmp_path / "trail.ndjson"
    key = run(*who, "checkpoint", "-o", str(kept)).stderr.partition("verifier key: ")[2].strip()
    run(*who, "export", "-o", str(export))
    proved = run("verify", str(export), "--key", key, "--checkpoint", str(kept))
    assert "sound: " in proved.stdout
    assert "sound: " in run(*who, "verify", "--checkpoint", str(kept)).stdout
    listed = json.loads(run(*who, "list", "--action", "Login", "--limit", "1", "--json").stdout)["events"]
    assert listed[0]["action"].endswith("/Login")
    lines = export.read_text(encoding="utf-8").splitlines(keepends=True)
    del lines[2]
    export.write_text("".join(lines), encoding="utf-8")
    broken = run("verify", str(export), "--key", key, code=1)
    assert "BROKEN (REMOVED): Event 2 is missing" in broken.stdout


def _until_there_are_events(api: Api) -> None:
    """Signing in is on the trail; it arrives there a moment later."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(api.get("/api/v1/audit/events").get("events", [])) < len(("one", "two", "three")):
        assert time.monotonic() < deadline, "nothing came onto the trail"
        api.get("/api/v1/audit/checkpoint")
        time.sleep(0.2)
