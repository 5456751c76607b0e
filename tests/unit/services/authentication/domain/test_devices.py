"""Known devices: a token that only this service can make, for one user only."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Unavailable
from mesh.secret import Secret
from services.authentication.domain.devices import DeviceTokens

ANN, BOB = "0190c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5b", "0190c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5c"
TOKENS = DeviceTokens(lambda: b"s" * 32, lambda count: bytes(range(count)))
TOKEN = TOKENS.token(ANN, None)


def test_a_device_is_known_again() -> None:
    """By its token alone; nothing is stored."""
    device = TOKENS.known(Secret(TOKEN), ANN)
    assert device == bytes(range(16))
    assert TOKENS.token(ANN, device) == TOKEN
    assert DeviceTokens(lambda: b"s" * 32).known(Secret(TOKEN), ANN) == device
    assert (TOKEN[:4], len(TOKEN)) == ("vsd_", 68)


def test_new_devices_differ() -> None:
    """Each has a count of its own."""
    tokens = DeviceTokens(lambda: b"s" * 32)
    assert len({tokens.token(ANN, None) for _ in range(50)}) == 50


@pytest.mark.parametrize("user", [BOB, None])
def test_it_is_known_for_its_user_only(user: str | None) -> None:
    """Whoever has an account here must not be a known device of everybody, nor of nobody."""
    assert TOKENS.known(Secret(TOKEN), user) is None
    assert TOKENS.known(Secret(DeviceTokens(lambda: b"x" * 32).token(ANN, None)), ANN) is None


@pytest.mark.parametrize(
    "token",
    [
        "",
        "vsd_",
        TOKEN[4:],
        TOKEN.upper(),
        TOKEN + "=",
        TOKEN + "A",
        TOKEN[:-1],
        " " + TOKEN,
        TOKEN + "\n",
        "vsd_" + TOKEN,
        TOKEN.replace("vsd_", "vsr_"),
        "vsd_" + base64.b64encode(b"\xff" * 48).decode(),
        "vsd_" + "é" * 64,
        "vsd_" + "A" * 64,
    ],
)
def test_anything_else_is_an_unknown_device(token: str) -> None:
    """Ignored, as the contract says, and never an error."""
    assert TOKENS.known(Secret(token), ANN) is None
    assert TOKENS.known(None, ANN) is None


@given(st.integers(0, 47), st.integers(1, 255))
def test_no_changed_bit_is_overlooked(index: int, change: int) -> None:
    """Neither of the id nor of its proof."""
    raw = bytearray(base64.urlsafe_b64decode(TOKEN[4:]))
    raw[index] ^= change
    assert TOKENS.known(Secret("vsd_" + base64.urlsafe_b64encode(raw).decode()), ANN) is None


def test_without_the_secret_nothing_is_said_about_devices() -> None:
    """The vault's absence is told as such, not as an unknown device."""

    def away() -> bytes:
        raise Unavailable("VAULT_UNAVAILABLE", "the vault is away")

    with pytest.raises(Unavailable):
        DeviceTokens(away).known(Secret(TOKEN), ANN)
