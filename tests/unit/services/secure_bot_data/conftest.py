"""The rules on memory, under a clock that tests turn."""

from dataclasses import dataclass, field

import pytest

from mesh.ids import new_id
from mesh.secret import Secret
from services.secure_bot_data.domain.changing import VersionChanger
from services.secure_bot_data.domain.model import Caller, Draft, SecretKind, SecretRef
from services.secure_bot_data.domain.reading import SecretReader
from services.secure_bot_data.domain.rotating import SecretRotator
from services.secure_bot_data.domain.settling import Settler
from services.secure_bot_data.domain.writing import SecretWriter
from tests.fakes.clock import ManualClock
from tests.unit.services.secure_bot_data.fakes import (
    MemoryCatalogue,
    MemoryRotations,
    MemoryTrail,
    MemoryVault,
)

REF = SecretRef("0190c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5b", "token")
CALLER = Caller("spiffe://vivesphere/bot_manager", "127.0.0.1", "request-1")
VALUE = "do-not-show-this"


def draft(value: str = VALUE) -> Draft:
    return Draft(SecretKind.GENERIC, {"value": Secret(value)})


@dataclass
class Rules:
    """Use cases and what they stand on."""

    clock: ManualClock = field(default_factory=ManualClock)
    max_leases: int = 2

    def __post_init__(self) -> None:
        self.vault = MemoryVault(self.clock)
        self.catalogue = MemoryCatalogue()
        self.trail = MemoryTrail(self.clock)
        self.settler = Settler(self.vault, self.catalogue, self.clock)
        self.writer = SecretWriter(self.vault, self.catalogue, self.settler, self.clock, new_id)
        self.changer = VersionChanger(self.vault, self.catalogue, self.settler, self.clock, new_id)
        self.reader = SecretReader(self.vault, self.trail, self.clock, new_id, lambda: self.max_leases)
        self.rotations = MemoryRotations(self.catalogue, self.clock)
        self.rotator = SecretRotator(self.rotations, self.settler, new_id)


@pytest.fixture
def rules() -> Rules:
    return Rules()
