"""Types what a page of the documentation tells people to type, into one shell, against the mesh of this run.

A console block holds commands, each behind `$ `; lines that follow one belong to it. Any other block whose first line is a comment
with a file's name is that file, and lies in the shell's folder before the first command is typed. Addresses, the password and paths
are replaced by those of the run. Commands that install something or start a mesh of their own are left out.
"""

import os
import re
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.conftest import PASSWORD, Running

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 90

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"(?:#|//|<!--) ([\w.-]+\.\w+)\b")
_NOT_TYPED = re.compile(r"\bmake |\bnpm install\b|\bgo mod\b")


def text_of(page: str) -> str:
    """A page, by its path from the project's root."""
    return (ROOT / page).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading of the second level, up to the next of its kind; "" is what stands above the first."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], parts[::2], strict=True))[heading]


def commands(text: str) -> list[str]:
    """Every command of the console blocks."""
    return [
        part.rstrip()
        for language, block in _BLOCK.findall(text)
        if language == "console"
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]


def files(text: str) -> dict[str, str]:
    """Every file that the text shows, by name."""
    blocks = (block for language, block in _BLOCK.findall(text) if language != "console")
    return {named[1]: block for block in blocks if (named := _NAME.match(block))}


def typed(
    text: str,
    running: Running,
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> str:
    """What is shown when the text's files lie in `folder` and all its commands are typed there, in order; fails if one fails."""
    for name, content in files(text).items():
        (folder / name).write_text(content, encoding="utf-8")
    given = [command for command in commands(text) if not _NOT_TYPED.search(command)]
    scripts = sysconfig.get_path("scripts")
    real = {
        "http://127.0.0.1:8080": running.url,
        "http://127.0.0.1:8090": running.sandbox,
        "127.0.0.1:9090": running.grpc,
        "correct horse battery staple": PASSWORD,
        ".venv/bin/": f"{scripts}/",
        "/tmp/": f"{folder}/",
        "generated/vivesphere.binpb": str(ROOT / "generated" / "vivesphere.binpb"),
    }
    # In one pass: this project may lie below what stands for something else, such as /tmp/.
    script = re.sub(
        "|".join(map(re.escape, real)),
        lambda found: real[found[0]],
        "\n".join(["set -euo pipefail", *given]),
    )
    done = subprocess.run(  # noqa: S603 - the page's own commands
        ["/bin/bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=patience_seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
