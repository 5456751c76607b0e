"""Access tokens as authentication signs them, and the key set that goes with them."""

import json
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.identity.strict import encode_base64url
from mesh.identity.thumbprint import thumbprint


class Issuer:
    """Signs access tokens as authentication does."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.key_id = thumbprint(self.key.public_key().public_bytes_raw())
        self.asked = 0
        """How often somebody wanted the key set."""

    async def jwks(self) -> bytes:
        """The public part as authentication serves it."""
        self.asked += 1
        raw = self.key.public_key().public_bytes_raw()
        key = {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": self.key_id,
            "x": encode_base64url(raw),
        }
        return json.dumps({"keys": [key]}).encode()

    def token(
        self,
        *roles: str,
        subject: str = "0190c6a1-0000-7000-8000-000000000001",
        life: float = 300,
        **claims: Any,
    ) -> str:
        """A token for `subject` with `roles`, ending `life` seconds from now; `claims` replace or add."""
        now = int(time.time())
        payload = {
            "iss": "vivesphere",
            "aud": "vivesphere",
            "sub": subject,
            "exp": int(time.time() + life),
            "nbf": min(now, int(now + life) - 1),
            "iat": min(now, int(now + life) - 1),
            "jti": "token-1",
            "sid": "session-1",
            "client_id": "vivesphere",
            "roles": list(roles),
        } | claims
        header = {"alg": "EdDSA", "kid": self.key_id, "typ": "at+jwt"}
        parts = (encode_base64url(json.dumps(part).encode()) for part in (header, payload))
        signed = ".".join(parts)
        return f"{signed}.{encode_base64url(self.key.sign(signed.encode()))}"
