"""One request over HTTP/2, with the headers of an HTTP/1.1 request and without what that form alone has.

hyper-h2 sends them as they are, also those that it would refuse itself, but for characters that end a whole connection. What HTTP/2 calls
malformed, such as a target that is none, is answered by a reset of the stream (RFC 9113 section 8.1.1), for which `MALFORMED` stands.
"""

import asyncio
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events

from tests.integration.gateway.fuzzing import ANSWER_SECONDS
from tests.integration.gateway.probing import Answer, payload_of

MALFORMED = Answer(400, {}, b"")
_OF_HTTP1 = {"connection", "upgrade", "http2-settings", "host", "transfer-encoding", "content-length", "te"}


async def ask_http2(port: int, request: Any) -> Answer:
    """Send a request on a connection of its own; TimeoutError when it hangs."""
    config = h2.config.H2Configuration(
        client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False
    )
    connection = h2.connection.H2Connection(config)
    payload = payload_of(request.get("body"))
    given = [(name.lower(), value) for name, value in request.get("headers") or ()]
    head = [
        (":method", request["method"]),
        (":scheme", "http"),
        (":authority", "probe.test"),
        (":path", request["path"]),
    ]
    headers = [*head, *(line for line in given if line[0] not in _OF_HTTP1 and _can_be_sent(*line))]
    connection.initiate_connection()
    connection.send_headers(
        1, [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers], end_stream=not payload
    )
    async with asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return await _answer(connection, reader, writer, payload)
        finally:
            writer.close()


def _can_be_sent(name: str, value: str) -> bool:
    return name.isascii() and all(character >= " " and character != "\x7f" for character in value)


def _send_some(connection: h2.connection.H2Connection, payload: bytes) -> bytes:
    """Send what the windows have room for; returns the rest."""
    while payload:
        room = min(connection.local_flow_control_window(1), connection.max_outbound_frame_size)
        if room <= 0:
            break
        connection.send_data(1, payload[:room], end_stream=len(payload) <= room)
        payload = payload[room:]
    return payload


async def _answer(
    connection: h2.connection.H2Connection,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    payload: bytes,
) -> Answer:
    headers: dict[str, str] = {}
    body = b""
    while True:
        payload = _send_some(connection, payload)
        writer.write(connection.data_to_send())
        data = await reader.read(65536)
        assert data, "the connection ended without an answer"
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
                connection.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.StreamReset):
                # an answer that does not wait for the body ends with NO_ERROR (RFC 9113 section 8.1)
                if headers and event.error_code == h2.errors.ErrorCodes.NO_ERROR:
                    return Answer(int(headers[":status"]), headers, body)
                assert event.error_code == h2.errors.ErrorCodes.PROTOCOL_ERROR, event
                return MALFORMED
            elif isinstance(event, h2.events.StreamEnded):
                return Answer(int(headers[":status"]), headers, body)
