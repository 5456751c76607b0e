"""The OpenAPI document and the pages of the reference, over HTTP."""

import json
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from gateway.__main__ import main
from gateway.backends import Backends
from gateway.http import HttpDoor
from gateway.metrics import Metrics
from gateway.openapi.document import About
from gateway.openapi.published import Published
from gateway.pages import Pages
from gateway.readiness import Readiness
from gateway.relay import RestRelay
from gateway.server import HttpServer
from gateway.settings import Limits
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder
from tests.integration.gateway.conftest import free_port, wait_for_port

MESH = Path(__file__).parents[3] / "generated" / "vivesphere.binpb"


@pytest.fixture(scope="module")
async def reference() -> AsyncIterator[httpx.AsyncClient]:
    """The mesh's contracts described by a gateway that has nobody behind it."""
    schema, limits, metrics = Schema(MESH.read_bytes()), Limits(drain_seconds=0.2), Metrics()
    backends = Backends({})
    published = Published(schema, About("Test <of> it", "1"))
    pages = Pages(Readiness(backends), metrics, "127.0.0.1:9090", published)
    port = free_port()
    door = HttpDoor(RestRelay(Transcoder(schema), backends, limits), pages, metrics, limits)
    server = HttpServer(door, "127.0.0.1", port, limits)
    server.start()
    await wait_for_port(port)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as made:
        yield made
    await server.stop()


class Page(HTMLParser):
    """Ids, links and what would break the policy of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.foreign: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [given["href"] or ""] if "href" in given else []
        if tag == "style" or "style" in given or (tag == "script" and "src" not in given):
            self.foreign.append(tag)
        self.foreign += [name for name in given if name.startswith("on")]


async def test_the_document_is_served_and_revalidated(reference: httpx.AsyncClient) -> None:
    """Clients are generated from it; a second look costs no body."""
    first = await reference.get("/api/v1/openapi.json")
    assert first.status_code == 200
    assert first.headers["content-type"] == "application/json"
    assert first.json()["openapi"] == "3.1.0"
    again = await reference.get("/api/v1/openapi.json", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    head = await reference.head("/api/v1/openapi.json")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == first.headers["content-length"]
    assert int(first.headers["content-length"]) < len(first.content) / 4, "it is sent compressed"


async def test_the_document_is_the_same_every_time(
    reference: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generated code must not change by itself; the command line writes the same paths and schemas."""
    served = (await reference.get("/api/v1/openapi.json")).json()
    out = tmp_path / "openapi.json"
    monkeypatch.setattr("sys.argv", ["gateway", "--descriptors", str(MESH), "--openapi", str(out)])
    assert main() == 0
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["info"] != served["info"]
    assert written | {"info": None} == served | {"info": None}


async def test_every_page_is_whole(reference: httpx.AsyncClient) -> None:
    """Each link leads to a page and a place on it, and nothing on a page needs more than its policy allows."""
    pages: dict[str, Page] = {}
    left = ["/docs"]
    while left:
        path = left.pop()
        if path in pages:
            continue
        answer = await reference.get(path)
        assert answer.status_code == 200, path
        if not answer.headers["content-type"].startswith("text/html"):
            pages[path] = Page("")
            continue
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        pages[path] = page = Page(answer.text)
        assert page.foreign == [], path
        assert len(set(page.ids)) == len(page.ids), path
        left += [link.partition("#")[0] for link in page.links if link.startswith("/")]
    dead = [
        f"{path} → {link}"
        for path, page in pages.items()
        for link in page.links
        if (target := link.partition("#"))[2] and target[2] not in pages[target[0] or path].ids
    ]
    assert dead == []
    assert "/docs/errors" in pages


async def test_every_method_is_on_a_page_with_a_command(reference: httpx.AsyncClient) -> None:
    """A person finds each method with what it needs, and something to paste."""
    document = (await reference.get("/api/v1/openapi.json")).json()
    told = {tag["name"]: (await reference.get(f"/docs/{tag['name']}")).text for tag in document["tags"]}
    for path, item in document["paths"].items():
        for operation in item.values():
            text = told[operation["tags"][0]]
            article = text.partition(f'<article id="{operation["operationId"]}">')[2].partition("</article>")[
                0
            ]
            assert "curl" in article, path
            assert re.sub("<[^>]+>", "", article).count(path) >= 1, path


async def test_pages_say_names_as_text(reference: httpx.AsyncClient) -> None:
    """A title or comment with markup in it must not become markup."""
    text = (await reference.get("/docs")).text
    assert "Test &lt;of&gt; it" in text
    assert "Test <of> it" not in text


async def test_pages_take_nothing_but_get(reference: httpx.AsyncClient) -> None:
    """They are there to be read."""
    answer = await reference.post("/docs", json={})
    assert answer.status_code == 405
    assert (await reference.get("/docs/NoSuchService")).status_code == 404
