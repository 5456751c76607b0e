"""One request over HTTP/2, with the headers of an HTTP/1.1 request and without what that form alone has.

hyper-h2 sends them as they are, also those that it would refuse itself. What HTTP/2 calls malformed is answered by a reset of the stream
(RFC 9113 section 8.1.1) or, where a header cannot be read at all, by the end of the connection; `MALFORMED` stands for either.
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
_SAYS_MALFORMED = (h2.errors.ErrorCodes.PROTOCOL_ERROR, h2.errors.ErrorCodes.COMPRESSION_ERROR)
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
    headers = [*head, *(line for line in given if line[0] not in _OF_HTTP1)]
    connection.initiate_connection()
    connection.send_headers(
        1, [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers], end_stream=not payload
    )
    if payload:
        _send_body(connection, payload)
    async with asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(connection.data_to_send())
            return await _answer(connection, reader, writer)
        finally:
            writer.close()


def _send_body(connection: h2.connection.H2Connection, payload: bytes) -> None:
    size = connection.max_outbound_frame_size
    for at in range(0, len(payload), size):
        connection.send_data(1, payload[at : at + size], end_stream=at + size >= len(payload))


async def _answer(
    connection: h2.connection.H2Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Answer:
    headers: dict[str, str] = {}
    body = b""
    while data := await reader.read(65536):
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
                assert event.error_code in _SAYS_MALFORMED, event
                return MALFORMED
            elif isinstance(event, h2.events.ConnectionTerminated):
                assert event.error_code in _SAYS_MALFORMED, event
                return MALFORMED
            elif isinstance(event, h2.events.StreamEnded):
                return Answer(int(headers[":status"]), headers, body)
        writer.write(connection.data_to_send())
    raise AssertionError("the connection ended without an answer")
