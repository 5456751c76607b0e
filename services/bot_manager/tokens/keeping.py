"""secure_bot_data, as far as refreshing goes: claims, the pair that is claimed, its successor."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.channels import invoke
from mesh.clock import Clock
from mesh.errors import FailedPrecondition
from mesh.secret import Secret
from services.bot_manager.tokens.port import REFRESH_TOKEN
from vivesphere.secure_bot_data.v1 import bot_secret_pb2
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2

SECRET_NAME: Final = "x_oauth2"  # noqa: S105 - the name under which it is kept, not a secret
CALL_TIMEOUT: Final = timedelta(seconds=5)
LEASE_TERM: Final = timedelta(minutes=1)
REASON: Final = "refresh the access token"


@dataclass(frozen=True, slots=True)
class RotationClaim:
    """The right to exchange the refresh token of `version` until `end` (monotonic seconds, counted from before it was asked for).

    `interrupted`: an earlier claimant never said how it ended.
    """

    id: str
    version: int
    interrupted: bool
    end: float


@dataclass(frozen=True, slots=True)
class StoredPair:
    """A version of the secret with its values."""

    version: int
    fields: Mapping[str, Secret] = field(repr=False)

    @property
    def refresh_token(self) -> Secret:
        """The one that may be exchanged once."""
        return self.fields[REFRESH_TOKEN]

    def has(self, name: str, value: Secret) -> bool:
        """Whether a field has this value; it takes the same time wherever the two differ."""
        return self.fields.get(name) == value


class PairKeeper(Protocol):
    """Where pairs are kept. Every method raises what secure_bot_data or the way to it raises."""

    async def claim(self, bot_id: str) -> RotationClaim:
        """Raises Aborted (ROTATION_CLAIMED, with `retry_after`) while somebody else's claim is in force."""
        ...

    async def pair(self, bot_id: str, version: int = 0) -> StoredPair:
        """A version with its values, 0: the current one. Raises FailedPrecondition (CREDENTIALS_MISSING) if it cannot be refreshed."""
        ...

    async def store(
        self,
        bot_id: str,
        fields: Mapping[str, Secret],
        claim: RotationClaim,
        expected: int,
        rotate_time: datetime | None,
    ) -> int:
        """Store the successor over version `expected`; its version. Raises Aborted (VERSION_MISMATCH)."""
        ...

    async def release(self, bot_id: str, claim: RotationClaim, *, settled: bool) -> None:
        """Give the claim back. `settled`: X was certainly not asked, or certainly refused."""
        ...


class MeshPairKeeper:
    """Implements PairKeeper. `secrets` is a stub of BotSecretService, `ttl` how long a claim lasts: 5 seconds to 5 minutes."""

    def __init__(self, secrets: Any, clock: Clock, ttl: timedelta = timedelta(minutes=1)) -> None:
        self._secrets = secrets
        self._clock = clock
        self._ttl = _duration(ttl)

    async def claim(self, bot_id: str) -> RotationClaim:
        """See the port."""
        request = pb2.ClaimSecretRotationRequest(
            bot_id=bot_id, name=SECRET_NAME, ttl=self._ttl, reason=REASON
        )
        asked = self._clock.monotonic()
        answer: pb2.ClaimSecretRotationResponse = await invoke(
            self._secrets.ClaimSecretRotation, request, timeout=CALL_TIMEOUT
        )
        end = asked + answer.ttl.ToTimedelta().total_seconds()
        return RotationClaim(answer.rotation_id, answer.version, answer.interrupted, end)

    async def pair(self, bot_id: str, version: int = 0) -> StoredPair:
        """See the port."""
        request = pb2.LeaseBotSecretRequest(
            bot_id=bot_id, name=SECRET_NAME, version=version, ttl=_duration(LEASE_TERM), reason=REASON
        )
        answer: pb2.LeaseBotSecretResponse = await invoke(
            self._secrets.LeaseBotSecret, request, timeout=CALL_TIMEOUT
        )
        if answer.kind != bot_secret_pb2.SECRET_KIND_X_OAUTH2 or REFRESH_TOKEN not in answer.fields:
            raise FailedPrecondition("CREDENTIALS_MISSING", "the stored secret has no refresh token")
        return StoredPair(answer.version, {name: Secret(value) for name, value in answer.fields.items()})

    async def store(
        self,
        bot_id: str,
        fields: Mapping[str, Secret],
        claim: RotationClaim,
        expected: int,
        rotate_time: datetime | None,
    ) -> int:
        """See the port."""
        request = pb2.StoreBotSecretRequest(
            bot_id=bot_id,
            name=SECRET_NAME,
            kind=bot_secret_pb2.SECRET_KIND_X_OAUTH2,
            fields={name: value.reveal() for name, value in fields.items()},
            expected_version=expected,
            rotate_time=_timestamp(rotate_time),
            rotation_id=claim.id,
        )
        answer: pb2.StoreBotSecretResponse = await invoke(
            self._secrets.StoreBotSecret, request, timeout=CALL_TIMEOUT
        )
        return answer.metadata.version

    async def release(self, bot_id: str, claim: RotationClaim, *, settled: bool) -> None:
        """See the port."""
        request = pb2.ReleaseSecretRotationRequest(
            bot_id=bot_id, name=SECRET_NAME, rotation_id=claim.id, settled=settled
        )
        await invoke(self._secrets.ReleaseSecretRotation, request, timeout=CALL_TIMEOUT)


def _duration(value: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(value)
    return duration


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp
