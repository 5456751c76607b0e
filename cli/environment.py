"""The environment each process of the mesh is started with, as `docs/configuration` and the compose file have it too.

Secrets are given by the path of a file. What the caller's environment holds is passed on, except what could steer a client
library behind our back (PGOPTIONS, VAULT_TOKEN, …) or to a vault that we did not prepare, what makes a library print or write
what it carries (GRPC_TRACE prints the headers of every call, tokens among them; SSLKEYLOGFILE names a file for the keys of TLS
sessions; debug modes of Python print arguments), and the administrator's first password, which only authentication gets, and only as
a file.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence

from cli.layout import DataDir, TlsFiles
from cli.ports import LOOPBACK
from cli.registry import PROJECT_ROOT, Service
from cli.setup import DATABASE

_NOT_PASSED_ON = re.compile(
    r"PG[A-Z]+|(VAULT|BAO|NATS|VIVESPHERE_VAULT)_.*|VIVESPHERE_.*(PASSWORD|SECRET|TOKEN).*"
    r"|GRPC_(TRACE|VERBOSITY)|SSLKEYLOGFILE|PYTHON(ASYNCIODEBUG|DEVMODE|INSPECT)|LOGURU_.*"
)
SOURCE_ROOTS = (PROJECT_ROOT, PROJECT_ROOT / "generated")


def inherited() -> dict[str, str]:
    """What a process of ours sees of the caller's environment, with our source roots first on PYTHONPATH."""
    passed = {name: value for name, value in os.environ.items() if not _NOT_PASSED_ON.fullmatch(name)}
    roots = [str(root) for root in SOURCE_ROOTS]
    roots += [path for path in passed.get("PYTHONPATH", "").split(os.pathsep) if path and path not in roots]
    return passed | {"PYTHONPATH": os.pathsep.join(roots), "PYTHONUNBUFFERED": "1"}


def python_module(name: str) -> list[str]:
    """The command that runs a module of this project."""
    return [sys.executable, "-m", name]


def targets(ports: Mapping[str, int], services: Sequence[Service]) -> str:
    """Where every service listens, as VIVESPHERE_TARGETS has it."""
    return ",".join(f"{service.name}={LOOPBACK}:{ports[service.name]}" for service in services)


def tls_environment(files: TlsFiles) -> dict[str, str]:
    """Who the process is on the mesh."""
    return {
        "VIVESPHERE_TLS_CERT_FILE": str(files.cert_file),
        "VIVESPHERE_TLS_KEY_FILE": str(files.key_file),
        "VIVESPHERE_TLS_CA_FILE": str(files.ca_file),
    }


def service_environment(
    service: Service, data: DataDir, ports: Mapping[str, int], services: Sequence[Service]
) -> dict[str, str]:
    """The VIVESPHERE_ variables of one service on the embedded engines."""
    environment = tls_environment(data.tls_files(service.name)) | {
        "VIVESPHERE_LISTEN": f"{LOOPBACK}:{ports[service.name]}",
        "VIVESPHERE_TARGETS": targets(ports, services),
        "VIVESPHERE_NATS_URL": f"tls://{LOOPBACK}:{ports['nats']}",
        "VIVESPHERE_DATA_DIR": str(data.service(service.name)),
    }
    if service.database:
        url = f"postgresql+psycopg://{service.name}@{LOOPBACK}:{ports['postgres']}/{DATABASE}"
        environment["VIVESPHERE_DATABASE_URL"] = url
        environment["VIVESPHERE_DATABASE_PASSWORD_FILE"] = str(data.secret(service.name, "database_password"))
    if service.vault:
        environment["VIVESPHERE_VAULT_ADDR"] = f"https://{LOOPBACK}:{ports['openbao']}"
        environment["VIVESPHERE_VAULT_ROLE_ID_FILE"] = str(data.secret(service.name, "vault_role_id"))
        environment["VIVESPHERE_VAULT_SECRET_ID_FILE"] = str(data.secret(service.name, "vault_secret_id"))
    return environment


def gateway_environment(
    data: DataDir,
    ports: Mapping[str, int],
    services: Sequence[Service],
    http: tuple[str, int],
    grpc: tuple[str, int],
) -> dict[str, str]:
    """The VIVESPHERE_ variables of the gateway; `http` and `grpc` are where it listens."""
    return tls_environment(data.tls_files("gateway")) | {
        "VIVESPHERE_HTTP_HOST": http[0],
        "VIVESPHERE_HTTP_PORT": str(http[1]),
        "VIVESPHERE_GRPC_HOST": grpc[0],
        "VIVESPHERE_GRPC_PORT": str(grpc[1]),
        "VIVESPHERE_TARGETS": targets(ports, services),
        "VIVESPHERE_NATS_URL": f"tls://{LOOPBACK}:{ports['nats']}",
        "VIVESPHERE_DATA_DIR": str(data.service("gateway")),
    }
