"""Webhooks, their deliveries, and events beside the stories of posts."""

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds tables that the release before does not know."""
