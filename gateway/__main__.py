"""`python -m gateway`: the mesh's gateway, configured by the environment.

With `--descriptors FILE.binpb --backend HOST:PORT --http-port N` a stand-alone transcoder for any descriptor set: plaintext
to one backend, no gRPC door, no product.

With `--openapi FILE` it writes the OpenAPI document of the mesh's contracts, or of `--descriptors`, and serves nothing.
"""

import argparse
import asyncio
import sys
from pathlib import Path

import pydantic
import uvloop

from gateway.assembly import Plan, mesh_plan, serve, standalone_plan
from gateway.connections import raise_file_limit
from gateway.openapi.published import write_document
from gateway.settings import Limits, read_settings
from gateway.transcoding.router import RouteConflictError
from gateway.transcoding.schema import SchemaError
from gateway.transcoding.template import TemplateError
from mesh.memory import shield
from mesh.telemetry import configure
from mesh.telemetry.last_words import catch_strays


def main() -> int:
    """Run until a signal; 2 when the command line or environment is wrong, 1 when the start fails."""
    arguments = _arguments()
    if arguments.openapi is not None:
        return _write_document(arguments)
    shield()
    raise_file_limit()
    try:
        plan, limits = _plan(arguments), Limits()
    except pydantic.ValidationError as error:
        for one in error.errors(include_input=False, include_url=False):
            print(f"gateway: {'.'.join(map(str, one['loc']))}: {one['msg']}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 2
    configure("gateway", plan.instance)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            catch_strays(runner.get_loop())
            runner.run(serve(plan, limits))
    except (OSError, RuntimeError, SchemaError, TemplateError, RouteConflictError) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gateway", description="HTTP/JSON and gRPC front of a gRPC mesh."
    )
    parser.add_argument("--descriptors", type=Path, help="FileDescriptorSet with imports: stand-alone mode")
    parser.add_argument("--backend", help="HOST:PORT of the one plaintext gRPC server (stand-alone mode)")
    parser.add_argument("--http-host", default="127.0.0.1", help="address to listen on (stand-alone mode)")
    parser.add_argument("--http-port", type=int, default=8080, help="port to listen on (stand-alone mode)")
    parser.add_argument("--openapi", type=Path, metavar="FILE", help="write the OpenAPI document and end")
    return parser.parse_args()


def _write_document(arguments: argparse.Namespace) -> int:
    try:
        write_document(arguments.descriptors, arguments.openapi)
    except (OSError, SchemaError, TemplateError) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    return 0


def _plan(arguments: argparse.Namespace) -> Plan:
    if arguments.descriptors is None and arguments.backend is None:
        return mesh_plan(read_settings())
    if arguments.descriptors is None or arguments.backend is None:
        raise ValueError("--descriptors and --backend go together")
    return standalone_plan(arguments.descriptors, arguments.backend, arguments.http_host, arguments.http_port)


if __name__ == "__main__":
    sys.exit(main())
