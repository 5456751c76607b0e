"""Etags: opaque to clients, a version number to us."""

from mesh.errors import Aborted

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def etag_of(version: int) -> str:
    """The version in base 36."""
    digits = ""
    while version:
        version, digit = divmod(version, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits or "0"


def check_etag(given: str, version: int) -> None:
    """Raises Aborted (ETAG_MISMATCH) unless `given` is empty or that of the version."""
    if given and given != etag_of(version):
        raise Aborted(
            "ETAG_MISMATCH", "somebody else was faster; read it again and repeat the change", field="etag"
        )
