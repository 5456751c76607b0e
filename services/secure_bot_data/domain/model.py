"""The words of this service. All immutable; only `Draft` and `OpenedVersion` carry values, as `Secret`, and never print them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from mesh.errors import InvalidArgument
from mesh.ids import is_uuid
from mesh.secret import Secret

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
VERSIONS_KEPT: Final = 10
"""What KV version 2 keeps of a secret unless its mount says otherwise; older versions give way to newer ones."""


class SecretKind(StrEnum):
    """What the fields of a secret mean; their rules are in `kinds`."""

    X_OAUTH1 = "X_OAUTH1"
    X_OAUTH2 = "X_OAUTH2"
    X_APP = "X_APP"
    GENERIC = "GENERIC"


class State(StrEnum):
    """State of one version; `lifecycle` has the transitions."""

    ACTIVE = "ACTIVE"
    DELETED = "DELETED"
    DESTROYED = "DESTROYED"


class JobState(StrEnum):
    """State of a rewrap job; only RUNNING changes."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class AccessKind(StrEnum):
    """Ways to read values."""

    REVEAL = "REVEAL"
    LEASE = "LEASE"


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Which secret; without a name, the bot as a whole. Whatever else it is made of cannot become part of a path or a row.

    Raises InvalidArgument INVALID_FIELD naming `bot_id`, which is a UUID in lower case, or `name`, which is as in the contract.
    """

    bot_id: str
    name: str

    def __post_init__(self) -> None:
        if not is_uuid(self.bot_id):
            raise InvalidArgument("INVALID_FIELD", "bot_id must be a UUID", field="bot_id")
        if self.name and NAME.fullmatch(self.name) is None:
            raise InvalidArgument("INVALID_FIELD", f"name must match ^{NAME.pattern}$", field="name")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: id of the user or SPIFFE ID of the service, its network address, the id of the call."""

    actor: str
    address: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A version to be written."""

    kind: SecretKind
    fields: Mapping[str, Secret] = field(repr=False)
    expire_time: datetime | None = None
    rotate_time: datetime | None = None
    owner: str = ""
    rolled_back_from: int = 0


@dataclass(frozen=True, slots=True)
class Description:
    """What a version says about itself. Lies beside the ciphertext in the vault and is authenticated together with it.

    `write_id` tells this writing from any other that aimed at the same version number. `key_version` is no part of what is authenticated:
    the ciphertext says which version of the key it needs; 0 until there is one.
    """

    kind: SecretKind
    field_names: tuple[str, ...]
    create_time: datetime
    created_by: str
    write_id: str
    expire_time: datetime | None = None
    rotate_time: datetime | None = None
    owner: str = ""
    rolled_back_from: int = 0
    rewrapped_from: int = 0
    key_version: int = 0


@dataclass(frozen=True, slots=True)
class SealedVersion:
    """A version as it goes into the vault: encrypted for exactly this secret and number."""

    version: int
    description: Description
    ciphertext: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class OpenedVersion:
    """A version with its values."""

    version: int
    description: Description
    fields: Mapping[str, Secret] = field(repr=False)


@dataclass(frozen=True, slots=True)
class VersionFact:
    """One version as the vault reports it."""

    version: int
    state: State
    create_time: datetime
    delete_time: datetime | None


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """One version as the catalogue has it. `delete_time`: when it was deleted or destroyed. `key_version` 0: not looked up yet."""

    version: int
    state: State
    create_time: datetime
    delete_time: datetime | None
    created_by: str
    rolled_back_from: int
    rewrapped_from: int = 0
    key_version: int = 0


@dataclass(frozen=True, slots=True)
class SecretMetadata:
    """Everything about a secret but its values. `versions` counts those kept and not destroyed."""

    ref: SecretRef
    kind: SecretKind
    version: int
    versions: int
    state: State
    create_time: datetime
    update_time: datetime
    expire_time: datetime | None
    rotate_time: datetime | None
    owner: str
    field_names: tuple[str, ...]
    updated_by: str
    key_version: int = 0

    @property
    def due_time(self) -> datetime | None:
        """When it should be replaced or ends, whichever comes first."""
        return min((time for time in (self.rotate_time, self.expire_time) if time is not None), default=None)


@dataclass(frozen=True, slots=True)
class Access:
    """One attempt to read values. `version` is 0 and `denied_reason` set where none were given out."""

    id: str
    ref: SecretRef
    kind: AccessKind
    time: datetime
    caller: Caller
    reason: str
    version: int = 0
    denied_reason: str = ""
    lease_id: str | None = None
    lease_end_time: datetime | None = None

    @property
    def allowed(self) -> bool:
        """Whether values were given out."""
        return not self.denied_reason


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to use one version until `expire_time`."""

    id: str
    ref: SecretRef
    version: int
    create_time: datetime
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class SecretKey:
    """The key of all secrets, which itself never leaves the vault. `create_times` by version: those that still decrypt."""

    latest: int
    min_decryption: int
    create_times: Mapping[int, datetime]


@dataclass(frozen=True, slots=True)
class KeyUse:
    """How many versions of secrets that are not destroyed need one version of the key; 0: which one is not known yet."""

    key_version: int
    current_count: int
    earlier_count: int


@dataclass(frozen=True, slots=True)
class RewrapJob:
    """One run over all secrets; `rewrapping` tells how. `last_failure` is the reason of the last secret that failed."""

    id: str
    state: JobState
    target: int
    destroy_earlier: bool
    create_time: datetime
    update_time: datetime
    created_by: str
    end_time: datetime | None = None
    total_count: int = 0
    rewrapped_count: int = 0
    skipped_count: int = 0
    failed_count: int = 0
    last_failure: str = ""
