"""Everything in force at one revision."""

from dataclasses import dataclass

from services.configuration.domain.changes import Head
from services.configuration.domain.role import Role, RoleBinding
from services.configuration.domain.setting import Setting


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a watcher begins with. `head` names the revision."""

    head: Head
    settings: tuple[Setting, ...]
    roles: tuple[Role, ...]
    bindings: tuple[RoleBinding, ...]
