"""A producer may be killed at any moment after its records were spooled: each arrives once, whoever sends it in the end."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from loguru import logger

from mesh.telemetry.compression import decompress
from mesh.telemetry.shipper import LogShipper
from vivesphere.logging.v1 import log_batch_pb2

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from loguru import logger
from mesh.telemetry import configure
from mesh.telemetry.shipper import LogShipper

spool, arrived, prefix = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

class Bus:
    connected = prefix == "none"
    taken = 0
    async def publish(self, subject, payload, *, message_id, headers=None, timeout=None):
        if self.taken == 3:
            print("killed while sending", flush=True)
            await asyncio.sleep(60)
        self.taken += 1
        (arrived / message_id).write_bytes(payload)

async def main():
    configure("tester", "tester-1", "CRITICAL")
    shipper = LogShipper("tester", "tester-1", Bus(), spool)
    shipper.attach()
    for n in range(0 if prefix == "none" else 1000):
        logger.bind(filler="x" * n).info(f"{prefix} {n}")
        if n % 50 == 49:
            await shipper.flush()
    await shipper.flush()
    print("spooled", flush=True)
    logger.info("never flushed")
    await asyncio.sleep(60)

asyncio.run(main())
"""


def killed(*arguments: str) -> str:
    """What a producer says before it is killed."""
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        process.kill()
    return said


class Bus:
    """Keeps each message id once, also with what arrived before."""

    connected = True

    def __init__(self, arrived: Path) -> None:
        self._arrived = arrived
        self.sent: list[str] = []

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: object = None,
        timeout: timedelta = timedelta(seconds=5),
    ) -> None:
        file = self._arrived / message_id
        assert not file.exists() or file.read_bytes() == payload
        file.write_bytes(payload)
        self.sent.append(message_id)


async def test_everything_spooled_arrives_once_after_two_kills(tmp_path: Path) -> None:
    """First killed while NATS is away, then its successor while it replays; the third finishes the work in order."""
    spool, arrived = tmp_path / "spool", tmp_path / "arrived"
    arrived.mkdir()
    assert killed(str(spool), str(arrived), "event") == "spooled"
    assert not list(arrived.iterdir())
    assert killed(str(spool), str(arrived), "none") == "killed while sending"
    assert len(list(arrived.iterdir())) == 3
    bus = Bus(arrived)
    logger.remove()
    shipper = LogShipper("tester", "tester-1", bus, spool)
    await shipper.flush()
    await shipper.close()
    records = [
        record
        for file in sorted(arrived.iterdir())
        for record in log_batch_pb2.LogBatch.FromString(
            decompress(
                file.read_bytes(),
                {"Content-Encoding": "zstd"} if file.read_bytes().startswith(b"\x28\xb5\x2f\xfd") else {},
            )
        ).records
    ]
    assert bus.sent == sorted(bus.sent)
    assert [record.body for record in records] == [f"event {n}" for n in range(1000)]
    assert len({record.id for record in records}) == 1000
