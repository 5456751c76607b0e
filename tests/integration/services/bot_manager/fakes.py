"""X and secure_bot_data, as far as credentials go."""

from collections.abc import Sequence
from datetime import datetime

from mesh.errors import MeshError
from services.bot_manager.domain.credentials import Borrowed
from services.bot_manager.domain.given import Given
from services.bot_manager.domain.outcomes import Outcome
from services.bot_manager.x.port import (
    XAccount,
    XCredentials,
    XMetricsRead,
    XPostDraft,
    XTimeline,
)


class FakeX:
    """Knows one account; `fail_next` makes the next call fail."""

    def __init__(self) -> None:
        self.account = XAccount("4711", "acme")
        self._errors: list[MeshError] = []

    def fail_next(self, error: MeshError) -> None:
        """The next call raises this."""
        self._errors.append(error)

    async def get_me(self, credentials: XCredentials) -> XAccount:
        """See XPort."""
        if self._errors:
            raise self._errors.pop()
        return self.account

    async def create_post(self, credentials: XCredentials, draft: XPostDraft) -> Outcome:
        """Not used here."""
        raise NotImplementedError

    async def get_metrics(self, credentials: XCredentials, x_post_ids: Sequence[str]) -> XMetricsRead:
        """Not used here."""
        raise NotImplementedError

    async def own_posts(
        self, credentials: XCredentials, user_id: str, since: datetime, limit: int = 100
    ) -> XTimeline:
        """Not used here."""
        raise NotImplementedError


class FakeSecrets:
    """Keeps credentials in memory, by bot; every kind has the same versions here."""

    def __init__(self) -> None:
        self.versions: dict[str, list[Given]] = {}

    async def store(self, bot_id: str, given: Given) -> int:
        """See SecretKeeper."""
        self.versions.setdefault(bot_id, []).append(given)
        return len(self.versions[bot_id])

    async def lease(self, bot_id: str, reason: str) -> Borrowed:
        """See SecretKeeper."""
        return Borrowed(self.versions[bot_id][-1].credentials, len(self.versions[bot_id]))

    async def renew(self, bot_id: str, refused: int, reason: str) -> Borrowed:
        """See SecretKeeper."""
        return await self.lease(bot_id, reason)


class FakeFetcher:
    """Reads nothing."""

    async def refresh(self, bot_id: str, post_ids: Sequence[str] = ()) -> int:
        """See the servicer's port."""
        return 0
