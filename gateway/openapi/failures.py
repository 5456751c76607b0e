"""What a method answers when it fails: google.rpc.Status, by HTTP status.

Which failures there are, the contract says: the access rule (401, 403), the path (404), and the comment, which names codes and
reasons (`Errors: NOT_FOUND (BOT_NOT_FOUND)`). A reason's own comment begins with its code. Anything else that may happen is the
`default` response, so the list need not be complete to be right.
"""

import re
from typing import Any, Final

from google.rpc import code_pb2
from protobuf import DescMessage

from gateway.openapi import prose
from gateway.openapi.contract import Access, Contract
from gateway.openapi.schemas import PREFIX, Schemas
from gateway.openapi.well_known import Json
from gateway.transcoding.errors import HTTP_STATUS, TYPE_PREFIX, invalid

JSON: Final = "application/json"
STATUS: Final = "Status"
REASON: Final = "ErrorReason"
OTHER: Final = "OtherDetail"
RESERVED: Final = frozenset({STATUS, REASON, OTHER})
DETAILS: Final = tuple(
    f"google.rpc.{name}"
    for name in (
        "ErrorInfo", "BadRequest", "RetryInfo", "QuotaFailure", "PreconditionFailure", "ResourceInfo",
        "RequestInfo", "Help", "LocalizedMessage", "DebugInfo",
    )
)  # fmt: skip
_REASON_PREFIX: Final = "ERROR_REASON_"
_CODE_OF_REASON: Final = re.compile(r"([A-Z_]+)\.")
_WITH_RETRY_AFTER: Final = (429, 503)

_MEANINGS: Final = {
    400: ("BadRequest", "The request breaks the contract; BadRequest names each field and says why."),
    401: ("Unauthorized", "The credential is missing, or no longer good."),
    403: ("Forbidden", "The caller may not do this."),
    404: ("NotFound", "There is no such thing, or the caller may not know of it."),
    409: ("Conflict", "It is there already, or somebody else was faster."),
    412: ("PreconditionFailed", "The resource is not the one that If-Match named."),
    413: ("ContentTooLarge", "The body is over the limit."),
    415: ("UnsupportedMediaType", "The body is not of a media type that the method takes."),
    429: ("TooManyRequests", "Too many requests; Retry-After says when to come back."),
    500: ("InternalServerError", "A defect. The message holds an incident id and nothing else."),
    501: ("NotImplemented", "Not served by this version."),
    503: (
        "ServiceUnavailable",
        "Something the method needs does not answer for now; the call may be repeated.",
    ),
    504: ("GatewayTimeout", "The deadline passed."),
}


