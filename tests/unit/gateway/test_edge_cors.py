"""Laws of origins that are named."""

import pytest
from pydantic import ValidationError

from gateway.edge.cors import Cors, cors_of, parse_origins
from gateway.settings import Limits


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        ("", ()), (" , ", ()), ("*", ("*",)), ("https://a.example", ("https://a.example",)), ("HTTPS://A.example:443", ("https://a.example",)),
        ("http://localhost:5173, http://[::1]:80", ("http://localhost:5173", "http://[::1]")),
    ],
)  # fmt: skip
def test_origins_are_kept_as_browsers_write_them(given: str, origins: tuple[str, ...]) -> None:
    """They are compared as text."""
    assert parse_origins(given) == origins
    assert (cors_of(origins) is None) is (origins == ())


@pytest.mark.parametrize(
    "given", ["null", "a.example", "https://a.example/", "https://*.example/x", "ftp://a.example", "*, https://a.example", "https://\u00e4.example", "https://u:p@a.example"]
)  # fmt: skip
def test_what_no_browser_sends_refuses_the_start(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An origin with a path would match nothing, and its operator would look for the reason for hours."""
    monkeypatch.setenv("VIVESPHERE_GATEWAY_CORS_ORIGINS", given)
    with pytest.raises(ValidationError, match="cors_origins"):
        Limits()


def test_credentials_are_never_allowed() -> None:
    """Whatever is configured: the header that would let a page use cookies does not exist here."""
    for cors in (Cors(("*",)), Cors(("https://a.example",))):
        sent = [*cors.headers("https://a.example"), *cors.headers(None), *cors.preflight("GET")]
        assert not [name for name, _ in sent if b"credentials" in name]
