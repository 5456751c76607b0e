"""What every process of a mesh on one machine prints arrives on the stream of logs, under the supervisor's identity."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest
from nats.js.errors import NotFoundError

from cli.child import ChildSpec
from cli.embedded import SERVICE_STAGE, EmbeddedMesh
from cli.layout import DataDir
from mesh.messaging.client import tls_context
from mesh.telemetry.compression import decompress
from tests.fakes.logs import logging_restored
from vivesphere.logging.v1 import log_batch_pb2, log_record_pb2

PATIENCE_SECONDS = 30
PROGRAM = """
import sys, time
print("said on stdout password=" + "hunter2" * 2)
print("said on stderr", file=sys.stderr)
sys.stdout.flush()
sys.stdout.buffer.write(b"\\xff\\x00 no end")
sys.stdout.flush()
try:
    int("x")
except ValueError:
    sys.excepthook(*sys.exc_info())
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def clean_loguru() -> Iterator[None]:
    with logging_restored():
        yield


async def arrived(mesh: EmbeddedMesh) -> list[log_record_pb2.LogRecord]:
    client = await nats.connect(
        mesh.nats_url,
        tls=tls_context(mesh.data.tls_files("setup")),
        tls_hostname="nats",
        inbox_prefix=b"_INBOX_setup",
    )
    records: list[log_record_pb2.LogRecord] = []
    js = client.jetstream()
    last = (await js.stream_info("LOGS")).state.last_seq
    for number in range(1, last + 1):
        try:
            message = await js.get_msg("LOGS", number)
        except NotFoundError:
            continue
        assert message.subject == "logs.terminal"
        batch = log_batch_pb2.LogBatch.FromString(decompress(message.data or b"", message.headers or {}))
        records += batch.records
    await client.close()
    return records


def talker(data: DataDir) -> ChildSpec:
    return ChildSpec(name="talker", argv=[sys.executable, "-c", PROGRAM], env={}, cwd=data.root)


async def test_engines_and_processes_are_heard(tmp_path: Path) -> None:
    """Also what the engines said before NATS was there, and what nobody folded or redacted."""
    async with EmbeddedMesh(tmp_path / "data", fsync=False, capture=True) as mesh:
        await mesh.supervisor.start(SERVICE_STAGE, talker(mesh.data))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(record.body.startswith("Traceback") for record in await arrived(mesh)):
                await asyncio.sleep(0.2)
        records = await arrived(mesh)
        assert {"postgres", "nats", "openbao", "talker"} <= {record.service for record in records}
        told = {record.body: record for record in records if record.service == "talker"}
        assert told["said on stdout password=[REDACTED]"].attributes["log.iostream"] == "stdout"
        assert told["said on stderr"].attributes["log.iostream"] == "stderr"
        (stack,) = [body for body in told if body.startswith("Traceback")]
        assert stack.endswith("ValueError: invalid literal for int() with base 10: 'x'")
        assert len({record.id for record in records}) == len(records)
        assert "hunter2" not in str(records)
        kept = (mesh.data.logs / "talker.log").read_text(errors="replace")
        assert "said on stdout password=[REDACTED]" in kept
        assert "hunter2" not in kept
    spool = mesh.data.service("supervisor") / "spool"
    # What was printed while everything stopped waits for the next start, the talker's last line among it.
    assert list(spool.glob("*.seg"))
