"""Reads `services/registry.toml`, the one list of services, and refuses what it does not know.

Everything that differs from service to service outside its own folder (roles, permissions, policies, ports, process list)
is derived from here; adding a service is one line there.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.errors import CliError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
REGISTRY_FILE = PROJECT_ROOT / "services" / "registry.toml"

# First token of a subject -> the JetStream stream that stores it, as `mesh.messaging.streams` says, which takes a second to
# load; a test holds the two together. `hints.*` is core NATS and stored nowhere.
STREAM_OF = {
    "logs": "LOGS",
    "audit": "AUDIT",
    "actions": "ACTIONS",
    "events": "EVENTS",
    "checkpoints": "CHECKPOINTS",
}
EVIDENCE = ("CHECKPOINTS",)
"""Streams that whoever publishes there may read back by number."""

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_SUBJECT = re.compile(r"(logs|audit|actions|events|checkpoints|hints)(\.([a-z0-9_-]+|\*))*(\.>)?")


class RegistryError(CliError):
    """The registry file has a line that cannot be understood; the message names the service and the field."""


@dataclass(frozen=True, slots=True)
class Service:
    """One registered service.

    `name` is its folder, schema, role, NATS user and SPIFFE name; `publishes`, `consumes` and `hears` are NATS
    subjects.
    """

    name: str
    database: bool = False
    vault: bool = False
    publishes: tuple[str, ...] = ()
    consumes: tuple[str, ...] = ()
    hears: tuple[str, ...] = ()

    @property
    def dashed(self) -> str:
        """The name as DNS label and as Vault role and key: `_` becomes `-`."""
        return self.name.replace("_", "-")

    def evidence(self) -> set[str]:
        """Streams kept as evidence that this service publishes to."""
        streams = {STREAM_OF.get(subject.split(".", 1)[0], "") for subject in self.publishes}
        return streams.intersection(EVIDENCE)

    def consumed_by_stream(self) -> dict[str, list[str]]:
        """Stream name -> the subjects this service's durable consumer filters there."""
        streams: dict[str, list[str]] = {}
        for subject in self.consumes:
            streams.setdefault(STREAM_OF[subject.split(".", 1)[0]], []).append(subject)
        return streams


def _subjects(name: str, field: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise RegistryError(f"{name}.{field}: a list of subjects is needed")
    for subject in value:
        if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
            raise RegistryError(f"{name}.{field}: {subject!r} is not a known subject")
        if field == "consumes" and subject.split(".", 1)[0] not in STREAM_OF:
            raise RegistryError(f"{name}.{field}: {subject!r} is stored in no stream")
        if field == "hears" and not subject.startswith("hints."):
            raise RegistryError(
                f"{name}.{field}: {subject!r} is no hint; only hints are heard without a consumer"
            )
    return tuple(value)


def _flag(name: str, field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise RegistryError(f"{name}.{field}: true or false is needed")
    return value


def _service(name: str, fields: object) -> Service:
    if not _NAME.fullmatch(name):
        raise RegistryError(f"{name}: a service name is lower case words joined by underscores")
    if not isinstance(fields, Mapping):
        raise RegistryError(f"{name}: a table is needed, as in `{name} = {{ database = true }}`")
    unknown = fields.keys() - {"database", "vault", "publishes", "consumes", "hears"}
    if unknown:
        raise RegistryError(f"{name}.{min(unknown)}: unknown field")
    return Service(
        name=name,
        database=_flag(name, "database", fields.get("database", False)),
        vault=_flag(name, "vault", fields.get("vault", False)),
        publishes=_subjects(name, "publishes", fields.get("publishes", [])),
        consumes=_subjects(name, "consumes", fields.get("consumes", [])),
        hears=_subjects(name, "hears", fields.get("hears", [])),
    )


def parse_registry(text: str) -> tuple[Service, ...]:
    """Services in the order of the file. Raises RegistryError, naming service and field."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RegistryError(f"services/registry.toml: {error}") from error
    return tuple(_service(name, fields) for name, fields in table.items())


def load_registry(path: Path = REGISTRY_FILE) -> tuple[Service, ...]:
    """Reads the registry of this project. Raises RegistryError, or OSError if the file cannot be read."""
    return parse_registry(path.read_text(encoding="utf-8"))
