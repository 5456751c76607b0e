"""What an answer of the vault means, before anybody asks what it means for one operation.

    2xx                              answered
    400, 403, 404, 405, 413          answered: the operation decides
    500 "value being too large"      answered: the storage takes no entry of this size and has written nothing
    404 with an error text           misrouted: no engine at that path (yet); seen for a moment after unsealing. An absent secret has none
    503 "sealed", 501                sealed, or not initialised
    429                              throttled by a quota of the vault
    3xx, 412, 472, 473               a standby, or a node that lags behind; nothing was done
    500 "active cluster node …"      a standby that knows of no active node; nothing was done
    other 503                        away; nothing was done
    other 4xx, 5xx                   broken, and a write may or may not have happened

The errors made here have a reason for each kind of absence and none of the vault's own words.
"""

from datetime import timedelta
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

from mesh.errors import OutcomeUnknown, ResourceExhausted, Unavailable
from mesh.vault.wire import Answer

RETRY_AFTER: Final = timedelta(seconds=1)
FORBIDDEN: Final = HTTPStatus.FORBIDDEN
# 412: has not caught up yet. The others are Vault's own: a disaster-recovery standby and a performance standby.
STANDBY: Final = frozenset({HTTPStatus.PRECONDITION_FAILED, 472, 473})
DECIDED_BY_OPERATION: Final = frozenset({400, 403, 404, 405, 413})


class Verdict(Enum):
    """The meaning of an answer."""

    ANSWERED = auto()
    SEALED = auto()
    THROTTLED = auto()
    STANDBY = auto()
    AWAY = auto()
    MISROUTED = auto()
    BROKEN = auto()


def judge(answer: Answer) -> Verdict:
    """The table above."""
    status = answer.status
    if status == HTTPStatus.NOT_FOUND and answer.errors:
        return Verdict.MISROUTED
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES or status in DECIDED_BY_OPERATION:
        return Verdict.ANSWERED
    if too_large(answer):
        return Verdict.ANSWERED
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Verdict.THROTTLED
    if status == HTTPStatus.NOT_IMPLEMENTED or (
        status == HTTPStatus.SERVICE_UNAVAILABLE and answer.complains("sealed")
    ):
        return Verdict.SEALED
    if status < HTTPStatus.BAD_REQUEST or status in STANDBY or answer.complains("active cluster node"):
        return Verdict.STANDBY
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return Verdict.AWAY
    return Verdict.BROKEN


def too_large(answer: Answer) -> bool:
    """Whether the request, or the entry it would make, is larger than the vault allows; nothing was written then."""
    return answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or (
        answer.status == HTTPStatus.INTERNAL_SERVER_ERROR and answer.complains("value being too large")
    )


def unavailable(retry_after: timedelta | None = RETRY_AFTER) -> Unavailable:
    """The vault did not do it, and there is no more to say."""
    return Unavailable("VAULT_UNAVAILABLE", "the secret store is not available", retry_after=retry_after)


def sealed(retry_after: timedelta | None = RETRY_AFTER) -> Unavailable:
    """Somebody has to unseal or initialise it."""
    return Unavailable("VAULT_SEALED", "the secret store is sealed", retry_after=retry_after)


def standby(retry_after: timedelta | None = RETRY_AFTER) -> Unavailable:
    """No node is active."""
    return Unavailable(
        "VAULT_STANDBY", "only standby nodes of the secret store answer", retry_after=retry_after
    )


def permission_lost(retry_after: timedelta | None = None) -> Unavailable:
    """Login refused, or a policy that forbids what we need; no repeating helps before somebody has changed that."""
    return Unavailable(
        "VAULT_PERMISSION_LOST", "the secret store does not let this service in", retry_after=retry_after
    )


def compromised() -> Unavailable:
    """Somebody else may hold our credentials, so we use none."""
    return Unavailable(
        "VAULT_PERMISSION_LOST",
        "the wrapped secret id of this service is spent or not the secret store's own; a fresh one is needed",
    )


def outcome_unknown() -> OutcomeUnknown:
    """A write was sent and its answer did not arrive. Read the current version before repeating it."""
    return OutcomeUnknown("VAULT_UNAVAILABLE", "the secret store did not confirm the write")


def throttled(answer: Answer) -> ResourceExhausted:
    """A rate limit of the vault."""
    return ResourceExhausted(
        "VAULT_THROTTLED",
        "the secret store limits the rate of requests",
        retry_after=answer.retry_after or RETRY_AFTER,
    )
