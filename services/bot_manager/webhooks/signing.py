"""Signatures of deliveries, and the secrets they are made with.

Vivesphere-Signature: t=1770000000,v1=5257a869e7…    v1 = HMAC-SHA256(key = the secret as it was shown, "<t>.<body>")
"""

import hmac
from collections.abc import Sequence
from typing import Final

from mesh.secret import Secret

HEADER: Final = "Vivesphere-Signature"
PREFIX: Final = "whsec_"


def signature(secrets: Sequence[Secret], unix_seconds: int, body: bytes) -> str:
    """The header's value, with one `v1` for each secret."""
    signed = b"%d." % unix_seconds + body
    marks = (hmac.digest(secret.reveal().encode(), signed, "sha256").hex() for secret in secrets)
    return ",".join([f"t={unix_seconds}", *(f"v1={mark}" for mark in marks)])
