"""A keeper of pairs in memory: versions, claims by a clock that tests turn, and the failures a test asks for."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

from mesh.clock import Clock
from mesh.context import Call, current_call
from mesh.errors import Aborted, FailedPrecondition, MeshError
from mesh.ids import new_id
from mesh.secret import Secret
from services.bot_manager.tokens.keeping import RotationClaim, StoredPair

TTL = timedelta(minutes=1)


class MemoryPairKeeper:
    """Implements PairKeeper for one bot. `settled`: how the last claim ended; None while it is open.

    `served`: the call that each step was made for.
    """

    def __init__(self, clock: Clock, fields: Mapping[str, str]) -> None:
        self._clock = clock
        self.versions = [self._secrets(fields)]
        self.settled: bool | None = True
        self.calls: Counter[str] = Counter()
        self.served: list[Call | None] = []
        self._claim: RotationClaim | None = None
        self._failures: dict[str, list[tuple[MeshError, bool]]] = {}

    @property
    def version(self) -> int:
        """The current version."""
        return len(self.versions)

    def put(self, fields: Mapping[str, str]) -> None:
        """Somebody else's write."""
        self.versions.append(self._secrets(fields))

    def fail_next(self, method: str, error: MeshError, times: int = 1, *, done: bool = False) -> None:
        """`done`: the step happens, only its confirmation is lost."""
        self._failures.setdefault(method, []).extend([(error, done)] * times)

    async def claim(self, bot_id: str) -> RotationClaim:
        """See PairKeeper."""
        self._begin("claim")
        now, last = self._clock.monotonic(), self._claim
        mine = last is not None and last.version == self.version
        if last is not None and mine and self.settled is None and now < last.end:
            raise Aborted("ROTATION_CLAIMED", "claimed", retry_after=timedelta(seconds=last.end - now))
        interrupted = mine and not self.settled
        self._claim, self.settled = (
            RotationClaim(new_id(), self.version, interrupted, now + TTL.total_seconds()),
            None,
        )
        return self._claim

    async def pair(self, bot_id: str, version: int = 0) -> StoredPair:
        """See PairKeeper."""
        self._begin("pair")
        number = version or self.version
        fields = self.versions[number - 1]
        if "refresh_token" not in fields:
            raise FailedPrecondition("CREDENTIALS_MISSING", "no refresh token")
        return StoredPair(number, fields)

    async def store(
        self,
        bot_id: str,
        fields: Mapping[str, Secret],
        claim: RotationClaim,
        expected: int,
        rotate_time: datetime | None,
    ) -> int:
        """See PairKeeper."""
        late = self._begin("store")
        if expected != self.version:
            raise Aborted("VERSION_MISMATCH", "another version")
        self.versions.append(fields)
        self.settled = True
        if late is not None:
            raise late
        return self.version

    async def release(self, bot_id: str, claim: RotationClaim, *, settled: bool) -> None:
        """See PairKeeper."""
        self._begin("release")
        if self._claim == claim and self.settled is None:
            self.settled = settled

    def shown(self, version: int = 0) -> dict[str, str]:
        """A version's values."""
        fields = self.versions[(version or self.version) - 1]
        return {name: value.reveal() for name, value in fields.items()}

    def _begin(self, method: str) -> MeshError | None:
        self.calls[method] += 1
        self.served.append(current_call())
        error, done = self._failures[method].pop(0) if self._failures.get(method) else (None, False)
        if error is not None and not done:
            raise error
        return error

    @staticmethod
    def _secrets(fields: Mapping[str, str]) -> dict[str, Secret]:
        return {name: Secret(value) for name, value in fields.items()}
