"""What the gateway answers by itself: health, readiness, metrics, a small page that says what is here, and the reference of what it serves."""

import html
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias

from gateway.edge.static import StaticAnswer
from gateway.exchange import Exchange
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.openapi.published import Published
from gateway.readiness import SERVING, Readiness, serves
from gateway.transcoding.rendering import JSON, dump
from gateway.transcoding.transcoder import wrong_method

Page: TypeAlias = Callable[[Exchange], Awaitable[None]]

PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""What watches the gateway has to get through however much else is going on."""

_STATIC: Final = Path(__file__).parent / "static"
_PAGE_POLICY: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"cache-control", b"no-cache"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-embedder-policy", b"require-corp"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)


class Pages:
    """The gateway's own paths; each takes GET and HEAD."""

    def __init__(
        self,
        readiness: Readiness,
        metrics: Metrics,
        grpc_address: str | None,
        published: Published | None = None,
    ) -> None:
        """`grpc_address` is shown on the landing page; None stands for stand-alone mode, which has no such page. `published`
        brings the OpenAPI document and the reference."""
        self._readiness = readiness
        self._metrics = metrics
        self._paths: dict[str, Page] = {
            "/healthz": self._alive,
            "/readyz": self._ready,
            "/metrics": self._exposition,
        }
        if grpc_address is not None:
            page = (_STATIC / "index.html").read_text(encoding="utf-8")
            page = page.replace("{{grpc_address}}", html.escape(grpc_address))
            style = (_STATIC / "landing.css").read_bytes()
            self._paths |= {
                "/": StaticAnswer(b"text/html; charset=utf-8", page.encode(), _PAGE_POLICY),
                "/landing.css": StaticAnswer(
                    b"text/css; charset=utf-8", style, [(b"cache-control", b"max-age=3600")]
                ),
            }
        if published is not None:
            self._paths |= published.pages()

    def find(self, exchange: Exchange) -> Page | None:
        """The page at the request's path; None when there is none. Raises GatewayError 405."""
        page = self._paths.get(exchange.path)
        if page is not None and exchange.method not in ("GET", "HEAD"):
            raise wrong_method(["GET", "HEAD"])
        return page

    async def _alive(self, exchange: Exchange) -> None:
        await exchange.respond(200, JSON, dump({"status": "ok"}))

    async def _ready(self, exchange: Exchange) -> None:
        found = await self._readiness.services()
        ready = not self._readiness.draining and all(serves(one.states) for one in found.values())
        status = "ready" if ready else "draining" if self._readiness.draining else "not ready"
        body: dict[str, object] = {
            "status": status,
            "services": {name: one.states.get("", SERVING) for name, one in found.items()},
            "dependencies": {
                name: {part: state for part, state in one.states.items() if part and "." not in part}
                for name, one in found.items()
            },
            "facts": {name: one.facts for name, one in found.items() if one.facts},
        }
        await exchange.respond(200 if ready else 503, JSON, dump(body))

    async def _exposition(self, exchange: Exchange) -> None:
        exchange.compressible = True
        await exchange.respond(200, CONTENT_TYPE, self._metrics.render())
