"""The name of a public key: its RFC 7638 thumbprint, so that no key can take another's name."""

import hashlib
import json

from mesh.identity.strict import encode_base64url


def thumbprint(public_key: bytes) -> str:
    """Thumbprint of an Ed25519 key (RFC 8037 section 2): base64url of SHA-256, 43 characters."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": encode_base64url(public_key)}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return encode_base64url(hashlib.sha256(canonical.encode()).digest())
