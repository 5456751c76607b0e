"""Private files."""

import stat
from pathlib import Path

from cli.layout import ensure_secret, write_private


def test_private_files_are_0600_below_0700(tmp_path: Path) -> None:
    """Secrets must not depend on the caller's umask."""
    path = tmp_path / "a" / "b" / "secret"
    write_private(path, "x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


def test_replacing_leaves_no_second_file(tmp_path: Path) -> None:
    """A forgotten temporary file is a forgotten secret."""
    path = tmp_path / "secret"
    write_private(path, "old")
    write_private(path, b"new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    """A second start must find the password the first start set."""
    first = ensure_secret(tmp_path / "password")
    assert len(first) >= 32
    assert ensure_secret(tmp_path / "password") == first
