"""A service's process, with nothing around it, told to stop."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.environment import inherited, tls_environment
from cli.layout import DataDir
from cli.pki import issue_certificates

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 60
PROGRAM = """
import asyncio
from mesh.process import Process, run

async def assemble(process: Process) -> None:
    process.stack.callback(print, "closed", flush=True)
    print("assembling", flush=True)
    await asyncio.Event().wait()

run("logging", assemble)
"""


@contextmanager
def assembling(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """The process, as soon as it is being assembled."""
    data = DataDir(directory)
    issue_certificates(data, ("logging",))
    environment = tls_environment(data.tls_files("logging")) | {
        "VIVESPHERE_NATS_URL": "tls://127.0.0.1:1",
        "VIVESPHERE_DATABASE_URL": "postgresql+psycopg://logging@127.0.0.1:1/none",
        "VIVESPHERE_DATA_DIR": str(directory / "own"),
    }
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=inherited() | environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert any(line == "assembling\n" for line in process.stdout), "ended early"
            yield process
        finally:
            process.kill()


def test_a_start_that_waits_is_given_up_by_a_signal(tmp_path: Path) -> None:
    """A database that hangs must not make a stop take longer than whoever waits for it allows; what is open is closed in order."""
    with assembling(tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
        assert "closed\n" in told
