"""What the README and the page about signing in tell people to type works as it is written."""

import os
import re
import subprocess
import sysconfig
from pathlib import Path

from tests.e2e.conftest import PASSWORD, Running

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """Every command of a page's console blocks; lines that follow one and are no prompt belong to it."""
    return [
        part.rstrip()
        for block in BLOCK.findall(page)
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]


def typed(page: str, running: Running, folder: Path) -> str:
    """What is shown when every command but those that start the mesh is typed, in order, into one shell against this run's mesh."""
    given = [command for command in commands((ROOT / page).read_text()) if "make " not in command]
    script = "\n".join(["set -euo pipefail", *given])
    real = {
        "http://127.0.0.1:8080": running.url,
        "http://127.0.0.1:8090": running.sandbox,
        "127.0.0.1:9090": running.grpc,
        "correct horse battery staple": PASSWORD,
        ".venv/bin/": f"{sysconfig.get_path('scripts')}/",
        "/tmp/": f"{folder}/",
    }
    assert all(written in script or written.endswith(":8090") for written in real)
    # In one pass: this project may lie below what stands for something else, such as /tmp/.
    script = re.sub("|".join(map(re.escape, real)), lambda found: real[found[0]], script)
    done = subprocess.run(  # noqa: S603 - the page's own commands
        ["/bin/bash", "-c", script],
        cwd=folder,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_quick_start_does_what_it_says(running: Running, tmp_path: Path) -> None:
    """The first thing that a newcomer tries."""
    shown = typed("README.md", running, tmp_path)
    assert '"verified":true' in shown.replace(" ", "")
    assert "Hello, world" in shown
    assert "vivesphere.bot_manager.v1.PostService" in shown
    assert '"handle": "hello_bot"' in shown
    assert "INVALID_FIELD" in shown


def test_the_page_about_signing_in_does_what_it_says(running: Running, tmp_path: Path) -> None:
    """From the first administrator to a browser's cookies; each refusal that the page announces comes, and no other."""
    shown = typed("docs/authentication.md", running, tmp_path)
    refused = re.findall(r'"reason": ?"([A-Z_]+)"', shown)
    assert refused == ["SECOND_FACTOR_REQUIRED", "CROSS_ORIGIN_REFUSED", "TOKEN_INVALID"], shown
    for told in ('"permissions":["*"]', "the same successor", "recoveryCodes", '"active":true', "verified 0"):
        assert told in shown, shown
