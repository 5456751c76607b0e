"""Laws of browser sessions, over real HTTP and a real gRPC backend."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest

from gateway.backends import single_backend
from gateway.browser.sessions import Browsers
from gateway.http import HttpDoor
from gateway.metrics import Metrics
from gateway.pages import Pages
from gateway.protocols.door import procedure_door
from gateway.readiness import Readiness
from gateway.relay import RestRelay
from gateway.server import HttpServer
from gateway.settings import Limits
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder
from tests.integration.gateway.backend import ScriptedBackend, abort
from tests.integration.gateway.conftest import free_port, start_backend, wait_for_port
from tests.integration.gateway.test_rest import fields_of, reason_of
from tests.unit.gateway.support import guest_set

BROWSER = {"sec-fetch-site": "same-origin"}
FAR = {**BROWSER, "host": "bots.example"}
PASS = {"access_token": "access", "refresh_token": "refresh-2", "device_token": "device-2"}


@dataclass
class Guests:
    """A gateway for guest.proto; `backend.behaviours` and `outcome` are a test's to set."""

    client: httpx.AsyncClient
    backend: ScriptedBackend
    code: int = 0
    given: dict[str, str] | None = None

    @property
    def request(self) -> Any:
        """The last request that the service saw."""
        return self.backend.seen[-1].requests[-1]


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[Guests]:
    """The HTTP door with browser sessions."""
    raw = guest_set()
    backend = ScriptedBackend(raw)
    backend_server, backend_port = await start_backend(backend)
    schema, limits, metrics = Schema(raw), Limits(max_body_bytes=1_000_000, drain_seconds=0.2), Metrics()
    backends = single_backend(f"127.0.0.1:{backend_port}", limits, schema)
    transcoder = Transcoder(schema)
    relay = RestRelay(transcoder, backends, limits, Browsers(schema, transcoder.endpoints))
    port = free_port()
    pages = Pages(Readiness(backends), metrics, "127.0.0.1:9090")
    procedures = procedure_door(transcoder, backends, limits, metrics, browsers=True)
    server = HttpServer(HttpDoor(relay, pages, metrics, limits, procedures), "127.0.0.1", port, limits)
    server.start()
    await wait_for_port(port)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        made = Guests(client, backend)
        backend.behaviours |= behaviours(made)
        yield made
    await server.stop()
    await backends.close()
    await backend_server.stop(0)


@pytest.fixture
def guests(served: Guests) -> Guests:
    """The same for each test, without a memory."""
    served.backend.seen.clear()
    served.client.cookies.clear()
    served.code, served.given = 0, PASS
    return served


def behaviours(guests: Guests) -> dict[str, Any]:
    """Methods answer `guests.given`, or fail with `guests.code`."""
    types = {
        name: guests.backend.type(f"vivesphere.guest.v1.{name}")
        for name in ("Pass", "EnterResponse", "RenewResponse", "LeaveResponse")
    }

    def given() -> Any:
        return types["Pass"](**guests.given) if guests.given is not None else None

    async def fail_as_asked(context: Any) -> None:
        if guests.code:
            await abort(context, guests.code, "as asked")

    async def enter(request: Any, context: Any) -> Any:
        await fail_as_asked(context)
        return types["EnterResponse"](**{"pass": given()})

    async def renew(request: Any, context: Any) -> Any:
        await fail_as_asked(context)
        return types["RenewResponse"](**{"pass": given()}, note="renewed")

    async def leave(request: Any, context: Any) -> Any:
        await fail_as_asked(context)
        return types["LeaveResponse"]()

    async def look(request: Any, context: Any) -> Any:
        await fail_as_asked(context)
        if request.id == "public":
            await context.send_initial_metadata((("cache-control", "public, max-age=60"),))
        return request

    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        yield await look(request, context)
        if request.id == "breaks":
            await abort(context, 14, "as asked")

    return {
        "Enter": enter, "Renew": renew, "Leave": leave, "Prove": leave, "Look": look, "Change": look, "Watch": watch,
    }  # fmt: skip


def cookies_of(answer: httpx.Response) -> dict[str, dict[str, str]]:
    """By name: value and attributes of each Set-Cookie header, attributes in lower case."""
    found = {}
    for header in answer.headers.get_list("set-cookie"):
        for name, morsel in SimpleCookie(header).items():
            assert name not in found
            found[name] = {"value": morsel.value, **{k: str(v) for k, v in morsel.items() if v}}
    return found


