"""The OpenAPI 3.1 document of a descriptor set: every binding of every method once, in the contract's order."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.openapi import failures, prose
from gateway.openapi.contract import Contract
from gateway.openapi.illustration import illustrate
from gateway.openapi.operations import Operation, Operations
from gateway.openapi.paths import Paths
from gateway.openapi.references import references
from gateway.openapi.schemas import Schemas
from gateway.openapi.well_known import Json
from gateway.transcoding import template
from gateway.transcoding.schema import Method, Schema

VERSION: Final = "3.1.0"
_NAMED_METHODS: Final = frozenset({"GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"})
OTHER_METHODS: Final = "x-additionalOperations"  # OpenAPI 3.2 has the word without x-
_CLEARS: Final = "vivesphere.mesh.v1.clears_cookies"


@dataclass(frozen=True, slots=True)
class About:
    """What a document says of itself."""

    title: str
    version: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Described:
    """A document and the operations it is made of."""

    json: Json
    operations: tuple[Operation, ...]
    contract: Contract


def describe(schema: Schema, about: About) -> Described:
    """Make the document; raises what the transcoder raises for a contract that cannot be served."""
    contract = Contract(schema)
    served = [method for method in schema.methods.values() if method.bindings]
    details = [schema.details.message(name) for name in failures.DETAILS]
    outputs = [method.output for method in served] + [one for one in details if one is not None]
    schemas = Schemas(contract, [method.input for method in served], outputs, failures.RESERVED)
    operations = Operations(contract, schemas, _sessions(contract, served))
    made = tuple(_operations(served, operations))
    answers = illustrate(made, contract, schemas)
    tags = _tags(contract, made)
    document: Json = {
        "openapi": VERSION,
        "info": _info(about),
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": _paths(made),
        "components": {
            "schemas": dict(sorted((schemas.components | operations.failures.schemas).items())),
            "responses": dict(operations.failures.components),
            "headers": dict(_HEADERS),
            "examples": answers,
        },
    }
    if operations.security.schemes:
        document["components"]["securitySchemes"] = operations.security.schemes
    _prune(document)
    return Described(document, made, contract)


def _prune(document: Json) -> None:
    """Take away shared responses, then headers, that nothing refers to."""
    for kind in ("responses", "headers"):
        used = set(references(document))
        shared = document["components"][kind]
        for name in [name for name in shared if f"#/components/{kind}/{name}" not in used]:
            del shared[name]


def _info(about: About) -> Json:
    text = "\n\n".join(filter(None, [about.description, CONVENTIONS]))
    return {"title": about.title, "version": about.version, "description": text}


def _operations(served: Iterable[Method], operations: Operations) -> Iterable[Operation]:
    paths = Paths()
    used: set[str] = set()
    for method in served:
        for number, binding in enumerate(method.bindings, start=1):
            path, wild = paths.expand(template.parse(binding.template), method.input)
            identifier = _identifier(method, number, used)
            yield operations.make(identifier, tag_of(method.service), method, binding, path, wild)


def _identifier(method: Method, number: int, used: set[str]) -> str:
    """`PostService_CreatePost`; a second binding ends in `_2`; a second service of the name begins with its package."""
    made = f"{tag_of(method.service)}_{method.name}" + (f"_{number}" if number > 1 else "")
    if made in used:
        made = f"{method.service.rpartition('.')[0].replace('.', '_')}_{made}"
    used.add(made)
    return made


def tag_of(service: str) -> str:
    """The tag of a service: its short name."""
    return service.rpartition(".")[2]


def _tags(contract: Contract, operations: Iterable[Operation]) -> list[Json]:
    services = dict.fromkeys(one.method.service for one in operations)
    texts: dict[str, str] = {}
    for service in services:
        texts.setdefault(tag_of(service), prose.paragraphs(contract.comments.of(service)))
    return [{"name": name} | ({"description": text} if text else {}) for name, text in texts.items()]


def _paths(operations: Iterable[Operation]) -> Json:
    made: Json = {}
    for one in operations:
        item = made.setdefault(one.path, {})
        method = one.binding.http_method
        if method in _NAMED_METHODS:
            item[method.lower()] = one.json
        else:
            item.setdefault(OTHER_METHODS, {})[method] = one.json
    return made


def _sessions(contract: Contract, served: Iterable[Method]) -> frozenset[str]:
    """Cookies that some method takes away: those that hold sessions."""
    extension = contract.schema.registry.extension(_CLEARS)
    found: set[str] = set()
    for method in served:
        desc = contract.method(method)
        options = desc.proto.options if desc is not None else None
        if extension is not None and options is not None and extension.type in options:
            found |= set(options[extension.type])
    return frozenset(found)


_HEADERS: Final[Json] = {
    "X-Request-Id": {
        "description": "The id of the call in all logs: the request's own X-Request-Id where it is well formed.",
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "The version of the resource, for If-Match and If-None-Match.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which the call may succeed.",
        "schema": {"type": "integer"},
    },
    "WWW-Authenticate": {"description": "`Bearer` (RFC 6750).", "schema": {"type": "string"}},
}

CONVENTIONS: Final = """\
JSON is ProtoJSON: names in lowerCamelCase (a request may use the contract's snake_case as well), 64-bit integers as strings,
times in RFC 3339, durations as seconds with an `s`, bytes in base64, enums by name. An answer leaves out what is empty.

A request is read strictly: an unknown field or query parameter, one given twice, and one that both path and body give
differently are refused by name.

Failures are `Status`; programs switch on the `reason` of the ErrorInfo among its details. Every answer carries `X-Request-Id`.

PATCH changes the fields that its body holds; `updateMask` says it otherwise. A create may be repeated with the same
`Idempotency-Key`. Lists are read page by page: `nextPageToken` of one answer is the `pageToken` of the next request.

Streams answer `application/x-ndjson` unless Accept asks for `text/event-stream` or `application/json`."""
