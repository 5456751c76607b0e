"""Checks the contracts without a network: `python -m tools.contracts`.

Three checks, each of which prints its verdict; any that fails makes the exit status 1:

- lint: `buf lint`, rules STANDARD and COMMENTS;
- format: `buf format`;
- breaking: `buf breaking`, rules FILE, against the contracts at the point where the work tree left the main branch
  (origin/main, else main). Skipped, with the reason, where git or its history has nothing to compare with.

buf cannot resolve third-party imports offline, so it reads descriptor sets that `tools.protoc` compiles; buf.yaml tells more.
"""

import io
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

from tools import protoc
from tools.generate import PROTO, ROOT

OURS = "vivesphere"  # folder of our packages; everything else in an image is third-party
MAIN_BRANCHES = ("origin/main", "main")
TIMEOUT_SECONDS = 120


class NothingToCompare(Exception):
    """There is no earlier state of the contracts; the message says why."""


def main() -> int:
    """Runs all checks; returns the exit status."""
    try:
        return 0 if all(run_checks()) else 1
    except protoc.CompileError as error:
        print(error, file=sys.stderr)
        return 1


def run_checks() -> list[bool]:
    """Runs every check, also after one that failed; True for each that passed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        current = folder / "current.binpb"
        current.write_bytes(protoc.compile_image(PROTO))
        return [
            report("lint", buf("lint", str(current), *_our_rules())),
            report("format", buf("format", str(PROTO), "--diff", "--exit-code")),
            check_breaking(current, folder),
        ]


def check_breaking(current: Path, folder: Path) -> bool:
    """True if clients of the earlier contracts can go on with those in `current`, or if there are no earlier ones."""
    try:
        commit = baseline_commit(ROOT)
        old = folder / "old.binpb"
        old.write_bytes(image_at(ROOT, commit, folder / "old"))
    except NothingToCompare as reason:
        print(f"breaking: skipped, {reason}")
        return True
    done = buf("breaking", str(current), "--against", str(old), *_our_rules())
    return report(f"breaking against {commit[:12]}", done)


def baseline_commit(root: Path) -> str:
    """The commit where the checked-out branch left main; main's newest where the history between is not there."""
    if git(root, "rev-parse", "--git-dir").returncode:
        raise NothingToCompare("this is not a git work tree")
    for branch in MAIN_BRANCHES:
        tip = git(root, "rev-parse", "--verify", "--quiet", f"{branch}^{{commit}}")
        if tip.returncode == 0:
            base = git(root, "merge-base", "HEAD", branch)
            return (base if base.returncode == 0 else tip).stdout.decode().strip()
    raise NothingToCompare("the main branch has no commit yet")


def image_at(root: Path, commit: str, folder: Path) -> bytes:
    """Compiles the contracts as they were at `commit`, unpacked under `folder`."""
    archive = git(root, "archive", "--format=tar", commit, PROTO.name)
    if archive.returncode:
        raise NothingToCompare(f"commit {commit[:12]} has no {PROTO.name}/")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return protoc.compile_image(folder / PROTO.name)


def git(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Runs git in `root`; the caller reads the exit status. Raises NothingToCompare on a machine without git."""
    program = shutil.which("git")
    if program is None:
        raise NothingToCompare("git is not installed")
    return _run([program, "-C", str(root), *arguments])


def buf(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Runs the buf that is installed beside the running interpreter, in the root of the repository."""
    return _run([str(Path(sysconfig.get_path("scripts"), "buf")), *arguments])


def report(check: str, done: subprocess.CompletedProcess[bytes]) -> bool:
    """Prints a check's verdict with the tool's findings; True if there are none."""
    print(f"{check}: {'failed' if done.returncode else 'ok'}")
    if done.returncode:
        print((done.stdout + done.stderr).decode().strip())
    return done.returncode == 0


def _our_rules() -> list[str]:
    return ["--config", str(ROOT / "buf.yaml"), "--path", OURS]


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)  # noqa: S603 - our own argv


if __name__ == "__main__":
    sys.exit(main())
