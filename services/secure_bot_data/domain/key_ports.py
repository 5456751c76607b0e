"""What the rules about the key need from outside, besides what `ports` has.

Every method is one step that happens wholly or not at all, and raises `mesh.errors` only. `store/` has the implementations.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.secure_bot_data.domain.model import (
    JobState,
    KeyUse,
    RewrapJob,
    SecretKey,
    SecretRef,
    VersionRecord,
)


class KeyVault(Protocol):
    """The key of all secrets. Every method may raise Unavailable and ResourceExhausted, as those of `SecretVault`."""

    async def key(self) -> SecretKey:
        """What is known of it."""
        ...

    async def rotate_key(self) -> None:
        """Makes a new version. OutcomeUnknown when the confirmation was lost."""
        ...

    async def retire_key(self, least: int) -> None:
        """Refuses to decrypt with versions below `least`; may be repeated."""
        ...


class KeyCatalogue(Protocol):
    """What is known of who needs which version of the key."""

    def changing_key(self) -> AbstractAsyncContextManager[None]:
        """One change of the key at a time in the whole fleet; concludes the call when the block ends well."""
        ...

    async def uses(self) -> Sequence[KeyUse]:
        """Versions of secrets by version of the key, ascending; destroyed ones are not counted."""
        ...

    async def unsettled(self, before: datetime) -> int:
        """How many announcements made before a time are not concluded."""
        ...

    async def versions(self, ref: SecretRef) -> Sequence[VersionRecord]:
        """Every version of a secret that is known, ascending."""
        ...

    async def enter_keys(self, ref: SecretRef, keys: Mapping[int, int]) -> None:
        """Enters which version of the key versions of a secret need."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """What became of some secrets, in their order. `done` of them need not be gone through again; `end` when there are no more."""

    done: int
    rewrapped: int
    skipped: int
    failed: int
    last_failure: str = ""
    end: JobState | None = None


Work = Callable[[RewrapJob, Sequence[SecretRef]], Awaitable[Progress]]
"""Goes through the next secrets of the running job; none when there are no more."""


class RewrapJobs(Protocol):
    """The jobs and how far they are."""

    async def start(self, job: RewrapJob) -> RewrapJob:
        """Enters the job with the number of secrets there are. FailedPrecondition REWRAP_RUNNING while another runs. Concludes the call."""
        ...

    async def get(self, job_id: str) -> RewrapJob:
        """The job. NotFound REWRAP_JOB_NOT_FOUND."""
        ...

    async def cancel(self, job_id: str, now: datetime) -> RewrapJob:
        """Ends the job if it runs; as it is now. NotFound REWRAP_JOB_NOT_FOUND. Concludes the call."""
        ...

    async def running(self) -> RewrapJob | None:
        """The job that runs."""
        ...

    async def advance(self, work: Work, limit: int, now: Callable[[], datetime]) -> RewrapJob | None:
        """Lets `work` go through the next `limit` secrets of the running job and writes down how far it came, in one commit.

        One replica at a time: None when another is at it, or no job runs. One that dies lets go at once, and nothing of what it did since
        the last commit is counted.
        """
        ...
