"""What npm has installed for the TypeScript clients, lent to a folder in which a test works."""

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

CLIENTS = Path(__file__).resolve().parents[1] / "clients" / "typescript"
INSTALLED = CLIENTS / "node_modules"
PATIENCE_SECONDS = 300
"""Of one compiler, on a machine that has other things to do."""


def lend_packages(folder: Path) -> None:
    """Make the folder a package of its own that finds what is installed; skips where nothing is, but not where CI is set."""
    if not INSTALLED.is_dir():
        if os.environ.get("CI"):
            pytest.fail("tests/clients/typescript has no node_modules: make setup")
        pytest.skip("the TypeScript clients are not installed: make setup")
    (folder / "node_modules").symlink_to(INSTALLED)
    (folder / "package.json").write_text('{"type": "module"}')


def run(folder: Path, *command: str) -> None:
    """Run a program of the environment, or one of a package; fails with what it said."""
    scripts = sysconfig.get_path("scripts")
    path = os.pathsep.join([scripts, str(INSTALLED / ".bin"), os.environ["PATH"]])
    done = subprocess.run(  # noqa: S603 - our own command
        ["/usr/bin/env", *command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
