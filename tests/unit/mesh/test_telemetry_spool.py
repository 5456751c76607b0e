"""What the spool accepted comes out again, in order, whatever happened in between."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.telemetry.spool import HEADER, Spool


def drain(spool: Spool) -> list[bytes]:
    frames: list[bytes] = []
    while not spool.empty:
        frames += spool.oldest()[0]
        spool.drop_oldest()
    return frames


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(min_value=20, max_value=300))
def test_frames_come_out_in_order_also_after_a_restart(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], segment: int
) -> None:
    """A crash between two outages must not turn the log upside down."""
    directory = tmp_path_factory.mktemp("spool")
    half = len(payloads) // 2
    for part in (payloads[:half], payloads[half:]):
        spool = Spool(directory, segment_bytes=segment)
        assert all(spool.append(payload) for payload in part)
        spool.close()
    spool = Spool(directory)
    assert drain(spool) == payloads
    assert spool.size == 0
    spool.close()


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_torn_frame_costs_itself_only(tmp_path: Path, cut: int) -> None:
    """The machine may die in the middle of a write."""
    spool = Spool(tmp_path)
    for payload in (b"one", b"two"):
        spool.append(payload)
    spool.close()
    segment = next(tmp_path.glob("*.seg"))
    content = segment.read_bytes()
    segment.write_bytes(content[:-cut] if cut < 11 else content + b"\xff" * 5)
    spool = Spool(tmp_path)
    spool.append(b"three")
    frames, unreadable = spool.oldest()
    assert frames == ([b"one"] if cut < 11 else [b"one", b"two"])
    assert unreadable > 0
    spool.drop_oldest()
    assert drain(spool) == [b"three"]
    spool.close()


@pytest.mark.parametrize("at", range(HEADER.size + 3))
def test_a_flipped_byte_is_noticed(tmp_path: Path, at: int) -> None:
    """Better to lose a batch and say so than to store garbage."""
    spool = Spool(tmp_path)
    spool.append(b"one")
    spool.close()
    segment = next(tmp_path.glob("*.seg"))
    content = bytearray(segment.read_bytes())
    content[at] ^= 1
    segment.write_bytes(content)
    spool = Spool(tmp_path)
    frames, unreadable = spool.oldest()
    assert (frames, unreadable) == ([], len(content))
    spool.close()


def test_a_full_spool_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    """A disk filled by logs stops everything else."""
    spool = Spool(tmp_path, max_bytes=40)
    assert spool.append(b"x" * 20)
    assert not spool.append(b"y" * 20)
    assert spool.size <= 40
    assert drain(spool) == [b"x" * 20]
    assert spool.append(b"y" * 20)
    spool.close()


def test_two_processes_never_share_a_spool(tmp_path: Path) -> None:
    """Both would replay and delete the other's segments."""
    spool = Spool(tmp_path)
    with pytest.raises(BlockingIOError):
        Spool(tmp_path)
    spool.close()
    Spool(tmp_path).close()


def test_the_spool_is_private(tmp_path: Path) -> None:
    """Logs are nobody else's business."""
    spool = Spool(tmp_path / "deep" / "spool")
    spool.append(b"x")
    assert (tmp_path / "deep" / "spool").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "deep" / "spool").iterdir()} == {0o600}
    spool.close()
