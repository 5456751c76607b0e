"""Streams of answers over HTTP: forms, resuming, signs of life, and how each of them ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import product
from typing import Any

import httpx
import pytest

from tests.integration.gateway.conftest import until, without_collector
from tests.integration.gateway.flow import EVENTS, FORMS, JSON, LIVELY, NDJSON, Flow, flowing


@pytest.fixture(scope="module")
async def flow() -> AsyncIterator[Flow]:
    """One gateway for the streams of this file."""
    async with flowing() as made:
        yield made


@pytest.fixture(scope="module")
async def lively() -> AsyncIterator[Flow]:
    """One whose streams show soon that they live."""
    async with flowing(LIVELY) as made:
        yield made


@pytest.fixture
async def client(flow: Flow) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it; the service's memory is fresh."""
    flow.backend.seen.clear()
    async with flow.client() as made:
        yield made


def items_of(form: str, text: str) -> tuple[list[Any], Any]:
    """The items and the error of a whole stream, which must parse to its end."""
    if form == EVENTS:
        blocks = [block.splitlines() for block in text.removesuffix("\n\n").split("\n\n")]
        assert blocks.pop(0) == ["retry: 2000"]
        events = [block for block in blocks if block != [":"]]
        last = {name: value for name, _, value in (line.partition(": ") for line in events.pop())}
        datas = [json.loads(line[6:]) for block in events for line in block if line.startswith("data: ")]
        assert last["event"] in ("end", "error")
        data = json.loads(last["data"])
        return (datas, data) if last["event"] == "error" else (datas, None if data == {} else data)
    if form == JSON:
        found = json.loads(text)
        error = found.pop()["error"] if found and "error" in found[-1] else None
        return found, error
    lines = [json.loads(line) for line in text.splitlines()]
    error = lines.pop()["error"] if lines and "error" in lines[-1] else None
    return [line["result"] for line in lines], error


def reason(error: Any) -> str:
    """The ErrorInfo reason of a google.rpc.Status."""
    found: str = error["details"][0]["reason"]
    return found


def number(value: int) -> dict[str, Any]:
    """An item as the service's watch sends it."""
    return {"item": {"text": "\n", "number": str(value)}, "resumeToken": f"t{value}"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_complete_stream_has_every_item_and_no_error(
    client: httpx.AsyncClient, form: str, count: int
) -> None:
    """Whatever form the client asks for, and however many items there are."""
    answer = await client.get(f"/api/v1/flow/a:watch?count={count}", headers={"accept": form})
    assert (answer.status_code, answer.headers["content-type"]) == (200, form)
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-store"
    assert items_of(form, answer.text) == ([number(n) for n in range(1, count + 1)], None)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, NDJSON),
        ("*/*", NDJSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", NDJSON),
        ("application/json, text/plain, */*", JSON),
        ("application/json;q=0.5, text/event-stream", EVENTS),
        ("image/png", NDJSON),
    ],
)
async def test_the_form_is_what_accept_asks_for(
    client: httpx.AsyncClient, accept: str | None, form: str
) -> None:
    """Lines for whoever does not say; an array only where JSON is named."""
    request = client.build_request("GET", "/api/v1/flow/a:watch?count=1")
    del request.headers["accept"]
    if accept is not None:
        request.headers["accept"] = accept
    assert (await client.send(request)).headers["content-type"] == form


async def test_events_are_what_an_eventsource_reads(client: httpx.AsyncClient) -> None:
    """The bytes, as HTML's grammar of event streams has them: id, bare item, an end that can be told from a break."""
    answer = await client.get("/api/v1/flow/a:watch?count=1", headers={"accept": EVENTS})
    item = '{"item":{"text":"\\n","number":"1"},"resumeToken":"t1"}'
    assert answer.text == f"retry: 2000\n\nid: t1\ndata: {item}\n\nevent: end\ndata: {{}}\n\n"


@pytest.mark.parametrize("form", FORMS)
async def test_a_stream_that_fails_at_once_has_its_status(client: httpx.AsyncClient, form: str) -> None:
    """A client need not look into a stream to see that there is none."""
    answer = await client.get("/api/v1/flow/fail:watch", headers={"accept": form})
    assert (answer.status_code, answer.headers["content-type"]) == (404, JSON)
    assert reason(answer.json()) == "BOT_NOT_FOUND"


@pytest.mark.parametrize("form", FORMS)
async def test_a_stream_that_fails_later_says_so_at_its_end(client: httpx.AsyncClient, form: str) -> None:
    """A stream that broke never looks complete, and what came can be parsed."""
    answer = await client.get("/api/v1/flow/fail:watch?count=2", headers={"accept": form})
    items, error = items_of(form, answer.text)
    assert (answer.status_code, items) == (200, [number(1), number(2)])
    assert (error["code"], reason(error)) == (5, "BOT_NOT_FOUND")


