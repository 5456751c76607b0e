"""Header blocks of the gateway's own HTTP/2."""

import pytest

from gateway.http2 import wire

LONGEST_OF_ONE_BYTE = 126  # RFC 7541 section 5.1: seven bits, all ones meaning that more follow


@pytest.mark.parametrize("length", [0, 1, LONGEST_OF_ONE_BYTE, LONGEST_OF_ONE_BYTE + 1, 255, 300, 20_000])
def test_what_is_written_is_read_whatever_its_length(length: int) -> None:
    """Short texts are written another way than long ones, and nobody may see where that changes."""
    fields = (("x-text", "é" * length), ("x-data-bin", b"\xff" * length), ("x-last", "end"))
    assert wire.read_block(wire.literals(fields), 1 << 20) == fields


def test_a_text_that_is_not_latin_1_is_no_header() -> None:
    """It would be other bytes than its length says."""
    with pytest.raises(UnicodeEncodeError):
        wire.literals([("x-text", "€")])
