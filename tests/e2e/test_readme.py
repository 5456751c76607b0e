"""What the README tells a newcomer to type works as it is written."""

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


def test_the_quick_start_does_what_it_says(running: Running, tmp_path: Path) -> None:
    """Every command but those that start the mesh, typed in order into one shell against this run's mesh."""
    typed = [command for command in commands((ROOT / "README.md").read_text()) if "make " not in command]
    script = "\n".join(["set -euo pipefail", *typed])
    for written, real in (
        ("http://127.0.0.1:8080", running.url),
        ("http://127.0.0.1:8090", running.sandbox),
        ("127.0.0.1:9090", running.grpc),
        ("correct horse battery staple", PASSWORD),
        (".venv/bin/", f"{sysconfig.get_path('scripts')}/"),
    ):
        assert written in script
        script = script.replace(written, real)
    done = subprocess.run(  # noqa: S603 - the README's own commands
        ["/bin/bash", "-c", script],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout
    assert '"verified":true' in shown.replace(" ", "")
    assert "Hello, world" in shown
    assert "vivesphere.bot_manager.v1.PostService" in shown
    assert '"handle": "hello_bot"' in shown
    assert "INVALID_FIELD" in shown
