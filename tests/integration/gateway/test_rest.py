"""Laws of the HTTP door, over real HTTP and a real gRPC backend."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from tests.integration.gateway.conftest import Running, until, without_collector


def reason_of(answer: httpx.Response) -> str:
    """The ErrorInfo reason of an error answer."""
    found: str = next(d["reason"] for d in answer.json()["details"] if d["@type"].endswith("ErrorInfo"))
    return found


def fields_of(answer: httpx.Response) -> list[str]:
    """The fields that BadRequest names."""
    return [
        v["field"] for d in answer.json()["details"] if "fieldViolations" in d for v in d["fieldViolations"]
    ]


async def test_a_request_reaches_the_service_with_its_metadata(
    client: httpx.AsyncClient, running: Running
) -> None:
    """Token, trace and request id travel; what a client may not say does not."""
    sent = {
        "authorization": "Bearer t",
        "x-request-id": "my-request",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "x-forwarded-for": "6.6.6.6",
    }
    answer = await client.get("/api/v1/things/a%2Fb", headers=sent)
    assert answer.status_code == 200
    assert answer.json() == {"id": "a/b"}
    assert answer.headers["x-request-id"] == "my-request"
    assert answer.headers["server"] == "vivesphere"
    seen = running.backend.seen[-1]
    expected = {**sent, "x-forwarded-for": "127.0.0.1"}
    assert {name: seen.metadata.get(name) for name in expected} == expected
    assert seen.metadata["x-user-agent"].startswith("python-httpx")
    assert seen.remaining is not None
    assert 25 < seen.remaining < 31  # gRPC rounds deadlines up


async def test_an_idempotency_key_goes_into_field_and_metadata(
    client: httpx.AsyncClient, running: Running
) -> None:
    """Services look at the field, logs at the metadata."""
    await client.post("/api/v1/things", json={"displayName": "a"}, headers={"idempotency-key": "k-1"})
    seen = running.backend.seen[-1]
    assert seen.requests[0].request_id == "k-1"
    assert seen.metadata["idempotency-key"] == "k-1"


async def test_a_patch_fills_the_mask(client: httpx.AsyncClient, running: Running) -> None:
    """The service sees exactly the fields that the body holds."""
    await client.patch("/api/v1/things/7", json={"displayName": "a", "sub": {"number": 1}})
    assert list(running.backend.seen[-1].requests[0].update_mask.paths) == ["display_name", "sub.number"]


async def test_response_body_answers_the_bare_field_and_metadata_becomes_headers(
    client: httpx.AsyncClient,
) -> None:
    """`GET /bots/{id}` is the bot; etag is an ordinary header."""
    answer = await client.get("/api/v1/show/x")
    assert answer.json() == {"id": "x", "big": "5"}
    assert answer.headers["etag"] == '"7"'
    assert answer.headers["grpc-metadata-x-init"] == "i"
    assert answer.headers["grpc-metadata-x-bytes-bin"] == "AAE="
    assert answer.headers["grpc-trailer-x-trail"] == "t"
    assert (await client.get("/api/v1/show/none")).json() == {}
    assert (await client.get("/api/v1/text/x")).json() == "plain"
    assert (await client.get("/api/v1/text/none")).json() == ""


async def test_http_bodies_pass_raw(client: httpx.AsyncClient) -> None:
    """Downloads and uploads are not JSON; a page from a service cannot run script on our origin."""
    answer = await client.get("/api/v1/download/x")
    assert (answer.content, answer.headers["content-type"]) == (b"<p>x", "text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    raw = bytes(range(256))
    answer = await client.post("/api/v1/upload", content=raw, headers={"content-type": "image/png"})
    assert (answer.content, answer.headers["content-type"]) == (raw, "image/png")


async def test_a_page_that_fails_is_a_page_for_a_browser(client: httpx.AsyncClient) -> None:
    """A person who was sent here by another site reads it, with the id to search for; nothing in it is markup from outside."""
    path = "/api/v1/download/x?%3Cscript%3E=1"
    page = await client.get(path, headers={"accept": "text/html,*/*;q=0.8", "x-request-id": "request-7"})
    assert (page.status_code, page.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert page.headers["x-request-id"] in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for accept in ("*/*", "application/json"):
        answer = await client.get(path, headers={"accept": accept})
        assert answer.headers["content-type"] == "application/json"
    program = await client.get("/api/v1/show/x?unknown=1", headers={"accept": "text/html"})
    assert program.headers["content-type"] == "application/json"


async def test_maps_wrappers_and_big_numbers_survive_the_round_trip(client: httpx.AsyncClient) -> None:
    """int64 as strings: JavaScript would round them."""
    sent = {
        "id": "1", "big": "9007199254740993", "labels": {"ä": "ö"}, "subMap": {"k": {"number": 1}}, "note": "", "count": "0",
        "time": "2030-01-01T00:00:00.000000001Z", "wait": "-1.500s", "extra": {"a": [1.0, None]}, "data": "AP8=", "maybeNumber": 0,
        "any": {"@type": "type.googleapis.com/vivesphere.echo.v1.Sub", "text": "x"},
    }  # fmt: skip
    assert (await client.post("/api/v1/things/1:check", json=sent)).json() == sent


@pytest.mark.parametrize(
    ("request_line", "body", "status", "reason", "fields"),
    [
        ("POST /api/v1/things", b"{", 400, "MALFORMED_REQUEST", []),
        ("POST /api/v1/things", b'{"nope":1}', 400, "UNKNOWN_FIELD", ["thing.nope"]),
        ("GET /api/v1/things?nope=1", b"", 400, "UNKNOWN_FIELD", ["nope"]),
        ("GET /api/v1/things/%ff", b"", 400, "MALFORMED_REQUEST", []),
        ("GET /api/v1/nothing", b"", 404, "ROUTE_NOT_FOUND", []),
        ("PUT /api/v1/things", b"", 405, "METHOD_NOT_ALLOWED", []),
        ("POST /healthz", b"", 405, "METHOD_NOT_ALLOWED", []),
        ("POST /api/v1/things", b'{"displayName":"' + b"x" * 1_000_001 + b'"}', 413, "MESSAGE_TOO_LARGE", []),
        ("GET /api/v1/things/" + "x" * 8200, b"", 414, "MESSAGE_TOO_LARGE", []),
    ],
)  # fmt: skip
async def test_the_gateways_refusals_are_statuses(
    client: httpx.AsyncClient,
    running: Running,
    request_line: str,
    body: bytes,
    status: int,
    reason: str,
    fields: list[str],
) -> None:
    """Same shape as a service's errors, and nothing reaches a service."""
    method, _, path = request_line.partition(" ")
    answer = await client.request(method, path, content=body)
    assert (answer.status_code, reason_of(answer), fields_of(answer)) == (status, reason, fields)
    assert answer.headers["content-type"] == "application/json"
    assert running.backend.seen == []
    if status == 405:
        assert "GET" in answer.headers["allow"]


