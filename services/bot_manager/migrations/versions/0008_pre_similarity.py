"""Fingerprints of texts."""

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds tables that the release before does not know."""
