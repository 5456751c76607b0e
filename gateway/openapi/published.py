"""The document and its pages as the gateway serves them, each made when somebody first asks.

Making the document takes a third of a second for the mesh's contracts, so a thread does it and calls go on meanwhile. Nothing of it
changes while the process lives.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from gateway.edge.static import StaticAnswer
from gateway.exchange import Exchange
from gateway.openapi.document import About, Described, describe, tag_of
from gateway.openapi.reference.pages import ReferencePages
from gateway.settings import GatewaySettings
from gateway.transcoding.schema import Schema
from mesh.version import VERSION

Page: TypeAlias = Callable[[Exchange], Awaitable[None]]

DOCUMENT: Final = "/api/v1/openapi.json"
REFERENCE: Final = "/docs"
_STATIC: Final = Path(__file__).parents[1] / "static"
_HTML: Final = b"text/html; charset=utf-8"
_REVALIDATE: Final = (b"cache-control", b"no-cache")
_PAGE_POLICY: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; script-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    _REVALIDATE,
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-embedder-policy", b"require-corp"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
PRODUCT: Final = About(
    title="ViveSphere Bot Manager",
    version=VERSION,
    description="The REST interface of a self-hosted manager for fleets of X bots.",
)


class Published:
    """The document of a schema, and the pages made of it."""

    def __init__(self, schema: Schema, about: About) -> None:
        self._schema = schema
        self._about = about
        self._lock = asyncio.Lock()
        self._described: Described | None = None
        self._reference: ReferencePages | None = None
        self._answers: dict[str, StaticAnswer] = {}

    def pages(self) -> dict[str, Page]:
        """A handler for each path; the paths are known without the document."""
        json_page = self._page(b"application/json", lambda: _dump(self._made()), [_REVALIDATE])
        pages = {
            DOCUMENT: json_page,
            REFERENCE: self._page(_HTML, lambda: self._html().overview(), _PAGE_POLICY),
            f"{REFERENCE}/errors": self._page(_HTML, lambda: self._html().errors(), _PAGE_POLICY),
            f"{REFERENCE}.css": self._file("docs.css", b"text/css; charset=utf-8"),
            f"{REFERENCE}.js": self._file("docs.js", b"text/javascript; charset=utf-8"),
        }
        served = {tag_of(method.service) for method in self._schema.methods.values() if method.bindings}
        for name in served:
            pages[f"{REFERENCE}/{name}"] = self._page(_HTML, self._service(name), _PAGE_POLICY)
        return pages

    def _page(
        self, content_type: bytes, make: Callable[[], bytes], headers: Sequence[tuple[bytes, bytes]]
    ) -> Page:
        async def answer(exchange: Exchange) -> None:
            found = await self._found(exchange.path, lambda: StaticAnswer(content_type, make(), headers))
            await found(exchange)

        return answer

    def _file(self, name: str, content_type: bytes) -> Page:
        return self._page(content_type, (_STATIC / name).read_bytes, [_REVALIDATE])

    def _service(self, name: str) -> Callable[[], bytes]:
        return lambda: self._html().service(name) or b""

    async def _found(self, path: str, make: Callable[[], StaticAnswer]) -> StaticAnswer:
        """What is served at a path; made in a thread, one at a time, and kept. There are as many as pages."""
        if path not in self._answers:
            async with self._lock:
                if path not in self._answers:
                    self._answers[path] = await asyncio.to_thread(make)
        return self._answers[path]

    def _made(self) -> Described:
        if self._described is None:
            self._described = describe(self._schema, self._about)
        return self._described

    def _html(self) -> ReferencePages:
        if self._reference is None:
            self._reference = ReferencePages(self._made(), self._about)
        return self._reference


def _dump(described: Described) -> bytes:
    return json.dumps(described.json, ensure_ascii=False, separators=(",", ":")).encode()


def about_descriptors(descriptors: Path) -> About:
    """What is known of a descriptor set that is not the product's."""
    return About(title=descriptors.stem, version="1")


def write_document(descriptors: Path | None, out: Path) -> None:
    """Write the document of a descriptor set, or of the product's where it is None.

    Raises OSError, and SchemaError or TemplateError for a contract that cannot be served.
    """
    source = descriptors or Path(GatewaySettings.model_fields["descriptors"].default)
    about = PRODUCT if descriptors is None else about_descriptors(descriptors)
    described = describe(Schema(source.read_bytes()), about)
    out.write_text(json.dumps(described.json, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
