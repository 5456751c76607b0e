"""Accounts that are being connected."""

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds tables that the release before does not know."""
