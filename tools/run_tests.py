"""Runs all tests: `python -m tools.run_tests [pytest options]`, two pytest processes side by side.

Tests of a whole mesh have engines of their own and mostly wait: for a post's time, for a process that was killed to come back. All
others share one set of engines and mostly compute. One after the other they would take as long as both together, with a core idle. What
the first group says is shown once the second is done. The exit status is 0 only when both are.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHOLE_MESH = ("tests/e2e", "tests/chaos")


def commands(options: list[str]) -> tuple[list[str], list[str]]:
    """The command of each group: every test belongs to one of them."""
    pytest = [sys.executable, "-m", "pytest"]
    others = [f"--ignore={folder}" for folder in WHOLE_MESH]
    return [*pytest, "-p", "no:cacheprovider", *options, *WHOLE_MESH], [*pytest, *options, *others]


def side_by_side(first: list[str], second: list[str]) -> int:
    """Run both, the first unseen until the second is done; returns the exit status."""
    with tempfile.TemporaryFile() as said:
        waiting = subprocess.Popen(first, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)  # noqa: S603 - our own argv
        try:
            status = subprocess.run(second, cwd=ROOT, check=False).returncode  # noqa: S603 - our own argv
            status = waiting.wait() or status
        finally:
            if waiting.poll() is None:
                waiting.terminate()
                waiting.wait(timeout=60)
            said.seek(0)
            print(f"\n{' '.join(WHOLE_MESH)}:", flush=True)
            sys.stdout.buffer.write(said.read())
            sys.stdout.flush()
    return status


if __name__ == "__main__":
    sys.exit(side_by_side(*commands(sys.argv[1:])))
