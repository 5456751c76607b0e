"""Signatures of OAuth 1.0a (RFC 5849, section 3) with HMAC-SHA1, for requests whose body is not signed: JSON, multipart, or none.

oauthlib makes the same ones, and the tests hold ours against it; but it takes as long as the whole rest of a call to X, for form bodies,
realms and callbacks that do not occur here, and each post is signed anew.
"""

import hmac
import secrets
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha1
from urllib.parse import parse_qsl, quote, urlsplit

from mesh.secret import Secret


def authorization(
    method: str,
    url: str,
    *,
    consumer_key: Secret,
    consumer_secret: Secret,
    token: Secret,
    token_secret: Secret,
    now: float,
    nonce: str = "",
) -> str:
    """The value of the header. `url` with its query as it is sent; `now` in seconds of Unix time; without a nonce one is drawn."""
    parameters = {
        "oauth_consumer_key": consumer_key.reveal(),
        "oauth_nonce": nonce or secrets.token_hex(16),
        "oauth_signature_method": "HMAC-SHA1",
        "oauth_timestamp": str(int(now)),
        "oauth_token": token.reveal(),
        "oauth_version": "1.0",
    }
    address = urlsplit(url)
    query = parse_qsl(address.query, keep_blank_values=True)
    base = _base_string(
        method, f"{address.scheme}://{address.netloc}{address.path}", (*parameters.items(), *query)
    )
    key = f"{_escape(consumer_secret.reveal())}&{_escape(token_secret.reveal())}"
    digest = hmac.digest(key.encode(), base.encode(), sha1)
    parameters["oauth_signature"] = b64encode(digest).decode()
    return "OAuth " + ", ".join(f'{name}="{_escape(value)}"' for name, value in parameters.items())


def _base_string(method: str, address: str, parameters: Iterable[tuple[str, str]]) -> str:
    """RFC 5849, section 3.4.1."""
    pairs = sorted((_escape(name), _escape(value)) for name, value in parameters)
    joined = "&".join(f"{name}={value}" for name, value in pairs)
    return f"{method.upper()}&{_escape(address)}&{_escape(joined)}"


def _escape(text: str) -> str:
    """RFC 5849, section 3.6: everything but letters, digits, "-", ".", "_" and "~"."""
    return quote(text, safe="~")
