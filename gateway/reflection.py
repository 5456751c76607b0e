"""gRPC reflection for the whole mesh, from the descriptor set.

Serves `grpc.reflection.v1alpha` and `grpc.reflection.v1`; the two differ in nothing but the package, so one servicer does
both. The door's own services (health, reflection) and the details of errors are described too.
"""

from __future__ import annotations  # grpc's generic classes are subscriptable for type checkers only

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import any_pb2, descriptor_pb2, duration_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

V1ALPHA = "grpc.reflection.v1alpha"
V1 = "grpc.reflection.v1"
SERVICE = "ServerReflection"
METHOD = "ServerReflectionInfo"
HEALTH = "grpc.health.v1.Health"


def reflection_handler(raw: bytes, services: Iterable[str]) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """Handlers by full method path for a serialised FileDescriptorSet and the names of its services."""
    own = [HEALTH, f"{V1}.{SERVICE}", f"{V1ALPHA}.{SERVICE}"]
    names = sorted({*services, *own})
    servicer = _Servicer(names, pool=_pool(raw))
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {f"/{package}.{SERVICE}/{METHOD}": handler for package in (V1, V1ALPHA)}


class _Servicer(ReflectionServicer):  # type: ignore[misc]  # grpcio-reflection ships no types
    """Finds methods and fields too, which Python's pool does not look up by their full names."""

    def _file_containing_symbol(self, request: Any, fully_qualified_name: str) -> Any:
        found = super()._file_containing_symbol(request, fully_qualified_name)
        parent = fully_qualified_name.rpartition(".")[0]
        if found.HasField("error_response") and parent:
            return super()._file_containing_symbol(request, parent)
        return found


def _pool(raw: bytes) -> DescriptorPool:
    """A pool of all files of the set and the door's own; options of every kind stay in the bytes."""
    files = {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(raw).file}
    for file in _own_files():
        files.setdefault(file.name, file)
    pool = DescriptorPool()
    added: set[str] = set()
    for name in files:
        _add(pool, files, name, added)
    return pool


def _add(
    pool: DescriptorPool, files: dict[str, descriptor_pb2.FileDescriptorProto], name: str, added: set[str]
) -> None:
    """Add a file behind its dependencies; protoc's sets are acyclic and complete."""
    if name in added:
        return
    added.add(name)
    for dependency in files[name].dependency:
        _add(pool, files, dependency, added)
    pool.AddSerializedFile(files[name].SerializeToString())


def _own_files() -> list[descriptor_pb2.FileDescriptorProto]:
    health = descriptor_pb2.FileDescriptorProto.FromString(health_pb2.DESCRIPTOR.serialized_pb)
    alpha = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    stable = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    stable.name, stable.package = "grpc/reflection/v1/reflection.proto", V1
    _rename(stable)
    details = [
        descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        for module in (any_pb2, duration_pb2, status_pb2, error_details_pb2)
    ]
    return [health, alpha, stable, *details]


def _rename(file: descriptor_pb2.FileDescriptorProto) -> None:
    """Make every type reference of the file point into the package v1."""
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(f".{V1ALPHA}.", f".{V1}.")
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(f".{V1ALPHA}.", f".{V1}.")
            method.output_type = method.output_type.replace(f".{V1ALPHA}.", f".{V1}.")
