"""What a test says of a method where no contract says it, and every servicer of a service without a line of its own."""

import importlib
from typing import Any, Final

from google.protobuf import descriptor_pool

from mesh.contract import MethodPolicy, Who, services_of

PLAIN: Final = MethodPolicy(
    path="/x.Y/Z",
    who=Who.PERMISSION,
    permission="posts.write",
    services=frozenset(),
    bot_field=(),
    audit=False,
    step_up=False,
    high_risk=False,
    session=False,
    one_time_password=False,
    reads=False,
    request_streaming=False,
    response_streaming=False,
    confidential=False,
)
"""A unary method behind a permission, and nothing more."""


def registrations(service: str) -> list[tuple[Any, Any]]:
    """Every generated servicer of a service, unimplemented: what stands around the methods is under test, not they."""
    found = []
    for full_name in services_of(service):
        file = descriptor_pool.Default().FindServiceByName(full_name).file.name
        module = importlib.import_module(file.removesuffix(".proto").replace("/", ".") + "_pb2_grpc")
        name = full_name.rpartition(".")[2]
        found.append((getattr(module, f"add_{name}Servicer_to_server"), getattr(module, f"{name}Servicer")()))
    return found
