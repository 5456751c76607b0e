"""Logs of child processes."""

from pathlib import Path

from cli.processlog import LAST_LINES, ProcessLog


def test_a_log_never_grows_beyond_two_files_of_its_limit(tmp_path: Path) -> None:
    """A chatty process must not fill the disk."""
    log = ProcessLog(tmp_path / "x.log", max_bytes=1000)
    for _ in range(100):
        log.write(b"y" * 99 + b"\n")
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.log", "x.log.1"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


def test_the_last_lines_are_at_hand(tmp_path: Path) -> None:
    """They are what is shown when the process fails, even when they are not text."""
    log = ProcessLog(tmp_path / "x.log")
    for number in range(LAST_LINES + 5):
        log.write(f"line {number}\n".encode())
    log.write(b"\xff\n")
    log.close()
    assert len(log.last_lines()) == LAST_LINES
    assert log.last_lines()[-2:] == [f"line {LAST_LINES + 4}", "\N{REPLACEMENT CHARACTER}"]
