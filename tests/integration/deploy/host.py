"""Runs the containers of docker-compose.yml as plain processes: the same commands, environments, health checks and order.

What a container engine would give is stood in for as follows.

    images      programs of the same names in a folder that is the whole PATH: the wheels' engines, OpenBao for Vault
    mounts      a folder a container, in which each mount is a link to the volume (or the part of it) or a copy of the file
    networks    loopback; `name:port` and `0.0.0.0:port` become 127.0.0.1 and a free port, in environments, arguments and files
    DNS         VIVESPHERE_TARGETS, the one variable that is added
    start-up    levels of `depends_on`; a container somebody wants healthy is waited for with its own health check

PostgreSQL's wheel is built without TLS, so its ssl options, and sslmode on the clients' side, are left out. Users, capabilities
and read-only file systems cannot be tried here.
"""

import asyncio
import os
import re
import shlex
import signal
from collections.abc import Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final

from cli.child import ChildSpec, always_ready, run_to_end
from cli.engines import engine_environment
from cli.engines.postgres import default_identity
from cli.environment import SOURCE_ROOTS
from cli.launch import NOBODY
from cli.layout import make_private_directory
from cli.ports import LOOPBACK, free_port
from cli.registry import PROJECT_ROOT, load_registry
from cli.supervisor import Supervisor
from tests.integration.deploy.programs import write_programs

PGDATA: Final = "/var/lib/postgresql/18/docker"  # of the image
HEALTH_SECONDS: Final = 10
RESTART_SECONDS: Final = 20
_TLS_OF_POSTGRES: Final = re.compile(r"\?sslmode=.*")

Container = dict[str, Any]


