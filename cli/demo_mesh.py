"""A mesh for the length of one demo: its own directory, free ports, an administrator nobody else knows; gone afterwards."""

import asyncio
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli.layout import write_private
from cli.supervisor import Event
from cli.up import Running, UpOptions, run_up


async def with_temporary_mesh(report: Callable[[Event], None], work: Callable[[Running, str], None]) -> None:
    """Start a mesh, run `work(addresses, admin password)` in a thread, stop the mesh. Raises what either raises."""
    with tempfile.TemporaryDirectory(prefix="vivesphere-demo-") as folder:
        password = secrets.token_urlsafe(18)
        file = Path(folder) / "admin_password"
        write_private(file, password)
        os.environ["VIVESPHERE_ADMIN_PASSWORD_FILE"] = str(file)
        ready: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
        options = UpOptions(
            data_dir=Path(folder) / "data", http_port=0, grpc_port=0, sandbox_port=0, fsync=False
        )
        mesh = asyncio.create_task(run_up(options, report, ready.set_result), name="mesh")
        try:
            either: list[asyncio.Future[Any]] = [mesh, ready]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if mesh.done():
                await mesh
                return
            await asyncio.to_thread(work, ready.result(), password)
        finally:
            mesh.cancel()
            await asyncio.wait([mesh])
