"""X's token endpoint: each refresh token is good once, and the answer can be late or lost."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from mesh.errors import FailedPrecondition
from mesh.ids import new_id
from mesh.secret import Secret
from services.bot_manager.tokens.port import ACCESS_TOKEN, REFRESH_TOKEN, TokenPair

ACCESS_TOKEN_END = datetime.fromisoformat("2030-01-01T00:00:00+00:00")


class FakeTokenEndpoint:
    """Knows which refresh tokens are good. `asked` counts exchanges by the token that was shown, `overlaps` those at a time."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.overlaps = 0
        self._good: dict[str, str] = {}
        self._latest: dict[str, TokenPair] = {}
        self._busy: Counter[str] = Counter()
        self._failures: list[tuple[Exception, bool]] = []
        self._open = asyncio.Event()
        self._open.set()

    def connect(self) -> dict[str, str]:
        """The fields of a secret for a new account."""
        account = new_id()
        pair = self._issue(account)
        assert pair.refresh_token is not None
        return {
            ACCESS_TOKEN: pair.access_token.reveal(),
            REFRESH_TOKEN: pair.refresh_token.reveal(),
            "client_id": account,
        }

    def fail_next(self, error: Exception, *, done: bool = False) -> None:
        """The next exchange raises this; `done`: X has rotated the token, only the answer is lost."""
        self._failures.append((error, done))

    def hold(self) -> None:
        """From now on exchanges wait before X decides."""
        self._open.clear()

    def go_on(self) -> None:
        """Exchanges are decided again."""
        self._open.set()

    def is_newest(self, fields: Mapping[str, str]) -> bool:
        """Whether these are the last that X gave for the account."""
        pair = self._latest[fields["client_id"]]
        assert pair.refresh_token is not None
        return (fields[ACCESS_TOKEN], fields[REFRESH_TOKEN]) == (
            pair.access_token.reveal(),
            pair.refresh_token.reveal(),
        )

    async def exchange(self, fields: Mapping[str, Secret]) -> TokenPair:
        """See TokenEndpoint."""
        token = fields[REFRESH_TOKEN].reveal()
        self.asked[token] += 1
        self._busy[token] += 1
        self.overlaps += self._busy[token] > 1
        try:
            await self._open.wait()
            return self._decide(token)
        finally:
            self._busy[token] -= 1

    def _decide(self, token: str) -> TokenPair:
        error, done = self._failures.pop(0) if self._failures else (None, True)
        if error is not None and not done:
            raise error
        account = self._good.pop(token, None)
        if account is None:
            raise FailedPrecondition("X_CREDENTIALS_REJECTED", "invalid_grant")
        pair = self._issue(account)
        if error is not None:
            raise error
        return pair

    def _issue(self, account: str) -> TokenPair:
        refresh_token = f"refresh-{new_id()}"
        self._good[refresh_token] = account
        pair = TokenPair(Secret(f"access-{new_id()}"), Secret(refresh_token), ACCESS_TOKEN_END, "tweet.write")
        self._latest[account] = pair
        return pair
