"""Whether the process of this container does its job: the health check of docker-compose.yml.

    python deploy/compose/probe.py grpc                 its own mesh port says SERVING over mutual TLS
    python deploy/compose/probe.py http 8080 /healthz   GET answers 200, over TLS where the gateway has it

Exit code 0 for yes, 1 for no. Certificate and port are those of the process, read from the same environment; every mesh
certificate is good for `localhost`, so a process may ask itself.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.layout import TlsFiles
from cli.ports import LOOPBACK
from cli.probes import gateway_has_tls, grpc_serves, http_ok


async def healthy(arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Asks once. Raises KeyError for a variable that is missing, ValueError for arguments that are none of the above."""
    match arguments:
        case ["grpc"]:
            tls = TlsFiles(*(Path(environ[f"VIVESPHERE_TLS_{name}_FILE"]) for name in ("CERT", "KEY", "CA")))
            port = environ["VIVESPHERE_LISTEN"].rpartition(":")[2]
            return await grpc_serves(f"{LOOPBACK}:{port}", "localhost", tls)
        case ["http", port, path]:
            return await http_ok(LOOPBACK, int(port), path, tls=gateway_has_tls(environ))
    raise ValueError(f"grpc, or http PORT PATH, not {arguments!r}")


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(healthy(sys.argv[1:], os.environ)) else 1)