def cookie(**values: str) -> dict[str, str]:
    """The Cookie header with these cookies; underscores for dashes."""
    return {"cookie": "; ".join(f"{name.replace('_', '-')}={value}" for name, value in values.items())}


async def test_a_browser_gets_its_tokens_in_cookies_only(guests: Guests) -> None:
    """No script, not even one that does not belong on the page, can read them."""
    answer = await guests.client.post("/api/v1/enter", json={"name": "n"}, headers=BROWSER)
    assert answer.json() == {"accessToken": "access"}
    common = {"path": "/", "httponly": "True", "samesite": "Strict"}
    assert cookies_of(answer) == {
        "guest-refresh": {"value": "refresh-2", "max-age": "3600", **common},
        "guest-device": {"value": "device-2", "max-age": "7200", **common},
    }


async def test_away_from_loopback_a_cookie_needs_tls_and_belongs_to_one_host(guests: Guests) -> None:
    """Browsers hold us to the prefix: Secure, path /, no domain."""
    answer = await guests.client.post("/api/v1/enter", json={"name": "n"}, headers=FAR)
    found = cookies_of(answer)
    assert set(found) == {"__Host-guest-refresh", "__Host-guest-device"}
    for one in found.values():
        assert (one["secure"], one["path"], "domain" in one) == ("True", "/", False)
    given = {"cookie": "guest-device=planted; __Host-guest-device=ours"}
    await guests.client.post("/api/v1/enter", json={}, headers={**FAR, **given})
    assert guests.request.device_token == "ours"


async def test_everyone_else_gets_them_in_the_body(guests: Guests) -> None:
    """curl and clients keep tokens themselves; a cookie that they send means nothing."""
    answer = await guests.client.post("/api/v1/enter", json={"name": "n"}, headers=cookie(guest_device="d"))
    assert answer.json() == {"accessToken": "access", "refreshToken": "refresh-2", "deviceToken": "device-2"}
    assert cookies_of(answer) == {}
    assert guests.request.device_token == ""
    answer = await guests.client.post("/api/v1/leave", json={})
    assert (answer.status_code, cookies_of(answer)) == (200, {})


async def test_tokens_are_moved_out_of_nested_messages_too(guests: Guests) -> None:
    """Without `response_body` the whole answer is the body; the rest of it stays."""
    answer = await guests.client.post("/api/v1/renew", json={}, headers=BROWSER)
    assert answer.json() == {"pass": {"accessToken": "access"}, "note": "renewed"}
    assert set(cookies_of(answer)) == {"guest-refresh", "guest-device"}


@pytest.mark.parametrize("given", [None, {"access_token": "access"}])
async def test_an_answer_without_a_token_leaves_cookies_alone(
    guests: Guests, given: dict[str, str] | None
) -> None:
    """Only what a service sends is kept: a renewal says nothing of the device."""
    guests.given = given
    answer = await guests.client.post("/api/v1/renew", json={}, headers=BROWSER)
    assert (answer.status_code, cookies_of(answer)) == (200, {})


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"refreshToken":""}', b'{"refresh_token":""}', b'{"refreshToken":null}']
)
async def test_a_field_left_out_is_filled_from_the_cookie(guests: Guests, body: bytes) -> None:
    """A console has no token to send; an empty one is none."""
    headers = {**BROWSER, **cookie(other="x", guest_refresh="refresh-1")}
    answer = await guests.client.post("/api/v1/prove", content=body, headers=headers)
    assert answer.status_code == 200
    assert guests.request.refresh_token == "refresh-1"


@pytest.mark.parametrize("name", ["refreshToken", "refresh_token"])
async def test_what_the_body_gives_wins(guests: Guests, name: str) -> None:
    """Whoever says a token means it, under either of the field's names."""
    headers = {**BROWSER, **cookie(guest_refresh="refresh-1")}
    await guests.client.post("/api/v1/prove", json={name: "given", "note": "n"}, headers=headers)
    assert (guests.request.refresh_token, guests.request.note) == ("given", "n")


@pytest.mark.parametrize("body", [{}, {"proof": {}}, {"proof": {"note": "n"}}])
async def test_a_nested_field_is_filled_beside_what_is_there(guests: Guests, body: dict[str, Any]) -> None:
    """The message on the way is made where it is absent and kept where it is not."""
    headers = {**BROWSER, **cookie(guest_refresh="refresh-1")}
    await guests.client.post("/api/v1/renew", json=body, headers=headers)
    assert guests.request.proof.refresh_token == "refresh-1"
    assert guests.request.proof.note == body.get("proof", {}).get("note", "")


