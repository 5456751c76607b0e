"""Open streams end with the credential that opened them: at its end, and at once when it is revoked.

A unary call is judged once and is over before that matters. A stream may go on for hours, so the access stage opens a `Lifeline` for it
at the moment it lets it in, with no pause in between, and cuts it when the feed tells of a revocation. The adapter ends the stream then.
A stale feed ends nothing by itself.
"""

from collections.abc import Callable

from mesh.context import Principal
from mesh.identity.revocable import Name, Revocable, names_of_api_key, names_of_token
from mesh.identity.revocations import Revocations
from mesh.identity.tokens import AccessToken
from vivesphere.authentication.v1.revocation_pb2 import REVOCATION_KIND_USER, Revocation


class Lifeline:
    """What one open stream hangs on."""

    __slots__ = ("_end", "is_cut", "issued_at", "names")

    def __init__(self, names: tuple[Name, ...], issued_at: int | None) -> None:
        """`names` are the revocations that cut it; `issued_at` is the `iat` of an access token, None for an API key."""
        self.names = names
        self.issued_at = issued_at
        self.is_cut = False
        self._end: Callable[[], None] | None = None

    def hold(self, end: Callable[[], None]) -> None:
        """Call `end` when the line is cut, at once if it is already."""
        self._end = end
        if self.is_cut:
            end()

    def release(self) -> None:
        """The stream is over: nothing is called any more."""
        self._end = None

    def cut(self) -> None:
        """The credential is good no longer."""
        self.is_cut = True
        end, self._end = self._end, None
        if end is not None:
            end()


class OpenStreams:
    """The lifelines of a server. Listens to the feed."""

    def __init__(self, revocations: Revocations) -> None:
        self._lines: set[Lifeline] = set()
        self._revocable = Revocable[Lifeline]()
        revocations.listen(self)

    def __len__(self) -> int:
        return len(self._lines)

    def open_for_token(self, token: AccessToken) -> Lifeline:
        """A line for a stream that an access token opens."""
        return self._open(Lifeline(names_of_token(token), token.issued_at))

    def open_for_key(self, principal: Principal) -> Lifeline:
        """A line for a stream that the principal of an API key opens."""
        return self._open(Lifeline(names_of_api_key(principal.token_id, principal.user_id), None))

    def close(self, line: Lifeline) -> None:
        """The stream has ended."""
        self._lines.discard(line)
        self._revocable.discard(line, line.names)

    def revoked(self, revocation: Revocation) -> None:
        """See `mesh.identity.revocations.Listener`."""
        for line in self._revocable.hit_by(revocation):
            newer = line.issued_at is not None and line.issued_at > revocation.revoke_time.seconds
            if not (newer and revocation.kind == REVOCATION_KIND_USER):
                line.cut()

    def started_over(self) -> None:
        """See `mesh.identity.revocations.Listener`.

        What revokes a token is in the snapshot for as long as the token lives. A user's revocation is not kept as long as the user's
        API keys, so their streams have to be opened anew.
        """
        for line in list(self._lines):
            if line.issued_at is None:
                line.cut()

    def _open(self, line: Lifeline) -> Lifeline:
        self._lines.add(line)
        self._revocable.add(line, line.names)
        return line
