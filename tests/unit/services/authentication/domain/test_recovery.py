"""Recovery codes: read from paper, guessed by nobody."""

import re
import secrets

from buf.validate import validate_pb2
from mesh.secret import Secret
from services.authentication.domain.recovery import ALPHABET, new_recovery_codes, recovery_code_hash
from vivesphere.authentication.v1 import authentication_service_pb2 as pb


def pattern(message: type) -> str:
    rules = message.DESCRIPTOR.fields_by_name["otp"].GetOptions().Extensions[validate_pb2.field]  # type: ignore[attr-defined]
    return str(rules.string.pattern)


def test_ten_codes_of_120_bits_that_every_request_accepts() -> None:
    """A code that the contract refuses would be found out when the device is lost."""
    codes = [code.reveal() for code in new_recovery_codes(secrets.token_bytes)]
    assert len(set(codes)) == 10
    for code in codes:
        assert re.fullmatch(rf"[{ALPHABET}]{{4}}(-[{ALPHABET}]{{4}}){{5}}", code)
        for request in (pb.LoginRequest, pb.ChangePasswordRequest, pb.DisableTotpRequest):
            assert re.fullmatch(pattern(request), code)


def test_every_random_bit_is_in_the_code() -> None:
    """A slip in the arithmetic would make codes that are shorter than they look."""
    ends = {new_recovery_codes(lambda size, b=byte: bytes([b]) * size)[0].reveal() for byte in (0, 255)}
    assert ends == {"-".join(["2222"] * 6), "-".join(["zzzz"] * 6)}
    spelled = {
        new_recovery_codes(lambda size, p=place: (1 << p).to_bytes(size))[0].reveal() for place in range(120)
    }
    assert len(spelled) == 120


def test_the_alphabet_has_no_look_alikes() -> None:
    """They are read aloud over the telephone."""
    assert len(ALPHABET) == len(set(ALPHABET)) == 32
    assert not set(ALPHABET) & set("01lo")


def test_case_and_dashes_do_not_matter_and_the_user_does() -> None:
    """Equal codes of two users must not look alike in the database."""
    code = Secret("7kqm-x2vd-9f3h-tn8c-e5wp-rj4b")
    same = Secret("7KQMX2VD9F3HTN8CE5WPRJ4B")
    assert recovery_code_hash("ann", code) == recovery_code_hash("ann", same)
    assert recovery_code_hash("ann", code) != recovery_code_hash("bob", code)
    assert len(recovery_code_hash("ann", Secret("\ud800"))) == 32
