"""Values as they are encrypted."""

import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Internal
from mesh.secret import Secret
from services.secure_bot_data.store.packing import pack, unpack, unpack_json

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)


@given(st.dictionaries(NAMES, st.text(min_size=1), max_size=8))
def test_every_text_comes_back(values: dict[str, str]) -> None:
    """Line ends, quotes and control characters included."""
    fields = {name: Secret(value) for name, value in values.items()}
    assert unpack(pack(fields)) == fields
    assert list(unpack(pack(fields))) == list(fields)


@pytest.mark.parametrize("character", ["\x01", '"', "\\", "\n", "\x7f", "\u2028"])
def test_no_character_takes_more_room_than_it_has(character: str) -> None:
    """The storage's limit is set for the contract's largest secret, not for the worst escape."""
    text = character * 1000
    assert len(pack({"a": Secret(text)})) < len(text.encode()) + 100


@pytest.mark.parametrize(
    "packed",
    [b"", b"canary", b'{"a":"canary"}', b'[["a",9]]\ncanary', b'[["a",1]]\ncanary', b'[["a",1]]\n\xff'],
)
def test_what_was_not_packed_is_told_without_showing_it(packed: bytes) -> None:
    """It would be a secret that somebody else put there."""
    with pytest.raises(Internal) as caught:
        unpack(packed)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


def test_what_older_releases_packed_is_still_read() -> None:
    """An upgrade must not cost anybody an account."""
    packed = json.dumps({"token": "canary-äß", "other": "\n"}, ensure_ascii=False).encode()
    assert unpack_json(packed) == {"token": Secret("canary-äß"), "other": Secret("\n")}


@pytest.mark.parametrize("packed", [b"", b"[1]", b'{"token": 1}', b'{"token": "canary', b"\xff"])
def test_what_nobody_packed_is_refused_without_being_shown(packed: bytes) -> None:
    """Whoever can write to the vault must not see values in an error."""
    with pytest.raises(Internal) as caught:
        unpack_json(packed)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None
