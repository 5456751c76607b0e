"""A vault that answers what a test tells it to, over real HTTP on the loopback."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOGIN = "/v1/auth/approle/login"
LOOKUP = "/v1/auth/token/lookup-self"
TOKEN = "s.canary-token"


@dataclass(frozen=True)
class Seen:
    """A request as it came over the wire."""

    method: str
    path: str
    token: str | None
    body: Any


@dataclass
class Reply:
    """An answer. `cut`: close after so many bytes of the body; `drip_seconds`: pause before each byte; `hang`: until this is set."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    drip_seconds: float = 0
    hang: threading.Event | None = None


def login_reply(token: str = TOKEN, life: int = 600) -> Reply:
    """A successful login or renewal."""
    return Reply(body={"auth": {"client_token": token, "lease_duration": life, "renewable": True}})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # The default of 5 drops connections of a burst, and a repeated SYN takes a second.
    request_queue_size = 64


class ScriptedVault:
    """Logs everybody in; `script` answers the rest. `seen` holds every request in order."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.script: Callable[[Seen], Reply] = lambda _: Reply(body={"data": {}})
        self.login: Callable[[], Reply] = login_reply
        vault = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.loads(content) if content else None
                seen = Seen(self.command, self.path, self.headers.get("X-Vault-Token"), body)
                vault.seen.append(seen)
                _send(self, vault.login() if seen.path == LOGIN else vault.script(seen))

            do_GET = do_POST = do_PUT = do_DELETE = do_LIST = _serve  # names of the base class

            def log_message(self, *_: object) -> None:
                """Silent."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def requests(self) -> list[Seen]:
        """What came besides logins."""
        return [seen for seen in self.seen if seen.path != LOGIN]

    def close(self) -> None:
        """Stops answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _send(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    if reply.hang is not None:
        reply.hang.wait(10)
    body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
    try:
        handler.send_response(reply.status)
        for name, value in {"Content-Length": str(len(body)), "Connection": "close", **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if not reply.drip_seconds:
            handler.wfile.write(body[: reply.cut])
            return
        for byte in body:
            handler.wfile.write(bytes([byte]))
            time.sleep(reply.drip_seconds)
    except OSError:
        # The client gave up, which is what some tests are about.
        return
