"""A copy of the command line in a project with two tiny services: they prove who they are, say SERVING and note their start."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from cli.registry import PROJECT_ROOT

REGISTRY = """
authentication = { database = true, vault = true }
logging = { database = true, consumes = ["logs.*"] }
"""

SERVICE = """
import asyncio, json, os, signal
from pathlib import Path
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

def read(name):
    return Path(os.environ["VIVESPHERE_TLS_" + name + "_FILE"]).read_bytes()

async def main():
    note = Path(os.environ["VIVESPHERE_DATA_DIR"]) / "environment.json"
    note.write_text(json.dumps(dict(os.environ)))
    for name in ("VIVESPHERE_ADMIN_ONE_TIME_PASSWORD_FILE", "VIVESPHERE_ADMIN_PASSWORD_FILE"):
        if name in os.environ:
            Path(os.environ["VIVESPHERE_DATA_DIR"], "password").write_text(Path(os.environ[name]).read_text())
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    pair = [(read("KEY"), read("CERT"))]
    credentials = grpc.ssl_server_credentials(pair, read("CA"), require_client_auth=True)
    server.add_secure_port(os.environ["VIVESPHERE_LISTEN"], credentials)
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(0)

asyncio.run(main())
"""

DOOR = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(os.environ["{port}"])), Handler).serve_forever()
"""


class Project:
    """A project directory with the real `cli` and stand-in processes; `data` is its data directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        for folder in ("cli", "deploy", "mesh"):
            shutil.copytree(
                PROJECT_ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__")
            )
        for name in ("authentication", "logging"):
            self._module(f"services/{name}", SERVICE)
        (root / "services" / "registry.toml").write_text(REGISTRY)
        self._module("gateway", DOOR.format(port="VIVESPHERE_HTTP_PORT"))
        self._module("sandbox", DOOR.format(port="VIVESPHERE_SANDBOX_PORT"))

    def _module(self, name: str, code: str) -> None:
        folder = self.root / name
        folder.mkdir(parents=True)
        for package in (folder, folder.parent):
            (package / "__init__.py").touch()  # without it an installed package of the same name would win
        (folder / "__main__.py").write_text(code)

    def command(self, *arguments: str) -> list[str]:
        """The command line of `vivesphere …` in this project."""
        return [sys.executable, "-m", "cli.main", *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        """The environment for it, with any free ports."""
        ports = {f"VIVESPHERE_{name}_PORT": "0" for name in ("HTTP", "GRPC", "SANDBOX")}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("VIVESPHERE_")}
        own = {
            "PYTHONPATH": str(self.root),
            "VIVESPHERE_DATA_DIR": str(self.data),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return clean | own | ports | more

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of this project to its end."""
        return subprocess.run(  # noqa: S603 - our own command line
            self.command(*arguments),
            cwd=self.root,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def up(self, *prefix: str, **more: str) -> subprocess.Popen[str]:
        """Starts `up`, behind another program if given; the caller reads its output and ends it."""
        return subprocess.Popen(  # noqa: S603 - our own command line
            [*prefix, *self.command("up")],
            cwd=self.root,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