@pytest.mark.parametrize("form", FORMS)
async def test_a_stream_that_has_nothing_to_tell_has_headers_all_the_same(lively: Flow, form: str) -> None:
    """A watch is no hanging request; what it fails with later is its last item, between signs of life."""
    async with lively.client() as client:
        answer = await client.get("/api/v1/flow/late:watch", headers={"accept": form})
    assert (answer.status_code, answer.headers["content-type"]) == (200, form)
    items, error = items_of(form, answer.text)
    assert (items, reason(error)) == ([], "BOT_NOT_FOUND")


@pytest.mark.parametrize("form", FORMS)
async def test_the_headers_of_an_idle_stream_leave_without_an_item(lively: Flow, form: str) -> None:
    """A server that keeps headers until there is a body would leave a client waiting that has been let in."""
    async with (
        lively.client() as client,
        client.stream("GET", "/api/v1/flow/hang:watch?count=0", headers={"accept": form}) as answer,
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (200, form)


@pytest.mark.parametrize(("form", "heartbeat"), [(EVENTS, b":\n\n"), (JSON, b"\n")])
async def test_an_idle_stream_has_signs_of_life(lively: Flow, form: str, heartbeat: bytes) -> None:
    """Proxies keep it open, and clients that are gone are found."""
    async with (
        lively.client() as client,
        client.stream("GET", "/api/v1/flow/hang:watch?count=1", headers={"accept": form}) as answer,
    ):
        beats = 0
        async for piece in answer.aiter_raw():
            beats += piece == heartbeat
            if beats == 3:
                break


async def test_a_stream_goes_on_behind_the_last_event(client: httpx.AsyncClient, flow: Flow) -> None:
    """Browsers send the id of the last event; the service sees its own token, whatever the form."""
    for headers in ({"accept": EVENTS}, {}):
        for query in ("", "&resumeToken=t7", "&resumeToken="):
            answer = await client.get(
                f"/api/v1/flow/a:watch?count=1{query}", headers={**headers, "last-event-id": "t7"}
            )
            assert answer.status_code == 200
            assert flow.backend.seen[-1].requests[0].resume_token == "t7"
    await client.get("/api/v1/flow/a:watch?count=1&resumeToken=t1", headers={"last-event-id": ""})
    assert flow.backend.seen[-1].requests[0].resume_token == "t1"


async def test_an_event_source_that_began_behind_an_event_comes_back_behind_a_later_one(
    client: httpx.AsyncClient, flow: Flow
) -> None:
    """It repeats its first URL for ever; a refusal would end it for good (HTML, server-sent events)."""
    headers = {"accept": EVENTS, "last-event-id": "t9"}
    answer = await client.get("/api/v1/flow/a:watch?count=1&resumeToken=t1", headers=headers)
    assert answer.status_code == 200
    assert flow.backend.seen[-1].requests[0].resume_token == "t9"


async def test_a_revision_is_an_id_too(client: httpx.AsyncClient, flow: Flow) -> None:
    """Of several fields the one that is there counts; an event without one leaves the last id standing."""
    headers = {"accept": EVENTS, "last-event-id": "41"}
    answer = await client.get("/api/v1/flow:follow", headers=headers)
    assert flow.backend.seen[-1].requests[0].from_revision == 41
    assert [line for line in answer.text.splitlines() if line.startswith("id:")] == ["id: 42", "id: 43"]


@pytest.mark.parametrize(
    ("path", "ids", "field", "why"),
    [
        ("/api/v1/flow/a:watch?resumeToken=t1", ["t2"], "resume_token", "CONFLICTING_FIELD"),
        ("/api/v1/flow:follow?fromRevision=1", ["2"], "from_revision", "CONFLICTING_FIELD"),
        ("/api/v1/flow/a:watch", ["t 1"], "last-event-id", "INVALID_FIELD"),
        ("/api/v1/flow/a:watch", ["x" * 1025], "last-event-id", "INVALID_FIELD"),
        ("/api/v1/flow:follow", ["t1"], "last-event-id", "INVALID_FIELD"),
        ("/api/v1/flow:follow", ["-1"], "last-event-id", "INVALID_FIELD"),
        ("/api/v1/flow:follow", ["9223372036854775808"], "last-event-id", "INVALID_FIELD"),
        ("/api/v1/flow:follow", ["1", "1"], "last-event-id", "MALFORMED_REQUEST"),
    ],
)
async def test_an_id_that_cannot_be_is_refused(
    client: httpx.AsyncClient, flow: Flow, path: str, ids: list[str], field: str, why: str
) -> None:
    """Going on from a place that was not meant would lose events without a word."""
    answer = await client.get(path, headers=[("last-event-id", one) for one in ids])
    assert (answer.status_code, reason(answer.json())) == (400, why)
    assert answer.json()["details"][1]["fieldViolations"][0]["field"] == field
    assert flow.backend.seen == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [0, 1])
async def test_a_client_that_goes_away_cancels_the_call(
    client: httpx.AsyncClient, flow: Flow, form: str, count: int
) -> None:
    """Nobody reads it any more: neither before the first item nor in mid-stream does the service go on."""
    path, headers = f"/api/v1/flow/hang:watch?count={count}", {"accept": form}
    leaving = asyncio.create_task(client.get(path, headers=headers))
    await until(lambda: flow.backend.seen)
    leaving.cancel()
    await until(lambda: flow.backend.seen[-1].cancelled)