async def test_without_a_cookie_nothing_is_filled(guests: Guests) -> None:
    """The service says what is missing; the gateway makes up no message."""
    await guests.client.post("/api/v1/renew", json={}, headers=BROWSER)
    assert not guests.request.HasField("proof")


async def test_a_long_cookie_is_the_services_to_refuse(guests: Guests) -> None:
    """The length of a field is a rule of the contract, and cookies are one way to fill it."""
    headers = {**BROWSER, **cookie(guest_refresh="x" * 600)}
    await guests.client.post("/api/v1/prove", json={}, headers=headers)
    assert guests.request.refresh_token == "x" * 600


@pytest.mark.parametrize("value", ["x" * 4096, "a b", '"a"', "caf\u00e9", "a,b"])
async def test_a_cookie_that_was_never_set_is_refused_and_goes(guests: Guests, value: str) -> None:
    """It would lock the browser out of signing in until somebody finds it."""
    headers = [(b"sec-fetch-site", b"same-origin"), (b"cookie", b"guest-device=" + value.encode("latin-1"))]
    answer = await guests.client.post("/api/v1/enter", json={}, headers=headers)
    assert (answer.status_code, reason_of(answer), fields_of(answer)) == (
        400,
        "INVALID_FIELD",
        ["device_token"],
    )
    assert cookies_of(answer)["guest-device"]["max-age"] == "0"
    assert value not in answer.text
    assert guests.backend.seen == []


async def test_a_cookie_given_twice_is_refused(guests: Guests) -> None:
    """Neither is taken, neither goes: which one is ours cannot be told. A body that gives the field needs none."""
    headers = {**BROWSER, "cookie": "guest-refresh=a; guest-refresh=b"}
    answer = await guests.client.post("/api/v1/prove", json={}, headers=headers)
    assert (answer.status_code, reason_of(answer), fields_of(answer)) == (
        400,
        "MALFORMED_REQUEST",
        ["cookie"],
    )
    assert cookies_of(answer) == {}
    assert guests.backend.seen == []
    answer = await guests.client.post("/api/v1/prove", json={"refreshToken": "given"}, headers=headers)
    assert answer.status_code == 200


async def test_leaving_takes_the_sessions_cookie_away(guests: Guests) -> None:
    """With the attributes it was set with; the device stays known."""
    answer = await guests.client.post("/api/v1/leave", headers={**BROWSER, **cookie(guest_refresh="r")})
    assert answer.json() == {}
    assert cookies_of(answer) == {
        "guest-refresh": {"value": "", "max-age": "0", "path": "/", "httponly": "True", "samesite": "Strict"}
    }
    answer = await guests.client.post("/api/v1/leave", headers=FAR)
    assert cookies_of(answer)["__Host-guest-refresh"]["secure"] == "True"


@pytest.mark.parametrize("code", [3, 4, 7, 8, 13, 14, 16])
async def test_a_call_that_failed_sets_and_clears_nothing(guests: Guests, code: int) -> None:
    """A session that was not ended is still there, and a service that is down has not ended it."""
    guests.code = code
    for path in ("/api/v1/leave", "/api/v1/enter"):
        answer = await guests.client.post(path, json={}, headers=BROWSER)
        assert (answer.json()["code"], cookies_of(answer)) == (code, {})


@pytest.mark.parametrize("code", [3, 4, 7, 8, 13, 14, 16])
async def test_only_unauthenticated_takes_away_the_cookie_that_failed(guests: Guests, code: int) -> None:
    """The service will never take it again; any other failure says nothing of the token."""
    guests.code = code
    headers = {**BROWSER, **cookie(guest_refresh="r", guest_device="d")}
    answer = await guests.client.post("/api/v1/prove", json={}, headers=headers)
    assert answer.json()["code"] == code
    assert {name: one["max-age"] for name, one in cookies_of(answer).items()} == (
        {"guest-refresh": "0"} if code == 16 else {}
    )
    assert "Bearer" in answer.headers.get("www-authenticate", "") or code != 16


async def test_a_token_from_the_body_that_fails_costs_no_cookie(guests: Guests) -> None:
    """The cookie was not what was refused."""
    guests.code = 16
    headers = {**BROWSER, **cookie(guest_refresh="r")}
    answer = await guests.client.post("/api/v1/prove", json={"refreshToken": "old"}, headers=headers)
    assert (answer.status_code, cookies_of(answer)) == (401, {})


