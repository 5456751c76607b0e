"""Laws of the headers that every answer has, whoever made it and however it went (OWASP Secure Headers)."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.gateway.shelf import Shelf, shelf

PROXY = "127.0.0.1/32"
OVER_TLS = {"x-forwarded-proto": "https", "x-forwarded-host": "bots.example", "x-forwarded-for": "192.0.2.1"}
ANSWERS = [
    ("GET", "/api/v1/books/1", {}, 200), ("HEAD", "/api/v1/books/1", {}, 200), ("GET", "/api/v1/books/1", {"if-none-match": "*"}, 304),
    ("GET", "/api/v1/pages?count=1&bytes=1", {}, 200), ("GET", "/api/v1/print?bytes=1", {}, 200), ("GET", "/api/v1/nothing", {}, 404),
    ("PUT", "/api/v1/books/1", {}, 405), ("OPTIONS", "/api/v1/books/1", {}, 204), ("GET", "/", {}, 200), ("GET", "/landing.css", {}, 200),
    ("GET", "/healthz", {}, 200), ("GET", "/metrics", {}, 200), ("GET", "/api/v1/books/1?nothing=1", {}, 400), ("GET", "/" + "a" * 9000, {}, 414),
    ("POST", "/api/v1/books", {"content-encoding": "br"}, 415), ("POST", "/api/v1/books/claimed:lend", {"if-match": '"7"'}, 409),
    ("POST", "/api/v1/books", {"sec-fetch-site": "cross-site"}, 403),
]  # fmt: skip


@pytest.fixture(scope="module")
async def proxied() -> AsyncIterator[Shelf]:
    """A gateway behind a proxy that ends TLS."""
    async with shelf(trusted_proxies=PROXY) as made:
        made.gate.set()
        made.backend.behaviours["Pages"] = one_page(made)
        yield made


def one_page(made: Shelf) -> object:
    """A stream that ends."""

    async def pages(request: object, context: object) -> AsyncIterator[object]:
        yield made.backend.type("vivesphere.shelf.v1.Page")(text="x")

    return pages


@pytest.mark.parametrize(("method", "path", "given", "status"), ANSWERS)
async def test_every_answer_tells_browsers_what_it_is_not(
    proxied: Shelf, method: str, path: str, given: dict[str, str], status: int
) -> None:
    """No page that runs something, no frame, no other type than it says, no referrer; and over TLS never again without it."""
    content = b"{}" if method == "POST" else None
    answer = await proxied.client.request(method, path, headers={**OVER_TLS, **given}, content=content)
    assert answer.status_code == status
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    for directive in ("default-src", "base-uri", "form-action", "frame-ancestors"):
        assert policy[directive] == "'none'"
    assert "script-src" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert answer.headers["cache-control"]
    assert answer.headers["x-request-id"]
    assert "access-control-allow-origin" not in answer.headers


async def test_without_tls_nothing_is_said_about_it(proxied: Shelf) -> None:
    """RFC 6797 section 7.2; and a client that is no proxy cannot make it said."""
    answer = await proxied.client.get("/healthz", headers={**OVER_TLS, "x-forwarded-proto": "http"})
    assert "strict-transport-security" not in answer.headers
    async with shelf() as alone:
        answer = await alone.client.get("/healthz", headers=OVER_TLS)
        assert "strict-transport-security" not in answer.headers


async def test_no_page_of_ours_has_a_script_or_a_style_in_it(proxied: Shelf) -> None:
    """The policy would stop it; and who copies the page must not copy a hole."""
    page = (await proxied.client.get("/")).text
    for word in ("<script", "<style", " style=", "javascript:", " onclick", " onload"):
        assert word not in page
