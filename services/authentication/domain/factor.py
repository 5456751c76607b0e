"""A second factor as stored, and what a code proves.

    none ──enrol──▶ waiting ──confirm──▶ confirmed ──disable──▶ none
                       │ ▲
      10 minutes pass  │ │ enrol again: another secret
                       ▼ │
                      none

The secret is sealed by the vault; the store keeps the newest time step whose code was used, so that none is good twice.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from mesh.secret import Secret
from services.authentication.domain.throttle import ThrottleRule

FORGET_UNCONFIRMED_AFTER: Final = timedelta(minutes=10)
CODE_THROTTLE: Final = ThrottleRule(
    free_attempts=5, first_pause=timedelta(seconds=30), longest_pause=timedelta(hours=1)
)
"""A code is one of a million, and two are good at a time: a few slips are free, then it gets slow fast."""


@dataclass(frozen=True, slots=True)
class FactorRules:
    """The numbers in force."""

    throttle: ThrottleRule = CODE_THROTTLE
    """How wrong codes slow down the next."""
    reauthentication_max_age: timedelta = timedelta(minutes=5)
    """How long a proved password, or a proved second factor, counts as recent."""


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """A TOTP secret of a user, waiting for a first code or confirmed by one."""

    user_id: str
    sealed_secret: str = field(repr=False)
    create_time: datetime
    confirm_time: datetime | None = None

    @property
    def confirmed(self) -> bool:
        """Whether sign-in asks for its codes."""
        return self.confirm_time is not None

    @property
    def forget_time(self) -> datetime:
        """Until when it waits to be confirmed."""
        return self.create_time + FORGET_UNCONFIRMED_AFTER

    def waits(self, now: datetime) -> bool:
        """Whether a first code can still confirm it."""
        return not self.confirmed and now < self.forget_time


@dataclass(frozen=True, slots=True)
class Proof:
    """A code that fits: the time step of a TOTP, or the hash of what may be a recovery code. Good once it is used up."""

    factor: SecondFactor
    lane: bytes = field(repr=False)
    """Where the attempt was counted."""
    step: int | None = None
    code_hash: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A new secret, shown once."""

    secret: Secret
    """Base32."""
    uri: Secret
    forget_time: datetime


def binding(user_id: str) -> bytes:
    """What ties a sealed secret to its user: given when sealing, required when opening."""
    return b"totp:" + user_id.encode("ascii")


def otp_lane(user_id: str, device: bytes | None = None) -> bytes:
    """Key of the lane that counts a user's wrong codes from a known device, or from anywhere else. Lower than those of passwords,
    since it is settled before them.

    Who knows the password and guesses codes cannot delay the owner, who has signed in on a device before. The keys of a user's devices
    begin with the other one, so forgetting that forgets all.
    """
    lane = b"\x00" + hashlib.sha256(b"otp\x00" + user_id.encode("ascii")).digest()
    return lane if device is None else lane + hashlib.sha256(device).digest()[:16]