@pytest.mark.parametrize("topic", ["hang", "a"])
async def test_nothing_of_a_stream_waits_for_the_garbage_collector(
    client: httpx.AsyncClient, flow: Flow, topic: str
) -> None:
    """Left or ended, it is gone at once; thirty objects a stream would add up."""
    async with without_collector():
        for _ in range(3):
            async with client.stream("GET", f"/api/v1/flow/{topic}:watch?count=1") as answer:
                await anext(answer.aiter_bytes())


@pytest.mark.parametrize("form", FORMS)
async def test_a_deadline_ends_a_stream_with_its_reason(
    client: httpx.AsyncClient, flow: Flow, form: str
) -> None:
    """The client's patience holds for streams as well, under either header, and reaches the service."""
    for headers in ({"grpc-timeout": "200m"}, {"x-server-timeout": "0.2"}):
        answer = await client.get("/api/v1/flow/hang:watch?count=1", headers={"accept": form, **headers})
        items, error = items_of(form, answer.text)
        assert (items, reason(error)) == ([number(1)], "DEADLINE_TOO_SHORT")
        remaining = flow.backend.seen[-1].remaining
        assert remaining is not None
        assert remaining < 0.3
    answer = await client.get("/api/v1/flow/hang:watch", headers={"accept": form, "grpc-timeout": "20m"})
    assert (answer.status_code, reason(answer.json())) == (504, "DEADLINE_TOO_SHORT")


async def test_nobody_else_sets_a_deadline(client: httpx.AsyncClient, flow: Flow) -> None:
    """A watch lasts as long as its reader."""
    await client.get("/api/v1/flow/a:watch?count=1")
    assert flow.backend.seen[-1].remaining is None


async def test_a_reader_that_stops_holds_the_service_back_and_is_given_up(flow: Flow) -> None:
    """The gateway holds what fits into buffers, not what the service could send; and not for ever."""
    before = flow.sent
    flow.backend.seen.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", flow.port, limit=4096)
    writer.write(b"GET /api/v1/flow/flood:watch?count=100000 HTTP/1.1\r\nHost: a\r\n\r\n")
    await writer.drain()
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    await until(lambda: flow.backend.seen[-1].cancelled)
    assert flow.sent - before < 2_000  # of 100,000; 20 kB each, most of it in the kernel's buffers
    writer.close()


@pytest.mark.parametrize("form", FORMS)
async def test_a_stop_ends_streams_with_their_reason(
    client: httpx.AsyncClient, flow: Flow, form: str
) -> None:
    """A deployment is no break: clients connect again, to another instance."""
    async with client.stream("GET", "/api/v1/flow/hang:watch?count=1", headers={"accept": form}) as answer:
        pieces = answer.aiter_text()
        text = ""
        while "t1" not in text:
            text += await anext(pieces)
        flow.relay.end_streams()
        text += "".join([piece async for piece in pieces])
    items, error = items_of(form, text)
    assert (items, reason(error)) == ([number(1)], "SHUTTING_DOWN")
    await until(lambda: flow.backend.seen[-1].cancelled)


async def test_a_service_that_dies_ends_its_streams_with_their_reason() -> None:
    """In every form, with the name of who is missing; a stream that is asked for afterwards is refused at once."""
    async with flowing() as flow, flow.client() as client:

        async def read(form: str) -> str:
            answer = await client.get("/api/v1/flow/hang:watch?count=1", headers={"accept": form})
            return answer.text

        reading = {form: asyncio.create_task(read(form)) for form in FORMS}
        raw = asyncio.create_task(client.get("/api/v1/flow/hang:read?count=1"))
        await until(lambda: len(flow.backend.seen) == 4)
        await flow.service.stop(0)
        for form, task in reading.items():
            items, error = items_of(form, await task)
            assert items in ([number(1)], [])
            assert error["code"] == 14
        with pytest.raises(httpx.RemoteProtocolError):
            await raw
        asks = [("GET", "/api/v1/flow/a:watch"), ("POST", "/api/v1/items/7:pour"), ("POST", "/api/v1/talk")]
        for form, (method, path) in product(FORMS, asks):
            body = b"{}\n" if method == "POST" else None
            answer = await client.request(method, path, content=body, headers={"accept": form})
            assert (answer.status_code, reason(answer.json())) == (503, "SERVICE_UNAVAILABLE")
            assert answer.json()["details"][0]["metadata"] == {"service": "flow"}


async def test_raw_streams_stay_raw(client: httpx.AsyncClient) -> None:
    """A file is a file whatever is asked for; one that breaks off is seen to be incomplete."""
    for accept in FORMS:
        answer = await client.get("/api/v1/flow/a:read?count=2", headers={"accept": accept})
        assert (answer.content, answer.headers["content-type"]) == (b"a,b\n" * 2, "text/csv")
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/api/v1/flow/fail:read?count=1")


async def test_a_stream_has_no_head(client: httpx.AsyncClient) -> None:
    """It would have to be begun to be described."""
    answer = await client.head("/api/v1/flow/a:watch")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
