"""The service as a process of its own, and channels to it as services and users have them."""

import asyncio
import signal
from typing import Any

import grpc
import grpc.aio

from cli.embedded import EmbeddedMesh
from cli.registry import PROJECT_ROOT


class Service:
    """Starts and stops `python -m services.configuration`, or another service."""

    def __init__(self, engines: EmbeddedMesh, name: str = "configuration") -> None:
        self._engines = engines
        self._name = name
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Return when its health says SERVING."""
        spec = self._engines.service_spec(self._name)
        log = self._engines.data.logs / f"{self._name}-under-test.log"
        with log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *spec.argv, env=dict(spec.env), cwd=PROJECT_ROOT, stdout=output, stderr=output
            )
        async with asyncio.timeout(20):
            while not await spec.ready():
                if self._process.returncode is not None:
                    raise AssertionError(log.read_text()[-4000:])
                await asyncio.sleep(0.05)

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> float:
        """End it; seconds that took."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return 0.0
        started = asyncio.get_running_loop().time()
        process.send_signal(how)
        async with asyncio.timeout(30):
            await process.wait()
        return asyncio.get_running_loop().time() - started


def channel(engines: EmbeddedMesh, identity: str, service: str = "configuration") -> grpc.aio.Channel:
    """A channel to the service with the certificate of `identity`."""
    files = engines.data.tls_files(identity)
    credentials = grpc.ssl_channel_credentials(
        files.ca_file.read_bytes(), files.key_file.read_bytes(), files.cert_file.read_bytes()
    )
    options: list[tuple[str, Any]] = [
        ("grpc.ssl_target_name_override", service.replace("_", "-")),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 200),
    ]
    return grpc.aio.secure_channel(f"127.0.0.1:{engines.ports[service]}", credentials, options=options)


def as_user(token: str) -> tuple[tuple[str, str], ...]:
    """Metadata of a call that a user makes through the gateway."""
    return (("authorization", f"Bearer {token}"),)
