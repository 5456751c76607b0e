"""Streams of requests over HTTP: JSON values in lines or in one array become messages as they come, and answers may come meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from gateway.backends import ANSWER_TIMES
from tests.integration.gateway.conftest import until, without_collector
from tests.integration.gateway.flow import EVENTS, FORMS, JSON, LIMITS, NDJSON, Flow, flowing

POUR, GATHER, TALK = "/api/v1/items/7:pour", "/api/v1/rooms/hall:gather", "/api/v1/talk"
LINES = {"content-type": NDJSON}


@pytest.fixture(scope="module")
async def flow() -> AsyncIterator[Flow]:
    """One gateway for the streams of this file."""
    async with flowing() as made:
        yield made


@pytest.fixture
async def client(flow: Flow) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it; the service's memory is fresh."""
    flow.backend.seen.clear()
    flow.backend.impatient.clear()
    async with flow.client() as made:
        yield made


async def dribble(body: bytes, size: int) -> AsyncIterator[bytes]:
    """The body in small pieces."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


def error_of(answer: httpx.Response) -> tuple[str, list[str]]:
    """Reason and fields of an error answer."""
    info, *more = answer.json()["details"]
    return info["reason"], [one["field"] for detail in more for one in detail["fieldViolations"]]


VALUES = [{"text": 'a,"]}\\'}, {"text": "[{", "number": "1"}, {}, {"text": "ä\n"}]


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("kind", [NDJSON, JSON, ""])
async def test_values_become_messages(client: httpx.AsyncClient, flow: Flow, kind: str, size: int) -> None:
    """In either form, however the network cuts them, and with brackets and quotes in their texts."""
    texts = [json.dumps(value, ensure_ascii=False) for value in VALUES]
    headers = {"content-type": kind} if kind else {}
    bodies = ["\n".join(texts), "\r\n\r\n".join(texts) + "\n"]
    bodies += [] if kind == NDJSON else [f"[{','.join(texts)}]", json.dumps(VALUES, indent=1) + "\n"]
    for body in bodies:
        answer = await client.post(TALK, content=dribble(body.encode(), size), headers=headers)
        assert [json.loads(line)["result"] for line in answer.text.splitlines()] == VALUES
        assert len(flow.backend.seen[-1].requests) == len(VALUES)


@pytest.mark.parametrize("body", [b"", b"\n", b"[]", b" [ ]\n"])
async def test_no_values_are_no_messages(client: httpx.AsyncClient, flow: Flow, body: bytes) -> None:
    """A stream of nothing is the service's to judge."""
    answer = await client.post(TALK, content=body)
    assert (answer.status_code, answer.text) == (200, "")
    assert flow.backend.seen[-1].requests == []


async def test_path_and_query_hold_for_every_message(client: httpx.AsyncClient, flow: Flow) -> None:
    """Each message is a request, so what the URL says is true of all of them."""
    body = b'{"text":"a"}\n{"text":"b"}\n'
    answer = await client.post(GATHER, params={"note": "n"}, content=body, headers=LINES)
    assert answer.json() == {"room": "hall", "note": "n", "item": {"text": "b"}}
    seen = [(one.room, one.note, one.item.text) for one in flow.backend.seen[-1].requests]
    assert seen == [("hall", "n", "a"), ("hall", "n", "b")]
    answer = await client.post(POUR, content=b'{"text":"a"}\n{"id":"7"}', headers=LINES)
    assert [one.id for one in flow.backend.seen[-1].requests] == ["7", "7"]


@pytest.mark.parametrize(
    ("path", "body", "status", "reason", "fields"),
    [
        (POUR, b'{}\n{"id":"8"}', 400, "CONFLICTING_FIELD", ["[1].id"]),
        (POUR, b'{}\n{"nope":1}', 400, "UNKNOWN_FIELD", ["[1].nope"]),
        (POUR, b'[{},{"number":"x"}]', 400, "INVALID_FIELD", ["[1].number"]),
        (POUR, b"{}\nnull", 400, "MALFORMED_REQUEST", ["[1]"]),
        (POUR, b"{}\n{", 400, "MALFORMED_REQUEST", ["[1]"]),
        (POUR, b"{} {}", 400, "MALFORMED_REQUEST", ["[0]"]),
        (POUR, b"[{} {}]", 400, "MALFORMED_REQUEST", ["[0]"]),
        (POUR, b"[{},]", 400, "MALFORMED_REQUEST", ["[1]"]),
        (POUR, b"[,{}]", 400, "MALFORMED_REQUEST", ["[0]"]),
        (POUR, b"[{}}]", 400, "MALFORMED_REQUEST", ["[0]"]),
        (POUR, b"[{]", 400, "MALFORMED_REQUEST", []),
        (POUR, b"[{}", 400, "MALFORMED_REQUEST", []),
        (POUR, b"[{}] {}", 400, "MALFORMED_REQUEST", []),
        (POUR, b"[{}]]", 400, "MALFORMED_REQUEST", []),
        (POUR, b'{}\n{"text":"' + b"x" * 100_000 + b'"}', 413, "MESSAGE_TOO_LARGE", ["[1]"]),
        (POUR, b'[{},{"text":"' + b"x" * 100_000, 413, "MESSAGE_TOO_LARGE", ["[1]"]),
        (POUR + "?text=a", b"{}", 400, "CONFLICTING_FIELD", ["text"]),
        (GATHER + "?nope=a", b"{}", 400, "UNKNOWN_FIELD", ["nope"]),
        (GATHER, b'{"text":1}', 400, "INVALID_FIELD", ["[0].item.text"]),
    ],
)
async def test_a_value_that_cannot_be_is_refused_by_its_place(
    client: httpx.AsyncClient, flow: Flow, path: str, body: bytes, status: int, reason: str, fields: list[str]
) -> None:
    """As a unary body would be, and the call is cancelled: half of a stream is not what was meant."""
    answer = await client.post(path, content=body)
    assert (answer.status_code, *error_of(answer)) == (status, reason, fields)
    await until(lambda: all(seen.cancelled for seen in flow.backend.seen))


async def test_other_types_are_refused(client: httpx.AsyncClient) -> None:
    """A form is no stream of values."""
    answer = await client.post(POUR, content=b"a=1", headers={"content-type": "text/csv"})
    assert (answer.status_code, error_of(answer)[0]) == (415, "MALFORMED_REQUEST")


async def test_a_stream_may_be_larger_than_any_body(client: httpx.AsyncClient, flow: Flow) -> None:
    """What is bounded is a value."""
    value = json.dumps({"text": "x" * 50_000}).encode()

    async def many() -> AsyncIterator[bytes]:
        for index in range(40):
            yield b"[" * (index == 0) + b"," * (index > 0) + value
        yield b"]"

    answer = await client.post(POUR, content=many())
    assert (answer.status_code, len(answer.json()["text"])) == (200, 50_000)
    assert len(flow.backend.seen[-1].requests) == 40


async def test_a_service_that_has_heard_enough_answers_while_the_client_sends(
    client: httpx.AsyncClient, flow: Flow
) -> None:
    """Even where the next value is long in coming."""
    flow.backend.impatient.add("Pour")

    async def slow() -> AsyncIterator[bytes]:
        yield b"{}\n"
        await until(lambda: flow.backend.seen)
        yield b"{}\n"

    answer = await client.post(POUR, content=slow(), headers=LINES)
    assert (answer.status_code, answer.json()["message"]) == (400, "enough")


async def test_a_client_that_breaks_off_cancels_the_call(flow: Flow) -> None:
    """Of both kinds; what it had sent is not taken for the whole."""
    for path in (POUR, TALK):
        flow.backend.seen.clear()
        flow.backend.impatient.clear()
        _, writer = await asyncio.open_connection("127.0.0.1", flow.port)
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{{}}\n\r\n".encode()
        )
        await until(lambda: flow.backend.seen and flow.backend.seen[-1].requests)
        writer.close()
        await until(lambda: flow.backend.seen[-1].cancelled)


async def test_a_deadline_holds_while_the_client_sends(flow: Flow) -> None:
    """A slow sender does not keep a call open past its time, and gets to know."""
    reader, writer = await asyncio.open_connection("127.0.0.1", flow.port)
    head = f"POST {POUR} HTTP/1.1\r\nHost: a\r\nGrpc-Timeout: 100m\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode() + b"3\r\n{}\n\r\n")
    async with asyncio.timeout(20):
        answer = await reader.readuntil(b"]}")
    assert b" 504 " in answer.splitlines()[0]
    assert b"DEADLINE_TOO_SHORT" in answer
    writer.close()


async def test_an_answer_that_does_not_come_is_waited_for_only_so_long() -> None:
    """Nobody else sets an end to a call whose client named none."""
    limits = LIMITS.model_copy(update={"default_deadline_seconds": 0.1})
    async with flowing(limits) as flow, flow.client() as client:

        async def never(request: Any, context: Any) -> Any:
            await asyncio.sleep(60)

        flow.backend.behaviours["Pour"] = never
        answer = await client.post(POUR, content=b"{}", headers=LINES)
        assert (answer.status_code, error_of(answer)[0]) == (504, "DEADLINE_TOO_SHORT")
        await until(lambda: flow.backend.seen[-1].cancelled)


class Talk:
    """A two-way stream by hand: httpx sends a whole body before it reads an answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.received = ""

    def say(self, value: dict[str, str]) -> None:
        """Send one value in a chunk of its own."""
        line = json.dumps(value).encode() + b"\n"
        self._writer.write(b"%x\r\n%s\r\n" % (len(line), line))

    def end(self) -> None:
        """Send the end of the body."""
        self._writer.write(b"0\r\n\r\n")

    async def hear(self, text: str | None = None) -> None:
        """Read chunks until the text came; to the end of the answer without one."""
        while text is None or text not in self.received:
            size = int(await self._reader.readline(), 16)
            self.received += (await self._reader.readexactly(size + 2))[:-2].decode()
            if size == 0:
                assert text is None
                return


@asynccontextmanager
async def talking(flow: Flow, form: str) -> AsyncIterator[Talk]:
    """A stream to Talk whose first value was said and answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", flow.port)
    head = f"POST {TALK} HTTP/1.1\r\nHost: a\r\nAccept: {form}\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    talk = Talk(reader, writer)
    async with asyncio.timeout(30):
        talk.say({"text": "first"})
        assert b" 200 " in await reader.readline()
        await reader.readuntil(b"\r\n\r\n")
        await talk.hear("first")
        yield talk
    writer.close()


async def test_both_ways_go_on_at_the_same_time(flow: Flow) -> None:
    """An answer to a value comes before the next value is sent."""
    async with talking(flow, NDJSON) as talk:
        talk.say({"text": "second"})
        await talk.hear("second")
        talk.end()
        await talk.hear()
    assert [json.loads(line)["result"]["text"] for line in talk.received.splitlines()] == ["first", "second"]


@pytest.mark.parametrize("form", FORMS)
async def test_a_bad_value_in_mid_stream_is_the_last_item(flow: Flow, form: str) -> None:
    """What was answered stays; the reason tells which value it was."""
    async with talking(flow, form) as talk:
        talk.say({"nope": "1"})
        talk.end()
        await talk.hear()
    assert "[1].nope" in talk.received
    if form == JSON:
        assert [list(one) for one in json.loads(talk.received)] == [["text"], ["error"]]
    elif form == EVENTS:
        assert talk.received.count("event: error\n") == 1
    else:
        assert json.loads(talk.received.splitlines()[-1])["error"]["code"] == 3


@pytest.mark.parametrize("form", FORMS)
async def test_a_bad_first_value_is_a_status(client: httpx.AsyncClient, form: str) -> None:
    """Before the first answer there is no stream to end."""
    answer = await client.post(TALK, content=b'{"nope":1}', headers={"accept": form, **LINES})
    assert (answer.status_code, *error_of(answer)) == (400, "UNKNOWN_FIELD", ["[0].nope"])


async def test_a_stop_ends_both_ways(flow: Flow) -> None:
    """As it ends streams of answers."""
    async with talking(flow, NDJSON) as talk:
        flow.relay.end_streams()
        await talk.hear()
    assert json.loads(talk.received.splitlines()[-1])["error"]["details"][0]["reason"] == "SHUTTING_DOWN"
    await until(lambda: flow.backend.seen[-1].cancelled)


async def test_an_answer_over_the_limit_is_no_fault_of_the_clients(
    client: httpx.AsyncClient, flow: Flow
) -> None:
    """As of unary calls, though gRPC's core counts here."""

    async def vast(last: Any, context: Any) -> Any:
        return flow.backend.type("vivesphere.flow.v1.Item")(text="x" * (ANSWER_TIMES * LIMITS.max_body_bytes))

    flow.backend.behaviours["Pour"] = vast
    try:
        answer = await client.post(POUR, content=b"{}", headers=LINES)
    finally:
        del flow.backend.behaviours["Pour"]
    assert (answer.status_code, *error_of(answer)) == (500, "MESSAGE_TOO_LARGE", [])


async def test_nothing_holds_a_refused_stream_behind_its_answer(
    client: httpx.AsyncClient, flow: Flow
) -> None:
    """Its connection ends only when nobody knows the request any more: not when the garbage collector happens to come by."""
    async with without_collector():
        assert (await client.post(POUR, content=b"[}", headers={"content-type": JSON})).status_code == 400


async def test_nothing_of_a_talk_waits_for_the_garbage_collector(flow: Flow) -> None:
    """Whether it has ended, the client has left, or the gateway stops."""
    async with without_collector():
        async with talking(flow, NDJSON) as talk:
            talk.end()
            await talk.hear()
        async with talking(flow, NDJSON):
            pass
        async with talking(flow, NDJSON) as talk:
            flow.relay.end_streams()
            await talk.hear()
