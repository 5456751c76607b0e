"""When counters are read next."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a column that the release before leaves alone; what went out of late is followed from now on."""
    op.add_column("post_parts", sa.Column("next_read_time", sa.DateTime(timezone=True)))
    op.execute(
        "UPDATE post_parts SET next_read_time = now()"
        " WHERE x_post_id IS NOT NULL AND gone_time IS NULL AND publish_time > now() - interval '30 days'"
    )
    op.create_index(
        "post_parts_reading",
        "post_parts",
        ["next_read_time"],
        postgresql_where=sa.text("next_read_time IS NOT NULL"),
    )
    op.create_index("post_metrics_by_time", "post_metrics", ["time", "x_post_id"])