class Host:
    """Where the containers run; `stop` must be called in the end. Everything lies below `root`."""

    def __init__(
        self, root: Path, compose: dict[str, Any], secrets: dict[str, str], leave_out: Sequence[str] = ()
    ) -> None:
        """`secrets` are the contents of the files that a person makes; `leave_out` are containers that are not started."""
        self.containers: dict[str, Container] = {
            name: container for name, container in compose["services"].items() if name not in leave_out
        }
        self._root = root
        self._ports: dict[tuple[str, int], int] = {}
        self._supervisor = Supervisor(root / "logs")
        self._wanted_healthy = {
            other
            for container in self.containers.values()
            for other, how in container.get("depends_on", {}).items()
            if how["condition"] == "service_healthy"
        }
        write_programs(root / "bin")
        for name, content in secrets.items():
            make_private_directory(root / "secrets")
            (root / "secrets" / name).write_text(content)

    def port(self, container: str, number: int) -> int:
        """The loopback port that stands for a port of a container."""
        while (container, number) not in self._ports:
            port = free_port()
            if port not in self._ports.values():
                self._ports[container, number] = port
        return self._ports[container, number]

    async def up(self) -> None:
        """`docker compose up --wait` without the last wait. Raises ChildFailed."""
        order = TopologicalSorter(
            {name: container.get("depends_on", {}).keys() for name, container in self.containers.items()}
        )
        order.prepare()
        stage = 0
        while order.is_active():
            level, stage = order.get_ready(), stage + 1
            async with asyncio.TaskGroup() as tasks:
                for name in level:
                    tasks.create_task(self._start(stage, name), name=name)
            order.done(*level)

    async def run(self, job: str) -> None:
        """Runs a job to its end. Raises ChildFailed unless it ends well."""
        await run_to_end(self._spec(job), self._root / "logs")

    async def crash(self, name: str) -> None:
        """Ends a container's process and waits until it has been started again, as `restart: unless-stopped` promises."""
        child = next(child for child in self._supervisor.children if child.spec.name == name)
        before = child.pid
        assert before is not None
        os.kill(before, signal.SIGTERM)
        async with asyncio.timeout(RESTART_SECONDS):
            while child.pid in (before, None) or not await self.healthy(name):
                await asyncio.sleep(0.1)

    async def healthy(self, name: str) -> bool:
        """Runs the container's health check once."""
        kind, *arguments = self.containers[name]["healthcheck"]["test"]
        command = ["/bin/sh", "-c", *arguments] if kind == "CMD-SHELL" else self._command(name, arguments)
        process = await asyncio.create_subprocess_exec(
            *command,
            env=self._environment(name),
            cwd=PROJECT_ROOT,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await asyncio.wait_for(process.wait(), HEALTH_SECONDS) == 0

    async def stop(self) -> None:
        """Ends everything."""
        await self._supervisor.stop()

    async def _start(self, stage: int, name: str) -> None:
        self._mount(name)
        if name == "postgres":
            await self._initialise_postgres()
        if self.containers[name]["restart"] == "no":
            await self.run(name)
        else:
            await self._supervisor.start(stage, self._spec(name))

    def _spec(self, name: str) -> ChildSpec:
        container = self.containers[name]

        async def ready() -> bool:
            return await self.healthy(name)

        return ChildSpec(
            name=name,
            argv=self._command(name, [*container.get("entrypoint", []), *container["command"]]),
            env=self._environment(name),
            cwd=PROJECT_ROOT,
            ready=ready if name in self._wanted_healthy else always_ready,
            identity=default_identity() if name == "postgres" else "same",
        )

    # What a container sees

    def _inside(self, name: str, path: str) -> Path:
        return self._root / "containers" / name / path.lstrip("/")

    def _mounts(self, name: str) -> dict[str, Path]:
        """Where a container's mounts lead: target → source."""
        container = self.containers[name]
        sources = {
            f"/run/secrets/{secret}": self._root / "secrets" / secret
            for secret in container.get("secrets", [])
        }
        for mount in container.get("volumes", []):
            if mount["type"] == "volume":
                subpath = mount.get("volume", {}).get("subpath", "")
                sources[mount["target"]] = self._root / "volumes" / mount["source"] / subpath
            elif mount["type"] == "bind":
                sources[mount["target"]] = PROJECT_ROOT / mount["source"]
        return sources

    def _mount(self, name: str) -> None:
        volumes = {mount["target"]: mount for mount in self.containers[name].get("volumes", [])}
        for target, source in self._mounts(name).items():
            inside, mount = self._inside(name, target), volumes.get(target, {"type": "secret"})
            inside.parent.mkdir(parents=True, exist_ok=True)
            if mount["type"] == "bind":
                inside.write_text(self._rewritten(name, source.read_text()))
                continue
            if mount["type"] == "volume" and "subpath" not in mount.get("volume", {}):
                make_private_directory(source)
            if not source.exists():
                raise FileNotFoundError(f"{name}: {target} is mounted from what nobody has made: {source}")
            inside.symlink_to(source)

    def _rewritten(self, name: str, text: str) -> str:
        """`text` with the paths of the container's mounts, and addresses, replaced by those of this machine."""
        for target in sorted(self._mounts(name), key=len, reverse=True):
            text = re.sub(rf"(?<![\w./]){re.escape(target)}(?![\w.-])", str(self._inside(name, target)), text)
        hosts = "|".join(map(re.escape, (*self.containers, LOOPBACK, "0.0.0.0")))  # noqa: S104 - a text to look for

        def loopback(found: re.Match[str]) -> str:
            owner = found[1] if found[1] in self.containers else name
            return f"{LOOPBACK}:{self.port(owner, int(found[2]))}"

        return re.sub(rf"(?<![\w-])({hosts}):(\d+)", loopback, text)

    def _command(self, name: str, arguments: Sequence[str]) -> list[str]:
        program, *rest = (self._rewritten(name, argument) for argument in arguments)
        rest = [
            re.sub(r"^(--port=|)(\d{4})$", lambda found: f"{found[1]}{self.port(name, int(found[2]))}", text)
            for text in rest
        ]
        if program == "postgres":
            rest = [argument for argument in rest if not argument.startswith("--ssl")]
            rest += [
                f"--listen_addresses={LOOPBACK}",
                f"--port={self.port(name, 5432)}",
                "--unix_socket_directories=",
            ]
            rest += ["-D", str(self._inside(name, PGDATA)), "--fsync=off"]
        return [str(self._root / "bin" / program), *rest]

    def _environment(self, name: str) -> dict[str, str]:
        given: dict[str, str] = self.containers[name].get("environment", {})
        own = {variable: self._value(name, variable, given) for variable in given}
        if any(variable.startswith("VIVESPHERE_TLS_") for variable in own):
            services = load_registry()
            addresses = [f"{s.name}={LOOPBACK}:{self.port(s.dashed, 9000)}" for s in services]
            own["VIVESPHERE_TARGETS"] = ",".join(addresses)
        installed = {"PATH": str(self._root / "bin"), "PYTHONPATH": os.pathsep.join(map(str, SOURCE_ROOTS))}
        return engine_environment() | own | installed

    def _value(self, name: str, variable: str, given: dict[str, str]) -> str:
        value = given[variable]
        if variable.endswith("_SSLMODE"):
            return "disable"
        if variable.endswith("_HOST"):
            return LOOPBACK
        if variable.endswith("_PORT"):
            host = given[f"{variable.removesuffix('_PORT')}_HOST"]
            return str(self.port(host if host in self.containers else name, int(value)))
        owner = "nats" if variable == "VIVESPHERE_SETUP_NATS_LISTEN" else name
        address = _TLS_OF_POSTGRES.sub("", value) if variable == "VIVESPHERE_DATABASE_URL" else value
        if owner != name:
            return self._rewritten(owner, address)
        return self._rewritten(name, address)

    async def _initialise_postgres(self) -> None:
        """What the image's entry point does in an empty volume."""
        identity, cluster = default_identity(), self._inside("postgres", PGDATA)
        given = self.containers["postgres"]["environment"]
        cluster.mkdir(parents=True, mode=0o700)
        if identity == "capability":
            os.chown(cluster, NOBODY, NOBODY)
        options = [f"--username={given['POSTGRES_USER']}", f"--pwfile={given['POSTGRES_PASSWORD_FILE']}"]
        options += ["--auth=scram-sha-256", *shlex.split(given["POSTGRES_INITDB_ARGS"]), "--no-sync"]
        initdb = ChildSpec(
            name="initdb",
            argv=[*self._command("postgres", ["initdb", *options]), "-D", str(cluster)],
            env=engine_environment(),
            cwd=PROJECT_ROOT,
            identity=identity,
        )
        await run_to_end(initdb, self._root / "logs")
