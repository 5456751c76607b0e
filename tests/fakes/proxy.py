"""A TCP proxy that can stop forwarding without closing anything: a frozen server, as its client sees it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CHUNK_BYTES = 65536


class Proxy:
    """Forwards to a server on 127.0.0.1. `hears` and `answers` say whether bytes pass to the server and back from it."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.hears = asyncio.Event()
        self.answers = asyncio.Event()
        self.thaw()

    def freeze(self) -> None:
        """Connections are accepted, and nothing passes."""
        self.hears.clear()
        self.answers.clear()

    def thaw(self) -> None:
        """Everything passes, also what was held back."""
        self.hears.set()
        self.answers.set()

    async def serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """One connection, until either side closes."""
        server, on = await asyncio.open_connection("127.0.0.1", self._server_port)
        for source, sink, passing in ((client, on, self.hears), (server, back, self.answers)):
            task = asyncio.create_task(self._pump(source, sink, passing))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, passing: asyncio.Event
    ) -> None:
        try:
            while chunk := await source.read(_CHUNK_BYTES):
                await passing.wait()
                sink.write(chunk)
                await sink.drain()
        except ConnectionError:
            pass  # the other side has gone
        finally:
            sink.close()

    async def stop(self) -> None:
        """Close every connection."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def proxy_to(server_port: int) -> AsyncIterator[Proxy]:
    """A proxy on a free port, gone at the end."""
    proxy = Proxy(server_port)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        await proxy.stop()
