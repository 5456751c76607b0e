"""What is encrypted for one service and one record opens for nobody else."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from tests.integration.services.secure_bot_data.conftest import Parts

OWN, OTHER = "spiffe://vivesphere/authentication", "spiffe://vivesphere/logging"


@pytest.mark.parametrize("plaintext", [b"\0", bytes(range(256)), b"x" * 65_536])
async def test_bytes_come_back_as_they_were(parts: Parts, plaintext: bytes) -> None:
    """Whatever a service keeps, from a byte to the contract's largest value, within the promised length."""
    ciphertext = await parts.values.encrypt(OWN, "totp/1", plaintext)
    assert len(ciphertext) <= 2 * len(plaintext) + 256
    assert await parts.values.decrypt(OWN, "totp/1", ciphertext) == plaintext
    assert await parts.values.encrypt(OWN, "totp/1", plaintext) != ciphertext


async def test_another_service_and_another_record_are_refused_alike(parts: Parts) -> None:
    """Copied to another record it is worthless, and which of the two is wrong would help a guesser."""
    ciphertext = await parts.values.encrypt(OWN, "totp/1", b"seed")
    told = {
        await _refused(parts, OTHER, "totp/1", ciphertext),
        await _refused(parts, OWN, "totp/2", ciphertext),
        await _refused(parts, OWN, "totp/1", ciphertext[:-4] + "AAAA"),
        await _refused(parts, OWN, "totp/1", "vault:v999:" + ciphertext.rpartition(":")[2]),
        await _refused(parts, OWN, "totp/1", "vault:v1:"),
        await _refused(parts, OWN, "totp/1", "seed"),
    }
    assert told == {("INVALID_FIELD", "ciphertext is not one of this caller and context")}


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=60) | st.from_regex(r"vault:v[0-9]{1,9}:.{0,30}", fullmatch=True))
async def test_no_garbage_opens_or_breaks_anything(parts: Parts, text: str) -> None:
    """A damaged database row is its owner's mistake, never an outage of the vault."""
    await _refused(parts, OWN, "totp/1", text)
    assert await parts.values.decrypt(OWN, "ä", await parts.values.encrypt(OWN, "ä", b"1")) == b"1"


async def _refused(parts: Parts, identity: str, context: str, ciphertext: str) -> tuple[str, str]:
    with pytest.raises(InvalidArgument) as caught:
        await parts.values.decrypt(identity, context, ciphertext)
    assert [violation.field for violation in caught.value.violations] == ["ciphertext"]
    return caught.value.reason, caught.value.message
