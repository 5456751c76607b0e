"""What stands in front of a request: TLS, proxies, other origins; decided before its path is looked at.

Whether the client speaks TLS, and to which host, the connection says; where it comes from a proxy that the operator trusts,
X-Forwarded-Proto and X-Forwarded-Host say (the last value, which that proxy wrote). From anybody else these headers are
not looked at. A request over TLS is answered with Strict-Transport-Security (RFC 6797), except on loopback, where one name
serves whatever else is tried on that machine.

`Forwarded` (RFC 7239) is not read: every proxy that writes it writes the older headers as well.
"""

from gateway.browser import authority
from gateway.edge.cors import Cors, HeaderTuple
from gateway.metadata import RequestHeaders
from gateway.proxies import Proxies
from gateway.transcoding.errors import invalid


class Front:
    """Looks at each request once, and makes the headers that its answer gets whatever it is."""

    def __init__(self, proxies: Proxies, cors: Cors | None, hsts: str) -> None:
        """`hsts` is the header's value, "" for none."""
        self._proxies = proxies
        self._cors = cors
        self._hsts: HeaderTuple = ((b"strict-transport-security", hsts.encode()),) if hsts else ()
        self._open = proxies.trusts_nobody and cors is None

    def look(self, headers: RequestHeaders, peer: str, scheme: str) -> HeaderTuple:
        """Note in `headers` what is known of TLS and host, and return the headers for every answer. Raises GatewayError."""
        if self._open and scheme == "http":
            return ()
        headers.secure = scheme == "https"
        if not self._proxies.trusts_nobody:
            self._believe(headers, peer)
        found = self._hsts if headers.secure and self._hsts and not _on_loopback(headers) else ()
        return found if self._cors is None else (*found, *self._cors.headers(headers.get(b"origin")))

    def _believe(self, headers: RequestHeaders, peer: str) -> None:
        proto, host = headers.get(b"x-forwarded-proto"), headers.get(b"x-forwarded-host")
        if (proto is None and host is None) or not self._proxies.trusts(peer):
            return
        if proto is not None:
            headers.secure = _last(proto).lower() == "https"
        if host is not None:
            if authority.parse(_last(host)) is None:
                raise invalid("x-forwarded-host", "expected a host and a port", "MALFORMED_REQUEST")
            headers.replace(b"host", _last(host))


def _last(value: str) -> str:
    return value.rpartition(",")[2].strip()


def _on_loopback(headers: RequestHeaders) -> bool:
    host = authority.parse(headers.get(b"host") or "")
    return host is not None and authority.is_loopback(host[0])
