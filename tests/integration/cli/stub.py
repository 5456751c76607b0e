"""A server on loopback that answers as the gateway would, from a script."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_HOLD = object()


class Stub:
    """Answers each request with the next answer of its method and path; the last one stays."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.asked: list[tuple[str, dict[str, str], Any, str]] = []
        """(method and path, query, body, authorization)"""
        self.raw_queries: list[str] = []
        self.queries: list[list[tuple[str, str]]] = []
        """Of each request, with parameters that are repeated."""

        class Handler(BaseHTTPRequestHandler):
            def answer(handler) -> None:
                self.serve(handler)

            do_GET = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                return

        self._released = Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def give(self, what: str, answer: Any, status: int = 200) -> None:
        """One more answer to `what`, such as "GET /api/v1/settings": JSON, a text, bytes, or lines of a stream in a tuple.

        `None` as the last line: the connection breaks there.
        """
        self.answers.setdefault(what, []).append((status, answer))

    def hold(self, what: str, lines: tuple[Any, ...]) -> None:
        """One more answer to `what`: lines of a stream that then stays open and silent until `let_go`."""
        self.give(what, (*lines, _HOLD))

    def let_go(self) -> None:
        """End the streams that are held."""
        self._released.set()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        parts = urlsplit(handler.path)
        what = f"{handler.command} {parts.path}"
        size = int(handler.headers.get("content-length") or 0)
        body = json.loads(handler.rfile.read(size)) if size else None
        self.asked.append(
            (what, dict(parse_qsl(parts.query)), body, handler.headers.get("authorization", ""))
        )
        self.raw_queries.append(unquote(parts.query))
        self.queries.append(parse_qsl(parts.query))
        waiting = self.answers.get(what, [(404, {"message": f"{what} is not known"})])
        status, answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        whole = not (isinstance(answer, tuple) and answer[-1] in (None, _HOLD))
        data = _bytes(answer)
        handler.send_response(status)
        handler.send_header("content-length", str(len(data) + (0 if whole else 1)))
        handler.end_headers()
        handler.wfile.write(data)
        if isinstance(answer, tuple) and answer[-1] is _HOLD:
            self._released.wait()


def _bytes(answer: Any) -> bytes:
    match answer:
        case bytes():
            return answer
        case str():
            return answer.encode()
        case tuple():
            return b"".join(
                line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
                for line in answer
                if line not in (None, _HOLD)
            )
        case _:
            return json.dumps(answer).encode()
