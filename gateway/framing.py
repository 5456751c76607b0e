"""The forms that a stream of JSON items has over HTTP, and how each says that the stream broke.

    application/x-ndjson   {"result":…} a line; a failure is a last line {"error":…}. What everybody gets who asks for nothing else.
    text/event-stream      server-sent events (WHATWG HTML section 9.2): `data:` is the item, `id:` where a stream can be resumed;
                           `event: error` with google.rpc.Status, or `event: end`, comes last
    application/json       one array of the items; a failure is a last element {"error":…}, and the array is closed all the same

Whatever the form, no reader can take a stream that broke for one that is complete, and what arrived can be parsed. Errors are
google.rpc.Status. One object a stream: an array has to know whether it is at its beginning.
"""

from typing import Final, Protocol

from gateway.accept import preferred
from gateway.transcoding.errors import Json
from gateway.transcoding.rendering import JSON, NDJSON, dump

EVENTS: Final = b"text/event-stream"
RETRY_MILLISECONDS: Final = 2_000
"""How long an EventSource waits before it connects again; browsers choose 3 to 5 seconds by themselves."""


class Framing(Protocol):
    """How items become bytes; every method gives a whole number of frames."""

    content_type: bytes
    heartbeat: bytes
    """What may be sent at any time between two items and means nothing; empty where the form has no such thing."""

    def begin(self) -> bytes:
        """What comes before everything else."""

    def item(self, text: bytes, resume_id: str) -> bytes:
        """One item; `text` is JSON without line breaks, `resume_id` "" where there is none."""

    def failure(self, status: Json) -> bytes:
        """The end of a stream that broke."""

    def end(self) -> bytes:
        """The end of a complete stream."""


class Lines:
    """NDJSON."""

    content_type = NDJSON
    heartbeat = b""

    def begin(self) -> bytes:
        return b""

    def item(self, text: bytes, resume_id: str) -> bytes:
        return b'{"result":' + text + b"}\n"

    def failure(self, status: Json) -> bytes:
        return b'{"error":' + dump(status) + b"}\n"

    def end(self) -> bytes:
        return b""


class Events:
    """Server-sent events."""

    content_type = EVENTS
    heartbeat = b":\n\n"

    def begin(self) -> bytes:
        return b"retry: %d\n\n" % RETRY_MILLISECONDS

    def item(self, text: bytes, resume_id: str) -> bytes:
        if resume_id:
            return b"id: " + resume_id.encode() + b"\ndata: " + text + b"\n\n"
        return b"data: " + text + b"\n\n"

    def failure(self, status: Json) -> bytes:
        return b"event: error\ndata: " + dump(status) + b"\n\n"

    def end(self) -> bytes:
        return b"event: end\ndata: {}\n\n"


class Array:
    """One JSON array, written as its items come."""

    content_type = JSON
    heartbeat = b"\n"  # white space, which JSON allows between elements

    def __init__(self) -> None:
        self._before = b""

    def begin(self) -> bytes:
        return b"["

    def item(self, text: bytes, resume_id: str) -> bytes:
        before, self._before = self._before, b",\n"
        return before + text

    def failure(self, status: Json) -> bytes:
        return self.item(b'{"error":' + dump(status) + b"}", "") + self.end()

    def end(self) -> bytes:
        return b"]\n"


_FORMS: Final[dict[str, type[Framing]]] = {
    NDJSON.decode(): Lines,
    EVENTS.decode(): Events,
    JSON.decode(): Array,
}
_OFFERED: Final = tuple(_FORMS)


def framing_for(accept: str | None) -> Framing:
    """The form that an Accept header asks for."""
    return _FORMS[preferred(accept, _OFFERED)]()