async def test_a_mistyped_password_does_not_make_the_device_a_stranger(guests: Guests) -> None:
    """UNAUTHENTICATED speaks of the session; no method ends what a device proves."""
    guests.code = 16
    headers = {**BROWSER, **cookie(guest_device="d")}
    answer = await guests.client.post("/api/v1/enter", json={"name": "n"}, headers=headers)
    assert guests.request.device_token == "d"
    assert (answer.status_code, cookies_of(answer)) == (401, {})


@pytest.mark.parametrize("value", ["a;b", "a\r\nset-cookie: x=y", "x" * 5000, "a b"])
async def test_a_token_that_no_cookie_can_hold_is_a_defect(guests: Guests, value: str) -> None:
    """Sent anyway it would split the header, or be dropped by the browser without a word."""
    guests.given = {"refresh_token": value}
    answer = await guests.client.post("/api/v1/enter", json={}, headers=BROWSER)
    assert (answer.status_code, reason_of(answer), cookies_of(answer)) == (500, "INTERNAL", {})
    assert "x=y" not in str(answer.headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:1"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
    ],
)
@pytest.mark.parametrize("request_line", ["POST /api/v1/leave", "PUT /api/v1/look/1"])
async def test_what_another_origin_asks_for_is_refused(
    guests: Guests, headers: dict[str, str], request_line: str
) -> None:
    """The browser would send the user's cookies along; routes without cookies are behind the same door."""
    method, _, path = request_line.partition(" ")
    answer = await guests.client.request(
        method, path, json={}, headers={**headers, **cookie(guest_refresh="r")}
    )
    assert (answer.status_code, answer.json()["code"], reason_of(answer)) == (403, 7, "CROSS_ORIGIN_REFUSED")
    assert cookies_of(answer) == {}
    assert guests.backend.seen == []


async def test_the_refusal_does_not_wait_for_the_body(guests: Guests) -> None:
    """What is refused costs nothing."""
    port = guests.client.base_url.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /api/v1/enter HTTP/1.1\r\nhost: h\r\norigin: http://evil.example\r\ncontent-length: 100\r\n\r\n"
    )
    async with asyncio.timeout(30):
        assert b" 403 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_the_own_origin_passes_without_fetch_metadata(guests: Guests) -> None:
    """Plain HTTP away from loopback, and old browsers."""
    origin = str(guests.client.base_url).rstrip("/")
    answer = await guests.client.post("/api/v1/enter", json={}, headers={"origin": origin})
    assert answer.status_code == 200
    assert "guest-refresh" in cookies_of(answer)


async def test_safe_requests_of_other_origins_are_answered_and_not_shared(guests: Guests) -> None:
    """Links from elsewhere work; scripts from elsewhere cannot read, for no CORS header is sent."""
    far = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
    for method, status in (("GET", 200), ("HEAD", 200), ("OPTIONS", 204)):
        preflight = {"access-control-request-method": "PUT"} if method == "OPTIONS" else {}
        answer = await guests.client.request(method, "/api/v1/look/1", headers={**far, **preflight})
        assert answer.status_code == status
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert cookies_of(answer) == {}


async def test_head_finds_no_way_to_a_cookie(guests: Guests) -> None:
    """Methods with cookies have no GET, so HEAD has nothing to stand in for."""
    for path in ("/api/v1/enter", "/api/v1/leave", "/api/v1/prove"):
        answer = await guests.client.head(path, headers={**BROWSER, **cookie(guest_refresh="r")})
        assert (answer.status_code, cookies_of(answer)) == (405, {})
    assert guests.backend.seen == []


async def test_a_cookie_header_ends_at_the_gateway(guests: Guests) -> None:
    """No service has a use for it, and each writes its own logs and traces."""
    headers = {**BROWSER, **cookie(guest_refresh="s3cret", other="s3cret")}
    await guests.client.get("/api/v1/look/1", headers=headers)
    await guests.client.post("/api/v1/leave", json={}, headers=headers)
    for seen in guests.backend.seen:
        assert "s3cret" not in str(seen.metadata)
    assert len(guests.backend.seen) == 2


