"""What callers of the mesh are told when X did not do as asked: an `Outcome` as a MeshError, total over its kinds."""

from mesh.errors import FailedPrecondition, MeshError, ResourceExhausted, Unavailable
from services.bot_manager.domain.outcomes import Outcome, OutcomeKind

_K = OutcomeKind


def error_of(outcome: Outcome) -> MeshError:
    """The error of a call that only reads, where an unknown outcome means that there is no answer."""
    facts = {
        "httpStatus": str(outcome.http_status) if outcome.http_status else "",
        "problemType": outcome.problem_type,
        "problemTitle": outcome.title,
        "problemDetail": outcome.detail,
        "xRequestId": outcome.x_request_id,
    }
    metadata = {name: value for name, value in facts.items() if value}
    match outcome.kind:
        case _K.CREDENTIALS_REJECTED:
            return FailedPrecondition(
                "X_CREDENTIALS_REJECTED", "X refused the credentials", metadata=metadata
            )
        case _K.ACCOUNT_SUSPENDED:
            return FailedPrecondition(
                "X_ACCOUNT_SUSPENDED", "X has suspended or locked the account", metadata=metadata
            )
        case _K.RATE_LIMITED | _K.USAGE_CAPPED:
            return ResourceExhausted(
                "X_RATE_LIMITED",
                "X's rate limit is used up",
                retry_after=outcome.pause,
                metadata=metadata,
            )
        case _K.CREDITS_DEPLETED:
            return ResourceExhausted(
                "X_CREDITS_DEPLETED", "the developer app has no credits left", metadata=metadata
            )
        case _K.NOT_SENT | _K.UNKNOWN:
            return Unavailable("X_UNAVAILABLE", "X does not answer as it should", metadata=metadata)
        case _:
            return FailedPrecondition("X_REJECTED", "X refused the request", metadata=metadata)