async def test_a_chunked_body_over_the_limit_is_refused_while_reading(client: httpx.AsyncClient) -> None:
    """Without Content-Length the limit still holds."""

    async def endless() -> Any:
        for _ in range(100):
            yield b"x" * 65_536

    answer = await client.post("/api/v1/things", content=endless())
    assert (answer.status_code, reason_of(answer)) == (413, "MESSAGE_TOO_LARGE")


async def test_headers_over_the_limit_are_refused(client: httpx.AsyncClient) -> None:
    """A flood of headers must not fill memory."""
    assert (await client.get("/healthz", headers={"x-flood": "x" * 200_000})).status_code == 431


async def test_a_services_error_keeps_its_details(client: httpx.AsyncClient) -> None:
    """Reason and retry delay are what clients act on."""
    answer = await client.get("/api/v1/fail/5?with=info")
    assert (answer.status_code, answer.json()["code"], answer.json()["message"]) == (404, 5, "as asked")
    assert reason_of(answer) == "BOT_NOT_FOUND"
    answer = await client.get("/api/v1/fail/8?with=retry")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
    answer = await client.get("/api/v1/fail/16")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_head_and_options_come_by_themselves(client: httpx.AsyncClient) -> None:
    """HEAD is GET without the body; OPTIONS tells what is there."""
    answer = await client.head("/api/v1/things/a")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "10")
    answer = await client.options("/api/v1/things/a")
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, PATCH")


async def test_a_stream_is_lines_of_results(client: httpx.AsyncClient) -> None:
    """Each item is a line that parses by itself."""
    answer = await client.get("/api/v1/count/3")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == [
        {"result": {}}, {"result": {"big": "1"}}, {"result": {"big": "2"}},
    ]  # fmt: skip