async def test_nobody_stores_an_answer_unless_the_service_allows_it(guests: Guests) -> None:
    """Answers are one caller's own; a public key set says for itself how long it may be kept."""
    client = guests.client
    answers = {
        "unary": await client.get("/api/v1/look/1"),
        "head": await client.head("/api/v1/look/1"),
        "stream": await client.get("/api/v1/watch/1"),
        "broken stream": await client.get("/api/v1/watch/breaks"),
        "cookies": await client.post("/api/v1/enter", json={}, headers=BROWSER),
        "refused": await client.post("/api/v1/enter", json={}, headers={"origin": "null"}),
        "no route": await client.get("/api/v1/nothing"),
        "wrong method": await client.delete("/api/v1/look/1"),
        "options": await client.options("/api/v1/look/1"),
        "malformed headers": await client.get("/api/v1/look/1", headers=[("origin", "a"), ("origin", "b")]),
    }
    guests.code = 5
    answers |= {
        "error": await client.get("/api/v1/look/1"),
        "failed stream": await client.get("/api/v1/watch/1"),
    }
    found = {name: answer.headers.get_list("cache-control") for name, answer in answers.items()}
    assert [name for name, value in found.items() if value != ["no-store"]] == []
    guests.code = 0
    for path in ("/api/v1/look/public", "/api/v1/watch/public"):
        answer = await client.get(path)
        assert answer.headers.get_list("cache-control") == ["public, max-age=60"]


@pytest.mark.parametrize(
    ("path", "value"),
    [("/", "no-cache"), ("/landing.css", "max-age=3600"), ("/healthz", "no-store"), ("/readyz", "no-store"), ("/metrics", "no-store")],
)  # fmt: skip
async def test_own_pages_say_how_long_they_keep(guests: Guests, path: str, value: str) -> None:
    """States are of the moment; the page is asked for again, its style is kept."""
    assert (await guests.client.get(path)).headers.get_list("cache-control") == [value]


async def test_calls_by_name_have_the_same_cookies(guests: Guests) -> None:
    """A token that scripts cannot read over REST must not be readable in an envelope beside it."""
    guests.given = PASS
    sent = {**BROWSER, "content-type": "application/json", "cookie": "guest-device=device-1"}
    path = "/vivesphere.guest.v1.GuestService/Enter"
    answer = await guests.client.post(path, content=b'{"name":"n"}', headers=sent)
    assert answer.json() == {"pass": {"accessToken": "access"}}
    assert guests.request.device_token == "device-1"
    cookies = SimpleCookie("; ".join(answer.headers.get_list("set-cookie")))
    assert {name: cookies[name].value for name in ("guest-refresh", "guest-device")} == {
        "guest-refresh": "refresh-2",
        "guest-device": "device-2",
    }
    web = {**sent, "content-type": "application/grpc-web+proto"}
    answer = await guests.client.post(path, content=b"\0\0\0\0\0", headers=web)
    assert b"access" in answer.content
    assert b"refresh-2" not in answer.content
    assert guests.request.device_token == "device-1"
    guests.client.cookies.clear()
    program = {"content-type": "application/grpc-web+proto"}
    answer = await guests.client.post(path, content=b"\0\0\0\0\0", headers=program)
    assert b"refresh-2" in answer.content
    assert "set-cookie" not in answer.headers


async def test_a_session_that_ended_is_taken_away_in_every_protocol(guests: Guests) -> None:
    """A browser that keeps a dead cookie shows it again and again."""
    guests.code = 16
    cookie = {**BROWSER, "cookie": "guest-refresh=refresh-1"}
    for kind, body, status in (
        ("application/json", b"{}", 401),
        ("application/grpc-web+proto", b"\0\0\0\0\0", 200),
    ):
        answer = await guests.client.post(
            "/vivesphere.guest.v1.GuestService/Renew", content=body, headers={**cookie, "content-type": kind}
        )
        assert answer.status_code == status
        assert "guest-refresh=; Max-Age=0" in answer.headers["set-cookie"]


async def test_pages_of_others_cannot_call_by_name(guests: Guests) -> None:
    """A form or a fetch of another site would act as the user, whatever the protocol; streams that carry a cookie's field are not there."""
    foreign = {"sec-fetch-site": "cross-site", "cookie": "guest-refresh=r"}
    path = "/vivesphere.guest.v1.GuestService"
    answer = await guests.client.post(
        f"{path}/Change", content=b"{}", headers={**foreign, "content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    web = {**foreign, "content-type": "application/grpc-web+proto"}
    answer = await guests.client.post(f"{path}/Change", content=b"\0\0\0\0\0", headers=web)
    assert answer.headers["grpc-status"] == "7"
    assert guests.backend.seen == []
    own = {**BROWSER, "content-type": "application/grpc-web+proto"}
    answer = await guests.client.post(f"{path}/Passes", content=b"\0\0\0\0\0", headers=own)
    assert answer.headers["grpc-status"] == "12"
    seen = await guests.client.get(f"{path}/Renew?encoding=json&message=%7B%7D", headers=BROWSER)
    assert (seen.status_code, seen.headers["allow"]) == (405, "POST")
