"""API keys as text: recognised by anybody, guessed by nobody."""

import hashlib
import re
import zlib

from hypothesis import given
from hypothesis import strategies as st

from mesh.identity.api_keys import api_key_hash, is_well_formed, new_api_key

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Written out, so that a change of the format cannot pass unseen: keys outlive releases.
LOWEST = "vsk_" + "0" * 43 + "1BAKYq"


def value(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * 62 + ALPHABET.index(digit)
    return number


def test_a_key_is_a_prefix_256_random_bits_and_a_checksum() -> None:
    """The form that scanners are told; read back here by other arithmetic than the one that writes it."""
    key = new_api_key()
    assert re.fullmatch(r"vsk_[0-9A-Za-z]{49}", key)
    assert value(key[4:47]) < 1 << 256
    assert value(key[47:]) == zlib.crc32(key[:47].encode())
    assert is_well_formed(key)
    assert key != new_api_key()


def test_the_format_never_changes() -> None:
    """Keys that people hold today must be keys tomorrow; small numbers are padded."""
    assert value(LOWEST[47:]) == zlib.crc32(LOWEST[:47].encode())
    assert is_well_formed(LOWEST)


@given(st.integers(min_value=0, max_value=52), st.sampled_from(ALPHABET + "_-= \n"))
def test_no_single_slip_of_the_keyboard_is_a_key(place: int, character: str) -> None:
    """A CRC finds every such error, so a mistyped key costs nobody a look into the database."""
    key = new_api_key()
    changed = key[:place] + character + key[place + 1 :]
    assert is_well_formed(changed) is (changed == key)


@given(st.text(max_size=80))
def test_anything_else_is_none_and_raises_nothing(text: str) -> None:
    """It comes from strangers."""
    assert not is_well_formed(text)
    assert len(api_key_hash(text)) == 32


def test_only_a_hash_is_kept() -> None:
    """What is in the database opens nothing."""
    key = new_api_key()
    assert api_key_hash(key) == hashlib.sha256(key.encode()).digest()
    assert api_key_hash("\ud800") != api_key_hash("")
