"""The one error tree, and what each class means on the wire.

    MeshError
    ├── InvalidArgument      the request is wrong whatever the state; names the fields
    ├── OutOfRange           past a bound that may move (pages, revisions, sizes)
    ├── Unauthenticated      who are you?
    ├── PermissionDenied     known, and not allowed
    ├── NotFound             absent, or not the caller's to know of
    ├── AlreadyExists        somebody has it
    ├── Aborted              lost a race; read again and repeat
    ├── FailedPrecondition   the state forbids it; change the state first
    ├── ResourceExhausted    a limit is used up; come back after `retry_after`
    ├── Unavailable          a part we need is away; retry after `retry_after`
    ├── DeadlineExceeded     no time left
    ├── OutcomeUnknown       the other side may or may not have done it; never retried blindly
    ├── Unimplemented        in the contract, not in this version
    └── Internal             our defect; the text never leaves the process

Pure Python: domain code raises these and knows neither gRPC nor protobuf. `mesh.interceptors.status` writes them as
`google.rpc.Status` (AIP-193) and reads them back, so a caller in another process catches the same class. `reason` is a name of
`vivesphere.mesh.v1.ErrorReason` without its prefix; a test holds every reason used against that enum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One broken rule: `field` is a path in the request such as `post.parts[0].text`, `description` a sentence for a person."""

    field: str
    description: str


class MeshError(Exception):
    """An error that may be told to the caller. `message` must hold no secret; `metadata` keys are lowerCamelCase."""

    code = "UNKNOWN"

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field: str | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: timedelta | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        own = (FieldViolation(field, message),) if field else ()
        self.violations: tuple[FieldViolation, ...] = own + tuple(violations)
        self.retry_after = retry_after
        self.metadata: dict[str, str] = dict(metadata or {})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason!r}, {self.message!r})"


class InvalidArgument(MeshError):
    """The request is wrong whatever the state of the system."""

    code = "INVALID_ARGUMENT"


class OutOfRange(MeshError):
    """Past a bound that may move."""

    code = "OUT_OF_RANGE"


class Unauthenticated(MeshError):
    """No credential, or one that does not hold."""

    code = "UNAUTHENTICATED"


class PermissionDenied(MeshError):
    """A known caller without the right."""

    code = "PERMISSION_DENIED"


class NotFound(MeshError):
    """Absent, or not the caller's to know of (AIP-211)."""

    code = "NOT_FOUND"


class AlreadyExists(MeshError):
    """A unique thing is taken."""

    code = "ALREADY_EXISTS"


class Aborted(MeshError):
    """Lost a race against another writer."""

    code = "ABORTED"


class FailedPrecondition(MeshError):
    """The state has to change first."""

    code = "FAILED_PRECONDITION"


class ResourceExhausted(MeshError):
    """A quota, limit or queue is used up."""

    code = "RESOURCE_EXHAUSTED"


class Unavailable(MeshError):
    """A part that this call needs is away for now."""

    code = "UNAVAILABLE"


class DeadlineExceeded(MeshError):
    """The deadline passed, or too little of it was left to begin."""

    code = "DEADLINE_EXCEEDED"


class OutcomeUnknown(MeshError):
    """The other side may or may not have acted."""

    code = "UNKNOWN"


class Unimplemented(MeshError):
    """In the contract, not in this version."""

    code = "UNIMPLEMENTED"


class Internal(MeshError):
    """A defect of the product; callers get an incident id only."""

    code = "INTERNAL"


BY_CODE: dict[str, type[MeshError]] = {
    cls.code: cls
    for cls in (
        InvalidArgument,
        OutOfRange,
        Unauthenticated,
        PermissionDenied,
        NotFound,
        AlreadyExists,
        Aborted,
        FailedPrecondition,
        ResourceExhausted,
        Unavailable,
        DeadlineExceeded,
        OutcomeUnknown,
        Unimplemented,
        Internal,
    )
}
