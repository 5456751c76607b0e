"""Pages that do not change while the gateway runs: each coding made once, each with a strong ETag of its own (RFC 9110 section 8.8.3.1)."""

import hashlib
from collections.abc import Sequence
from typing import Final

from gateway.edge.compression import COMPRESS_FROM_BYTES, VARY, choose, encode, is_text
from gateway.edge.conditional import is_not_modified
from gateway.exchange import Exchange

_TAG_BYTES: Final = 12


class StaticAnswer:
    """One page; answers GET and HEAD."""

    def __init__(self, content_type: bytes, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """`headers` go with every answer, the 304 as well: a Cache-Control, policies."""
        self._content_type = content_type
        self._headers = tuple(headers)
        self._hash = hashlib.blake2b(body, digest_size=_TAG_BYTES).hexdigest()
        self._bodies: dict[str, bytes] = {"": body}
        self._compressible = len(body) >= COMPRESS_FROM_BYTES and is_text(content_type)

    async def __call__(self, exchange: Exchange) -> None:
        """Answer 200, or 304 to an If-None-Match that names what would be sent. Raises GatewayError 412."""
        coding = choose(exchange.headers.get(b"accept-encoding") or "") if self._compressible else ""
        etag = f'"{self._hash}-{coding}"' if coding else f'"{self._hash}"'
        headers = [*self._headers, (b"etag", etag.encode())]
        if self._compressible:
            headers.append(VARY)
        if is_not_modified(exchange.headers, exchange.method, etag):
            await exchange.respond_nothing(304, headers)
            return
        if coding:
            headers.append((b"content-encoding", coding.encode()))
        await exchange.respond(200, self._content_type, await self._body(coding), headers)

    async def _body(self, coding: str) -> bytes:
        if coding not in self._bodies:
            self._bodies[coding] = await encode(self._bodies[""], coding)
        return self._bodies[coding]
