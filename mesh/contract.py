"""Reads the law of each method out of its descriptor: who may call, what is audited, what is idempotent.

There is no other list of permissions or routes. `policies_of` is called at start for every service that is about to be served and
raises `ContractError` naming each method that carries no access rule, so such a server does not start.

A service may also serve a contract that is not ours, such as OpenTelemetry's. Its methods cannot carry our options, so a file of the
service's package adopts them (`vivesphere.mesh.v1.adopted`): then they count among its own, under the rule that is given there.
"""

import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from vivesphere.mesh.v1 import access_pb2

ANY_SERVICE = "*"


class ContractError(Exception):
    """The contract cannot be served as it is. This is a bug in a `.proto` file."""


class Who(Enum):
    """Kinds of callers an access rule can name."""

    PUBLIC = "public"
    AUTHENTICATED = "authenticated"
    PERMISSION = "permission"
    SERVICES = "services"


@dataclass(frozen=True, slots=True)
class MethodPolicy:
    """What the contract says of one method. `path` is gRPC's `/package.Service/Method`."""

    path: str
    who: Who
    permission: str
    services: frozenset[str]
    bot_field: tuple[str, ...]
    audit: bool
    step_up: bool
    high_risk: bool
    session: bool
    """An API key is not enough."""
    one_time_password: bool
    """Open to a caller who has yet to change a one-time password."""
    reads: bool
    """The method changes nothing (`NO_SIDE_EFFECTS`)."""
    request_streaming: bool
    response_streaming: bool
    confidential: bool
    """A message of the method has a field that the contract marks as secret (`debug_redact`), or the contract cannot tell."""
    adopted: bool = False
    """The contract is somebody else's: its messages carry no rules, and the service judges what is in them."""

    def bot_id(self, request: Any) -> str:
        """The bot the call is about, or "" if the rule names no field."""
        value = request
        for name in self.bot_field:
            value = getattr(value, name)
        return value if isinstance(value, str) else ""


_adopted: dict[str, access_pb2.AdoptedMethod] = {}
"""By full name of the method, of every service whose contract was read."""


@cache
def services_of(service: str) -> tuple[str, ...]:
    """Full names of the proto services in `vivesphere.<service>.v1` and of those it adopts, sorted. Imports their generated code."""
    package = importlib.import_module(f"vivesphere.{service}.v1")
    found: set[str] = set()
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.endswith("_service_pb2"):
            file: FileDescriptor = importlib.import_module(f"{package.__name__}.{module.name}").DESCRIPTOR
            found.update(descriptor.full_name for descriptor in file.services_by_name.values())
            for adopted in file.GetOptions().Extensions[access_pb2.adopted]:
                _adopted[adopted.method] = adopted
                found.add(adopted.method.rpartition(".")[0])
    return tuple(sorted(found))


def read_policy(method: MethodDescriptor) -> MethodPolicy | None:
    """The policy in the method's options, or None where there is no access rule."""
    options, adopted = method.GetOptions(), _adopted.get(method.full_name)
    if adopted is None and not options.HasExtension(access_pb2.access):
        return None
    rule = options.Extensions[access_pb2.access] if adopted is None else adopted.access
    kind = rule.WhichOneof("caller")
    if kind is None:
        return None
    return MethodPolicy(
        path=f"/{method.containing_service.full_name}/{method.name}",
        who=Who(kind),
        permission=rule.permission,
        services=frozenset(rule.services.names),
        bot_field=tuple(rule.bot_field.split(".")) if rule.bot_field else (),
        audit=rule.audit,
        step_up=rule.step_up,
        high_risk=rule.high_risk,
        session=rule.session,
        one_time_password=rule.one_time_password,
        reads=options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
        request_streaming=method.client_streaming,
        response_streaming=method.server_streaming,
        confidential=adopted is not None
        or _has_secrets(method.input_type, set())
        or _has_secrets(method.output_type, set()),
        adopted=adopted is not None,
    )


def _has_secrets(message: Descriptor, seen: set[str]) -> bool:
    seen.add(message.full_name)
    return any(
        field.GetOptions().debug_redact
        or (
            field.message_type is not None
            and field.message_type.full_name not in seen
            and _has_secrets(field.message_type, seen)
        )
        for field in message.fields
    )


def policies_of(services: Iterable[str]) -> dict[str, MethodPolicy]:
    """Policies by gRPC path of every method of the named services, for example `vivesphere.logging.v1.LogService`.

    Raises ContractError if a method has no access rule, or a rule that cannot hold.
    """
    pool = descriptor_pool.Default()
    policies: dict[str, MethodPolicy] = {}
    faults: list[str] = []
    for name in services:
        for method in pool.FindServiceByName(name).methods:
            policy = read_policy(method)
            fault = "carries no access rule" if policy is None else _fault(policy, method)
            if fault or policy is None:
                faults.append(f"{method.full_name} {fault}")
            else:
                policies[policy.path] = policy
    if faults:
        raise ContractError("this is a bug in the contract: " + "; ".join(faults))
    return policies


def _fault(policy: MethodPolicy, method: MethodDescriptor) -> str:
    if policy.who is Who.PERMISSION and not policy.permission:
        return "names an empty permission"
    if policy.who is Who.SERVICES and not policy.services:
        return "names no service"
    message: Descriptor | None = method.input_type
    for part in policy.bot_field:
        field = message.fields_by_name.get(part) if message is not None else None
        if field is None:
            return f"has a bot_field that its request lacks: {'.'.join(policy.bot_field)}"
        message = field.message_type
    return ""


def rule_of(path: str) -> access_pb2.AccessRule:
    """The access rule of the method at `/package.Service/Method`, as the contract has it."""
    method = _method_at(path)
    adopted = _adopted.get(method.full_name)
    rule: access_pb2.AccessRule = (
        method.GetOptions().Extensions[access_pb2.access] if adopted is None else adopted.access
    )
    return rule


def is_idempotent(path: str) -> bool:
    """Whether the contract lets a client repeat the method at `/package.Service/Method`."""
    method = _method_at(path)
    adopted = _adopted.get(method.full_name)
    if adopted is not None:
        return adopted.idempotent
    return bool(method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN)


def _method_at(path: str) -> MethodDescriptor:
    service, _, name = path.removeprefix("/").partition("/")
    method: MethodDescriptor = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    return method
