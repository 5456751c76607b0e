"""What a child prints is kept in a file without secrets, and otherwise as it was."""

from pathlib import Path

import pytest

from cli.line_redaction import MAX_KEY_LINES, LineRedaction
from cli.processlog import ProcessLog


@pytest.mark.parametrize(
    "line", [b"listening on 5432\n", b"\xff\x00 \x1b[31mred\x1b[0m\n", "grün\n".encode()]
)
def test_what_is_no_secret_stays_as_it_was(line: bytes) -> None:
    """Whatever bytes it consists of."""
    assert LineRedaction().clean(line) == line


def test_a_secret_within_a_line_goes_and_the_line_stays(tmp_path: Path) -> None:
    """Also from what a person is shown when the child fails."""
    log = ProcessLog(tmp_path / "child.log", clean=LineRedaction().clean)
    log.write(b"FATAL: password=" + b"hunter2" * 3 + b" refused\n")
    log.close()
    assert (tmp_path / "child.log").read_bytes() == b"FATAL: password=[REDACTED] refused\n"
    assert log.last_lines() == ["FATAL: password=[REDACTED] refused"]


def test_a_private_key_over_many_lines_leaves_nothing_behind() -> None:
    """None of its lines looks like a secret by itself."""
    redaction = LineRedaction()
    lines = [
        b"before\n",
        b"-----BEGIN PRIVATE KEY-----\n",
        b"c2hvcnQ=\n",
        b"-----END PRIVATE KEY-----\n",
        b"after\n",
    ]
    assert b"".join(map(redaction.clean, lines)) == b"before\n[REDACTED]\nafter\n"


def test_a_key_that_never_ends_does_not_silence_the_child() -> None:
    """Its first line may be all there is of it."""
    redaction = LineRedaction()
    redaction.clean(b"-----BEGIN RSA PRIVATE KEY-----\n")
    kept = [redaction.clean(b"line\n") for _ in range(MAX_KEY_LINES + 1)]
    assert kept[:MAX_KEY_LINES] == [b""] * MAX_KEY_LINES
    assert kept[MAX_KEY_LINES] == b"line\n"
