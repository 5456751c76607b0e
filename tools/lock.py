"""Pins every dependency with hashes and without any index address: `python -m tools.lock [--upgrade]`.

    requirements/uv.txt   uv itself, installed first
    requirements/run.txt  what `vivesphere up` needs, engines included
    requirements/dev.txt  the same versions, plus what building and testing needs
    requirements/image.txt, build.txt  what the container image installs, and what builds it

The locks hold for every platform (`--universal`), so they are compiled once and installed with `--require-hashes` everywhere.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = "3.11"
COMPILE = (
    "pip",
    "compile",
    "--quiet",
    "--universal",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-header",
    "--no-annotate",
    "--python-version",
    OLDEST_PYTHON,
)
LOCKS: dict[str, tuple[str, ...]] = {
    "uv.txt": ("requirements/uv.in",),
    "run.txt": ("--extra", "embedded", "pyproject.toml"),
    "dev.txt": (
        "--extra",
        "embedded",
        "--group",
        "pyproject.toml:dev",
        "pyproject.toml",
        "-c",
        "requirements/run.txt",
    ),
    "image.txt": ("pyproject.toml", "-c", "requirements/run.txt"),
    "build.txt": ("requirements/build.in", "-c", "requirements/dev.txt"),
}


def main(arguments: list[str]) -> int:
    """Compile every lock; returns the exit status."""
    uv = str(Path(sysconfig.get_path("scripts"), "uv"))
    for name, inputs in LOCKS.items():
        command = [uv, *COMPILE, *arguments, *inputs, "--output-file", f"requirements/{name}"]
        done = subprocess.run(command, cwd=ROOT, check=False)  # noqa: S603 - our own argv
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
