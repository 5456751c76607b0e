"""A FileDescriptorSet, read once: services, methods and their HTTP rules.

The set must hold every import (`--include_imports`). Message types are dynamic; no generated code is needed. Details of
errors may be of types the set does not hold, so the types of google/rpc/error_details.proto are always resolvable.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from google.protobuf import descriptor_pb2, duration_pb2
from google.rpc import error_details_pb2
from protobuf import DescFile, DescMessage, DescMethod, DescService, Registry
from protobuf.wkt import FileDescriptorSet

from gateway.transcoding.fields import REQUEST_ID, camel_case, find

Kind = Literal["unary", "server_streaming", "client_streaming", "bidi_streaming"]

_HTTP_EXTENSION = "google.api.http"
_ADOPTED_EXTENSION = "vivesphere.mesh.v1.adopted"
_NO_SIDE_EFFECTS = 1  # google.protobuf.MethodOptions.IdempotencyLevel
_IDEMPOTENT = 2


class SchemaError(ValueError):
    """The descriptor set cannot be served; the message names the method and why."""


@dataclass(frozen=True, slots=True)
class HttpBinding:
    """One `google.api.HttpRule` without its additional bindings; "" stands for an absent body."""

    http_method: str
    template: str
    body: str
    response_body: str


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC. `path` is what goes on the wire: /package.Service/Method."""

    path: str
    service: str
    name: str
    kind: Kind
    input: DescMessage
    output: DescMessage
    retryable: bool  # NO_SIDE_EFFECTS, or IDEMPOTENT without the help of a request_id
    bindings: tuple[HttpBinding, ...]
    reads_only: bool = False  # NO_SIDE_EFFECTS


class Schema:
    """All that the gateway knows of what it serves."""

    def __init__(self, raw: bytes) -> None:
        """Read the bytes of a FileDescriptorSet; raises SchemaError when they are none or an import is missing."""
        try:
            self.registry: Registry = FileDescriptorSet.from_binary(raw).to_registry()
        except Exception as error:  # protobuf-py raises several kinds, none of them documented
            raise SchemaError(f"not a complete FileDescriptorSet: {error}") from error
        self.raw = raw
        self.details = Registry(_well_known_details(), self.registry)
        self.methods: dict[str, Method] = {method.path: method for method in self._read()}
        self.services: tuple[str, ...] = tuple(dict.fromkeys(m.service for m in self.methods.values()))
        self.adopted: dict[str, str] = dict(self._read_adopted())
        """Services of contracts that are not ours, and the package of ours that serves them."""

    def _read(self) -> Iterator[Method]:
        extension = self.registry.extension(_HTTP_EXTENSION)
        for desc in self.registry:
            if isinstance(desc, DescService):
                for method in desc.methods:
                    rule = (
                        method.proto.options[extension.type] if extension and method.proto.options else None
                    )
                    yield _method(method, rule if extension and _has(method, extension) else None)

    def _read_adopted(self) -> Iterator[tuple[str, str]]:
        extension = self.registry.extension(_ADOPTED_EXTENSION)
        for desc in self.registry:
            if not isinstance(desc, DescFile) or extension is None:
                continue
            options = desc.proto.options
            if options is not None and extension.type in options:
                for adopted in options[extension.type]:
                    yield adopted.method.rpartition(".")[0], desc.proto.package


def _has(method: DescMethod, extension: Any) -> bool:
    return method.proto.options is not None and extension.type in method.proto.options


def _method(desc: DescMethod, rule: Any) -> Method:
    path = f"/{desc.parent.type_name}/{desc.name}"
    return Method(
        path=path,
        service=desc.parent.type_name,
        name=desc.name,
        kind=desc.method_kind,
        input=desc.input,
        output=desc.output,
        retryable=_retryable(desc),
        reads_only=int(desc.idempotency) == _NO_SIDE_EFFECTS,
        bindings=tuple(_bindings(path, rule)) if rule is not None else (),
    )


def _retryable(desc: DescMethod) -> bool:
    """True when a lost answer may be answered by calling again.

    A method that is idempotent by its request_id is so only for a caller who sends one, so it is left to that caller.
    """
    level = int(desc.idempotency)
    by_key = find(desc.input, REQUEST_ID) is not None
    return level == _NO_SIDE_EFFECTS or (level == _IDEMPOTENT and not by_key)


def _bindings(path: str, rule: Any) -> Iterator[HttpBinding]:
    yield _binding(path, rule)
    for additional in rule.additional_bindings:
        if additional.additional_bindings:
            raise SchemaError(f"{path}: additional_bindings do not nest")
        yield _binding(path, additional)


def _binding(path: str, rule: Any) -> HttpBinding:
    pattern = rule.pattern
    if pattern is None:
        raise SchemaError(f"{path}: google.api.http names no HTTP method")
    if pattern.field == "custom":
        kind, template = pattern.value.kind, pattern.value.path
    else:
        kind, template = pattern.field.upper(), pattern.value
    return HttpBinding(kind, template, rule.body, rule.response_body)


def _well_known_details() -> Registry:
    """The types of google/rpc/error_details.proto, whether or not the set holds them."""
    files = descriptor_pb2.FileDescriptorSet()
    for module in (duration_pb2, error_details_pb2):
        file = files.file.add()
        file.ParseFromString(module.DESCRIPTOR.serialized_pb)
        _name_for_json(file.message_type)
    return FileDescriptorSet.from_binary(files.SerializeToString()).to_registry()


def _name_for_json(messages: Iterable[descriptor_pb2.DescriptorProto]) -> None:
    """Fill in the JSON names, which protoc writes into descriptor sets but leaves out of generated code."""
    for message in messages:
        for field in message.field:
            field.json_name = field.json_name or camel_case(field.name)
        _name_for_json(message.nested_type)
