"""Cookie and Set-Cookie headers (RFC 6265), strictly.

A cookie is HttpOnly, SameSite=Strict and for this host alone. Away from loopback it is Secure and its name begins with `__Host-`,
which a browser accepts only over TLS and only from this host: neither a neighbouring subdomain nor a network in between can
plant one. On loopback there is no TLS to ask for, so both are left out; the two forms have different names and are never mixed.

What is read is what could have been written: one cookie of a name, of cookie-octets, as long as browsers keep. More than one of
a name cannot happen under `__Host-`; under loopback, where cookies do not know ports, another program of this machine can cause
it. Which one is ours cannot be told, so the call is refused (MALFORMED_REQUEST) and neither is taken.
"""

import re
from typing import Final

from gateway.transcoding.errors import invalid

Header = tuple[bytes, bytes]

PREFIX: Final = "__Host-"  # RFC 6265bis section 4.1.3.2
MAX_CHARS: Final = 4096  # RFC 6265bis section 5.6: name and value together; browsers drop more without a word

_OCTETS = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")  # RFC 6265 section 4.1.1: cookie-octet


class CookieValueError(ValueError):
    """A text cannot be the value of a cookie. The message never quotes it."""


class Cookies:
    """Cookies as one host has them: with TLS (`secure`), or on loopback."""

    __slots__ = ("_prefix", "_suffix")

    def __init__(self, *, secure: bool) -> None:
        self._prefix = PREFIX if secure else ""
        self._suffix = "; Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")

    def value(self, header: str, name: str) -> str:
        """The cookie's value in a Cookie header, "" when it is not there.

        Raises GatewayError when it is there twice, CookieValueError when it is nothing that was ever set.
        """
        full_name = self._prefix + name
        pairs = (pair.strip(" \t").partition("=") for pair in header.split(";"))
        found = [value for key, equals, value in pairs if equals and key == full_name]
        if len(found) > 1:
            raise invalid("cookie", f"{full_name} is given twice", "MALFORMED_REQUEST")
        return self._checked(full_name, found[0]) if found else ""

    def keep(self, name: str, value: str, max_age_seconds: int) -> Header:
        """The header that makes a browser keep a value; raises CookieValueError."""
        full_name = self._prefix + name
        return self._set(f"{full_name}={self._checked(full_name, value)}", max_age_seconds)

    def take_away(self, name: str) -> Header:
        """The header that makes a browser forget a cookie."""
        return self._set(f"{self._prefix}{name}=", 0)

    def _set(self, pair: str, max_age_seconds: int) -> Header:
        return b"set-cookie", f"{pair}; Max-Age={max_age_seconds}{self._suffix}".encode("ascii")

    @staticmethod
    def _checked(full_name: str, value: str) -> str:
        if len(full_name) + len(value) > MAX_CHARS or _OCTETS.fullmatch(value) is None:
            raise CookieValueError(f"{full_name}: expected cookie-octets, with the name at most {MAX_CHARS}")
        return value


WITH_TLS: Final = Cookies(secure=True)
ON_LOOPBACK: Final = Cookies(secure=False)
