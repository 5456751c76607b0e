"""One endpoint of the transcoder → one Operation Object."""

from dataclasses import dataclass
from typing import Final

from protobuf import DescMessage, ScalarType

from gateway.openapi import prose
from gateway.openapi.answers import ETAG, Answers, resource_etag
from gateway.openapi.bodies import Bodies, Body, body_of
from gateway.openapi.contract import Access, Contract
from gateway.openapi.failures import Failures
from gateway.openapi.parameters import Parameters, header
from gateway.openapi.paths import PathParameter
from gateway.openapi.schemas import Schemas
from gateway.openapi.security import Security
from gateway.openapi.well_known import Json
from gateway.transcoding import fields
from gateway.transcoding.schema import HttpBinding, Method

_IDEMPOTENCY: Final = {0: "none", 1: "no side effects", 2: "idempotent"}
_CHANGES: Final = frozenset({"PATCH", "PUT", "DELETE"})
_EVENT_STREAM: Final = "vivesphere.mesh.v1.event_stream"


@dataclass(frozen=True, slots=True)
class Operation:
    """An Operation Object and what others ask of it. `body` is None where the request has none."""

    id: str
    path: str
    method: Method
    binding: HttpBinding
    parameters: list[PathParameter]
    body: Body | None
    access: Access
    json: Json


class Operations:
    """Makes operations; shared parts gather in `schemas`, `failures` and `security`."""

    def __init__(self, contract: Contract, schemas: Schemas, sessions: frozenset[str]) -> None:
        self._contract = contract
        self._sessions = sessions
        self._schemas = schemas
        self._parameters = Parameters(contract, schemas)
        self._bodies = Bodies(contract, schemas, self._parameters)
        self._answers = Answers(contract, schemas)
        self.failures = Failures(contract, schemas)
        self.security = Security(contract)
        self._event_stream = contract.schema.registry.extension(_EVENT_STREAM)

    def make(
        self,
        identifier: str,
        tag: str,
        method: Method,
        binding: HttpBinding,
        path: str,
        wild: list[PathParameter],
    ) -> Operation:
        """The operation of one binding of a method."""
        contract = self._contract
        body, access, comment = body_of(method, binding), contract.access(method), contract.comment(method)
        made: Json = {"operationId": identifier, "tags": [tag]}
        if comment:
            made["summary"] = prose.summary(comment)
        if text := prose.rest(comment):
            made["description"] = text
        parameters = self._request_parameters(method, binding, body, wild)
        if parameters:
            made["parameters"] = parameters
        bound = frozenset(one.field_path for one in wild if one.field_path)
        if body is not None:
            made["requestBody"] = self._bodies.request_body(method, binding, body, bound)
        statuses = self._statuses(method, binding, body, parameters)
        failed = self.failures.responses(comment, access, statuses)
        made["responses"] = {"200": self._answers.response(method, binding)} | failed
        if any(one["name"] == "If-None-Match" for one in parameters):
            made["responses"]["304"] = {"$ref": "#/components/responses/NotModified"}
        if contract.has_access_rules:
            made["security"] = self.security.requirement(access, method.input, self._sessions)
        made |= self._extensions(method, access)
        return Operation(identifier, path, method, binding, wild, body, access, made)

    def _request_parameters(
        self, method: Method, binding: HttpBinding, body: Body | None, wild: list[PathParameter]
    ) -> list[Json]:
        found = [self._parameters.path(one) for one in wild]
        if body is None or body.field is not None:
            taken = {one.field_path for one in wild} | (
                {(body.field.name,)} if body and body.field else set()
            )
            found += self._parameters.query(method.input, taken, partial=binding.http_method == "PATCH")
        request_id = fields.find(method.input, fields.REQUEST_ID)
        repeats = not method.reads_only  # elsewhere request_id is what is looked for
        if repeats and request_id is not None and fields.element_of(request_id) is ScalarType.STRING:
            schema = self._schemas.value(request_id, request=True)
            found.append(header("Idempotency-Key", _KEY, schema))
        if binding.http_method in _CHANGES and has_etag(method.input, body):
            found.append(header("If-Match", _IF_MATCH, {"type": "string"}))
        if binding.http_method == "GET" and method.kind == "unary" and resource_etag(method, binding):
            found.append(header("If-None-Match", _IF_NONE_MATCH, {"type": "string"}))
        if self._resumes(method):
            found.append(header("Last-Event-ID", _LAST_EVENT, {"type": "string"}))
        return found

    def _level(self, method: Method) -> int:
        """Its google.protobuf.MethodOptions.IdempotencyLevel."""
        desc = self._contract.method(method)
        return int(desc.idempotency) if desc is not None else 0

    def _resumes(self, method: Method) -> bool:
        desc = self._contract.method(method)
        options = desc.proto.options if desc is not None else None
        return options is not None and self._event_stream is not None and self._event_stream.type in options

    def _statuses(
        self, method: Method, binding: HttpBinding, body: Body | None, parameters: list[Json]
    ) -> set[int]:
        found = {400} if parameters or body else set()
        found |= {404} if any(one["in"] == "path" for one in parameters) else set()
        if body is not None:
            found |= {413} if body.is_file else {413, 415}
        return found | ({412} if any(one["name"] == "If-Match" for one in parameters) else set())

    def _extensions(self, method: Method, access: Access) -> Json:
        desc = self._contract.method(method)
        made: Json = {"x-grpc-method": method.path.removeprefix("/")}
        made["x-idempotency"] = _IDEMPOTENCY.get(self._level(method), "none")
        if access.permission:
            made["x-permission"] = access.permission
        flags = {
            "x-bot-field": access.bot_field,
            "x-audited": access.audit,
            "x-second-factor": access.step_up,
            "x-session": access.session,
        }
        made |= {name: value for name, value in flags.items() if value}
        return made | ({"deprecated": True} if desc is not None and desc.deprecated else {})


def has_etag(desc: DescMessage, body: Body | None) -> bool:
    """Whether a request has a place for the version that it is meant for: `etag`, its own or that of the resource in its body."""
    if fields.find(desc, ETAG) is not None:
        return True
    below = fields.submessage(body.field) if body is not None and body.field is not None else None
    return below is not None and fields.find(below, ETAG) is not None


_KEY: Final = "Makes a repeat safe: fills `requestId`. The same key with the same request answers the first result again."
_IF_MATCH: Final = (
    "The ETag that was read: fills `etag`, so that the call is refused (412) if somebody else was faster."
)
_IF_NONE_MATCH: Final = "The ETag that is held: answered by 304 without a body while it is current."
_LAST_EVENT: Final = "For text/event-stream: the `id` of the last event that was seen, to go on behind it."