async def test_a_stream_that_fails_says_so(client: httpx.AsyncClient) -> None:
    """Before the first item as an HTTP status, after it as a last line: a broken stream never looks complete."""
    answer = await client.get("/api/v1/failstream/5?with=info")
    assert (answer.status_code, reason_of(answer)) == (404, "BOT_NOT_FOUND")
    lines = (await client.get("/api/v1/failstream/5?with=info&after=1")).text.splitlines()
    assert json.loads(lines[0]) == {"result": {}}
    assert json.loads(lines[1])["error"]["code"] == 5
    assert len(lines) == 2


async def test_items_are_sent_as_they_come(client: httpx.AsyncClient, running: Running) -> None:
    """A tail that is held back until a buffer is full is no tail; leaving cancels the service's call."""
    async with client.stream("GET", "/api/v1/count/100000") as answer:
        lines = answer.aiter_lines()
        assert json.loads(await anext(lines)) == {"result": {}}
    await until(lambda: running.backend.seen[-1].cancelled)


async def test_a_client_that_goes_away_cancels_a_unary_call(
    client: httpx.AsyncClient, running: Running
) -> None:
    """Nobody reads the answer; the service should not work for it."""
    before = len(running.backend.seen)
    async with without_collector():
        leaving = asyncio.create_task(client.get("/api/v1/sleep?seconds=20"))
        await until(lambda: len(running.backend.seen) > before)
        leaving.cancel()
        await until(lambda: running.backend.seen[before].cancelled)
        del leaving


async def test_a_slow_call_leaves_nothing_to_the_collector(client: httpx.AsyncClient) -> None:
    """Its client is watched meanwhile, and the watch is cancelled."""
    async with without_collector():
        assert (await client.get("/api/v1/sleep?seconds=1")).status_code == 200


@pytest.mark.parametrize("headers", [{"grpc-timeout": "100m"}, {"x-server-timeout": "0.1"}])
async def test_a_deadline_is_kept_and_passed_on(
    client: httpx.AsyncClient, running: Running, headers: dict[str, str]
) -> None:
    """The client's patience ends the work, with a reason."""
    answer = await client.get("/api/v1/sleep?seconds=20", headers=headers)
    assert (answer.status_code, reason_of(answer)) == (504, "DEADLINE_TOO_SHORT")
    seen = running.backend.seen[-1]
    assert seen.remaining is not None
    assert seen.remaining < 0.2


async def test_readiness_names_each_service(client: httpx.AsyncClient) -> None:
    """An operator sees which one is missing, and how fast."""
    started = time.monotonic()
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "not ready",
        "services": {"echo": "SERVING", "missing": "UNREACHABLE"},
        "dependencies": {"echo": {}, "missing": {}},
        "facts": {},
    }
    assert time.monotonic() - started < 2.5
    assert (await client.get("/healthz")).json() == {"status": "ok"}


async def test_metrics_count_by_template(client: httpx.AsyncClient) -> None:
    """A label per path would grow without bound."""
    await client.get("/api/v1/things/some-id")
    await client.get("/nothing/here")
    text = (await client.get("/metrics")).text
    assert 'gateway_http_requests_total{method="GET",route="/api/v1/things/{id}",status="200"}' in text
    assert 'route="unmatched",status="404"' in text
    assert "some-id" not in text


async def test_the_landing_page_runs_no_script(client: httpx.AsyncClient, running: Running) -> None:
    """It says what is here, under a policy that allows nothing else."""
    answer = await client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert f"127.0.0.1:{running.grpc_port}" in answer.text
    for word in ("/api/v1", "/readyz"):
        assert word in answer.text
    for word in ("<script", "<style", "style=", "onclick"):
        assert word not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert (await client.get("/landing.css")).headers["content-type"].startswith("text/css")


async def test_an_answer_over_the_limit_is_no_fault_of_the_clients(
    client: httpx.AsyncClient, running: Running
) -> None:
    """A status that asks it to come again later would bring it back for the same answer for ever."""

    async def vast(request: Any, context: Any) -> Any:
        return running.backend.type("vivesphere.echo.v1.Thing")(data=b"x" * 4_000_001)

    running.backend.behaviours["CheckThing"] = vast
    try:
        answer = await client.post("/api/v1/things/1:check", json={})
    finally:
        del running.backend.behaviours["CheckThing"]
    assert (answer.status_code, reason_of(answer)) == (500, "MESSAGE_TOO_LARGE")
    assert (await client.get("/api/v1/things/1")).status_code == 200
