"""How messaging says that it cannot, for now."""

from datetime import timedelta

from mesh.errors import Unavailable

RETRY_AFTER = timedelta(seconds=1)


class MessagingUnavailable(Unavailable):
    """NATS is away, full or silent. After a publish the outcome is unknown: publish again with the same message id."""

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__("MESSAGING_UNAVAILABLE", message, retry_after=RETRY_AFTER, metadata=metadata)
