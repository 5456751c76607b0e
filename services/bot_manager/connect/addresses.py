"""The addresses of a connect flow: X's page, our callback, and who may answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

CALLBACK_PATH: Final = "/oauth/callback"
"""Where the gateway serves CompleteConnect."""


def callback_url(public_url: str) -> str:
    """The address to register with X, to the letter."""
    return public_url.rstrip("/") + CALLBACK_PATH


@dataclass(frozen=True, slots=True)
class Addresses:
    """`authorize_url` is X's page, `public_url` where browsers reach the gateway."""

    authorize_url: str
    public_url: str

    @property
    def callback_url(self) -> str:
        """See `callback_url`."""
        return callback_url(self.public_url)

    def page(self, client_id: str, state: str, challenge: str, scopes: Sequence[str]) -> str:
        """Where the browser of the person who owns the account has to go."""
        parameters = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": self.callback_url,
            "scope": " ".join(scopes),
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{self.authorize_url}?{urlencode(parameters)}"

    def is_issuer(self, issuer: str) -> bool:
        """Whether an answer with this `iss` (RFC 9207) is X's. X sends none so far; a proxy between would name itself."""
        page = urlsplit(self.authorize_url)
        return issuer.rstrip("/") == f"{page.scheme}://{page.netloc}"
