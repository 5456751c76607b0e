"""Laws of pages of other origins, over real HTTP: they call with tokens, and never with what a browser adds by itself."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.integration.gateway.backend import ScriptedBackend
from tests.integration.gateway.shelf import Shelf, shelf
from tests.integration.gateway.test_rest import reason_of
from tests.unit.gateway.support import guest_set

CONSOLE = "https://console.example"
STRANGER = "https://evil.example"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
PASS = {"access_token": "access", "refresh_token": "refresh", "device_token": "device"}


def from_page(origin: str, **headers: str) -> dict[str, str]:
    """What a browser says when a page of another origin fetches."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"origin": origin, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", **named}


def cors_of(answer: httpx.Response) -> dict[str, str]:
    """The headers by which a browser decides, and what caches are told."""
    return {
        name: value
        for name, value in answer.headers.items()
        if name.startswith("access-control-") or name == "vary"
    }


@pytest.fixture(scope="module")
async def open_to_one() -> AsyncIterator[Shelf]:
    """A gateway with browser sessions, and one origin that may call."""
    async with shelf(guest_set(), cors_origins=f"{CONSOLE}, http://localhost:5173") as made:
        answer_passes(made.backend)
        yield made


def answer_passes(backend: ScriptedBackend) -> None:
    """The guest service lets everybody in."""
    types = {name: backend.type(f"vivesphere.guest.v1.{name}") for name in ("EnterResponse", "LeaveResponse")}

    async def enter(request: object, context: object) -> object:
        return types["EnterResponse"](**{"pass": PASS})

    async def leave(request: object, context: object) -> object:
        return types["LeaveResponse"]()

    backend.behaviours |= {"Enter": enter, "Leave": leave}


async def test_no_page_of_another_origin_is_let_in_by_default() -> None:
    """Whoever has not thought about it stays closed: no header says otherwise, and what is unsafe is refused."""
    async with shelf() as made:
        read = await made.client.get("/api/v1/books/1", headers=from_page(CONSOLE))
        asked = await made.client.options("/api/v1/books", headers=from_page(CONSOLE, **PREFLIGHT))
        wrote = await made.client.post("/api/v1/books", json={}, headers=from_page(CONSOLE))
    assert (cors_of(read), cors_of(asked)) == ({}, {})
    assert (wrote.status_code, reason_of(wrote)) == (403, "CROSS_ORIGIN_REFUSED")


async def test_a_named_origin_reads_answers_errors_and_refusals(open_to_one: Shelf) -> None:
    """A page that cannot read why it was refused cannot tell its person."""
    for path, status in (("/api/v1/look/1", 200), ("/api/v1/nothing", 404), ("/healthz", 200)):
        answer = await open_to_one.client.get(path, headers=from_page(CONSOLE))
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == CONSOLE
        assert {"*", "etag", "retry-after", "grpc-status"} <= set(
            answer.headers["access-control-expose-headers"].split(", ")
        )
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers["vary"] == "origin"


@pytest.mark.parametrize(
    "origin",
    [
        STRANGER,
        "null",
        CONSOLE + ".evil.example",
        "http://console.example",
        CONSOLE + ":8443",
        CONSOLE.upper(),
    ],
)
async def test_any_other_origin_gets_nothing(open_to_one: Shelf, origin: str) -> None:
    """Origins are compared whole; a cache learns that the answer depends on them."""
    read = await open_to_one.client.get("/api/v1/look/1", headers=from_page(origin))
    asked = await open_to_one.client.options("/api/v1/enter", headers=from_page(origin, **PREFLIGHT))
    wrote = await open_to_one.client.put("/api/v1/look/1", json={}, headers=from_page(origin))
    assert cors_of(read) == cors_of(asked) == {"vary": "origin"}
    assert (wrote.status_code, reason_of(wrote)) == (403, "CROSS_ORIGIN_REFUSED")


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/api/v1/look/1", {"GET", "HEAD", "PUT"}), ("/api/v1/enter", {"POST"}), ("/healthz", {"GET", "HEAD"}), ("/vivesphere.guest.v1.GuestService/Look", {"GET", "POST"})],
)  # fmt: skip
async def test_a_preflight_names_the_methods_of_the_path(
    open_to_one: Shelf, path: str, methods: set[str]
) -> None:
    """The router knows them; nobody keeps a second list."""
    answer = await open_to_one.client.options(path, headers=from_page(CONSOLE, **PREFLIGHT))
    assert answer.status_code == 204
    assert set(answer.headers["access-control-allow-methods"].split(", ")) == methods
    allowed = set(answer.headers["access-control-allow-headers"].split(", "))
    assert {
        "authorization",
        "content-type",
        "if-match",
        "idempotency-key",
        "x-grpc-web",
        "connect-protocol-version",
    } <= allowed
    assert not {"cookie", "x-forwarded-for", "x-forwarded-host"} & allowed
    assert answer.headers["access-control-max-age"] == "7200"
    assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_of_a_named_origin_calls_as_a_script_does(open_to_one: Shelf) -> None:
    """It gets its tokens in the body and no cookie, since it may never send one."""
    answer = await open_to_one.client.post(
        "/api/v1/enter", json={"name": "n"}, headers=from_page(CONSOLE, authorization="Bearer t")
    )
    assert answer.status_code == 200
    assert answer.json()["refreshToken"] == "refresh"
    assert "set-cookie" not in answer.headers
    assert open_to_one.backend.seen[-1].metadata["authorization"] == "Bearer t"


@pytest.mark.parametrize("site", ["cross-site", "same-site", None])
async def test_cookies_of_another_origins_request_refuse_it(open_to_one: Shelf, site: str | None) -> None:
    """A sibling's page can make a browser send SameSite=Strict cookies: being named gives no right to a session."""
    seen = len(open_to_one.backend.seen)
    headers = from_page(CONSOLE, cookie="guest-refresh=stolen")
    if site is None:  # plain HTTP away from loopback: browsers leave it out
        del headers["sec-fetch-site"]
    else:
        headers["sec-fetch-site"] = site
    answer = await open_to_one.client.post("/api/v1/leave", json={}, headers=headers)
    assert (answer.status_code, reason_of(answer)) == (403, "CROSS_ORIGIN_REFUSED")
    assert len(open_to_one.backend.seen) == seen


async def test_our_own_pages_keep_their_sessions(open_to_one: Shelf) -> None:
    """That others may call changes nothing for them."""
    headers = {"origin": str(open_to_one.client.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    answer = await open_to_one.client.post("/api/v1/enter", json={"name": "n"}, headers=headers)
    assert "refreshToken" not in answer.json()
    assert "guest-refresh=refresh" in answer.headers["set-cookie"]
    open_to_one.client.cookies.clear()


async def test_a_star_lets_every_page_call_without_cookies() -> None:
    """What it opens is the network and not a session."""
    async with shelf(guest_set(), cors_origins="*") as made:
        answer_passes(made.backend)
        read = await made.client.get("/api/v1/look/1", headers=from_page("null"))
        plain = await made.client.get("/api/v1/look/1")
        wrote = await made.client.post("/api/v1/leave", json={}, headers=from_page(STRANGER))
        with_cookie = await made.client.post(
            "/api/v1/leave", json={}, headers=from_page(STRANGER, cookie="guest-refresh=r")
        )
    assert read.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in read.headers
    assert cors_of(plain) == {}
    assert wrote.status_code == 200
    assert (with_cookie.status_code, reason_of(with_cookie)) == (403, "CROSS_ORIGIN_REFUSED")
