"""What the service finds out by itself and puts on the trail, besides the calls that the contract says are audited."""

from dataclasses import dataclass
from typing import Final

TOKEN_REUSED: Final = "session.token_reused"  # noqa: S105 - an action's name
"""A refresh token was used a second time: one of its two users is a thief, so the session has ended."""
SESSION_EVICTED: Final = "session.evicted"
"""A user had more sessions than allowed; the oldest has ended."""
RECOVERY_CODE_USED: Final = "user.recovery_code_used"
"""A recovery code stood in for the second factor."""
KEY_ROTATED: Final = "signing_key.rotated"
"""A signing key has become the active one, on schedule or because of a call."""
KEY_MADE: Final = "signing_key.made"
"""A signing key was made."""
FIRST_USER_MADE: Final = "user.first_made"
"""The first administrator was made."""
PASSWORD_RESET_LOCALLY: Final = "user.password_reset_locally"  # noqa: S105 - an action's name
"""Somebody with access to the machine itself has reset a password."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the trail. `resource` is a path such as `sessions/0190…`."""

    action: str
    resource: str
    actor: str = ""
    """Whose doing it is; empty: whoever calls, or the service itself."""
    session_id: str = ""
    warning: bool = False
    """True for what somebody should look at."""