class Failures:
    """Makes the responses of failures; `components` are those that methods share."""

    def __init__(self, contract: Contract, schemas: Schemas) -> None:
        self._contract = contract
        self._reasons = self._read_reasons()
        self.schemas = self._make_schemas(schemas)
        self.components = {name: _response(status, text) for status, (name, text) in _MEANINGS.items()}
        self.components["BadRequest"]["content"][JSON]["example"] = _EXAMPLE.to_json()
        self.components["NotModified"] = {
            "description": "What If-None-Match names is current.",
            "headers": _etag(),
        }
        self.components["Error"] = _response(0, "Any other failure.")

    def responses(self, comment: str, access: Access, statuses: set[int]) -> Json:
        """Response Objects by status: those asked for, those the access rule brings, and those the comment names."""
        named: dict[int, list[str]] = {status: [] for status in statuses | {429, 503, 504}}
        if access.signed_in:
            named |= {401: [], 403: []}
        for word in [*prose.capitals(comment), *_by_access(access)]:
            status = self._status_of(word)
            if status is not None:
                reasons = named.setdefault(status, [])
                reasons += [word] if word in self._reasons and word not in reasons else []
        made = {str(status): self._reference(status, named[status]) for status in sorted(named)}
        return made | {"default": {"$ref": "#/components/responses/Error"}}

    def _status_of(self, word: str) -> int | None:
        code = self._reasons.get(word, ("", ""))[0] or word
        number = code_pb2.Code.Value(code) if code in code_pb2.Code.keys() else None  # noqa: SIM118 - not a dict
        status = HTTP_STATUS.get(number) if number else None
        return status if status in _MEANINGS else None

    def _reference(self, status: int, reasons: list[str]) -> Json:
        name, meaning = _MEANINGS[status]
        made = {"$ref": f"#/components/responses/{name}"}
        if reasons:
            lines = [f"- `{reason}`: {self._reasons[reason][1]}" for reason in reasons]
            made["description"] = meaning + "\n\n" + "\n".join(lines)
        return made

    def _read_reasons(self) -> dict[str, tuple[str, str]]:
        """Code and meaning of each reason."""
        enum = self._contract.reasons
        found = {}
        for value in enum.values if enum is not None else ():
            text = " ".join(self._contract.comments.of(f"{enum.type_name}.{value.name}").split())  # type: ignore[union-attr]  # values come from it
            match = _CODE_OF_REASON.match(text)
            if value.number:
                code = match[1] if match else ""
                found[value.name.removeprefix(_REASON_PREFIX)] = (
                    code,
                    text[match.end() :].strip() if match else text,
                )
        return found

    def _make_schemas(self, schemas: Schemas) -> dict[str, Json]:
        made: dict[str, Json] = {}
        for name in DETAILS:
            desc: DescMessage | None = self._contract.schema.details.message(name)
            if desc is not None:
                made[schemas.name(desc)] = _detail(schemas.object(desc, request=False), name)
                if desc.name == "ErrorInfo" and self._reasons:
                    made[schemas.name(desc)]["properties"]["reason"] = {"$ref": PREFIX + REASON}
        known = [{"$ref": PREFIX + name} for name in made]
        if self._reasons:
            made[REASON] = self._reason_schema()
        made[OTHER] = _detail({"type": "object", "description": _OTHER, "additionalProperties": True}, "")
        made[STATUS] = _status([*known, {"$ref": PREFIX + OTHER}])
        return made

    def _reason_schema(self) -> Json:
        lines = [f"- `{name}`: {code}. {text}" for name, (code, text) in self._reasons.items()]
        return {
            "description": "Why a call failed, for programs; newer servers may know more.\n\n"
            + "\n".join(lines),
            "anyOf": [{"type": "string", "enum": list(self._reasons)}, {"type": "string"}],
        }


_EXAMPLE: Final = invalid("display_name", "expected a string")
_OTHER: Final = "A detail of a type that this document does not know; `value` is base64 where the gateway does not know it either."


def _by_access(access: Access) -> list[str]:
    """Reasons that follow from an access rule; those that a contract does not have are passed over."""
    if not access.signed_in:
        return []
    found = ["CREDENTIAL_MISSING", "TOKEN_INVALID"]
    found += ["PERMISSION_MISSING"] if access.permission else []
    found += [] if access.one_time_password else ["PASSWORD_CHANGE_REQUIRED"]
    found += ["STEP_UP_REQUIRED"] if access.step_up else []
    found += ["SESSION_REQUIRED"] if access.session else []
    return found + (["REVOCATIONS_STALE"] if access.high_risk else [])


def _response(status: int, text: str) -> Json:
    headers = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    for name, wanted in (("Retry-After", status in _WITH_RETRY_AFTER), ("WWW-Authenticate", status == 401)):
        if wanted:
            headers[name] = {"$ref": f"#/components/headers/{name}"}
    schema = {"$ref": PREFIX + STATUS}
    return {"description": text, "headers": headers, "content": {JSON: {"schema": schema}}}


def _etag() -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", "ETag")}


def _detail(schema: Json, type_name: str) -> Json:
    kind: dict[str, Any] = {"type": "string"}
    if type_name:
        kind["const"] = TYPE_PREFIX + type_name
    return schema | {"properties": {"@type": kind, **schema.get("properties", {})}, "required": ["@type"]}


def _status(details: list[Json]) -> Json:
    return {
        "type": "object",
        "description": "A failure (google.rpc.Status). Programs switch on `reason` in the ErrorInfo among its details.",
        "properties": {
            "code": {
                "type": "integer",
                "format": "int32",
                "description": "A google.rpc.Code, for example 5, NOT_FOUND.",
            },
            "message": {"type": "string", "description": "What happened, in English, for developers."},
            "details": {"type": "array", "items": {"anyOf": details}},
        },
    }
