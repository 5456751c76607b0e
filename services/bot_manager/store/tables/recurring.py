"""Schedules and their occurrences.

An occurrence is known by the wall time that the rule says, in the zone that it was said in: that stays the same when the zone's rules
change, and so the post that it made is its only one. That two of them never share an instant is the second key. Rows stay when their
posts are deleted. Intervals are durations, without days or months.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Interval,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from services.bot_manager.store.tables.base import ID, NAME, TIME, metadata

WALL = DateTime(timezone=False)

schedules = Table(
    "schedules",
    metadata,
    Column("id", ID, primary_key=True),
    Column("bot_id", ID, ForeignKey("bots.id", ondelete="CASCADE"), nullable=False),
    Column("notation", NAME, nullable=False),
    Column("rule", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("start_time", TIME, nullable=False),
    Column("end_time", TIME),
    Column("max_occurrences", Integer, nullable=False),
    Column("jitter", Interval, nullable=False),
    Column("misfire_policy", NAME, nullable=False),
    Column("max_catch_up", Integer, nullable=False),
    Column("misfire_grace", Interval),
    Column("exclusions", JSONB, nullable=False),
    Column("blackout_windows", JSONB, nullable=False),
    Column("content", JSONB, nullable=False),
    Column("state", NAME, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("creator", Text, nullable=False),
    Column("occurrence_count", Integer, nullable=False),
    Column("cursor", WALL),
    Column("next_time", TIME),
    Column("retry_time", TIME),
    Column("last_skip_message", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("create_time", TIME, nullable=False),
    Column("update_time", TIME, nullable=False),
    CheckConstraint("state IN ('ACTIVE', 'PAUSED', 'COMPLETED')", name="schedules_state"),
    CheckConstraint("notation IN ('rrule', 'cron')", name="schedules_notation"),
    CheckConstraint("misfire_policy IN ('SKIP', 'ONCE', 'CATCH_UP')", name="schedules_misfire_policy"),
    CheckConstraint("state = 'ACTIVE' OR next_time IS NULL", name="schedules_next"),
    Index("schedules_expand", "next_time", "id", postgresql_where=text("next_time IS NOT NULL")),
    Index("schedules_complete", "id", postgresql_where=text("state = 'ACTIVE' AND next_time IS NULL")),
    Index("schedules_of_bot", "bot_id", "create_time", "id"),
)
"""`cursor` is the wall time up to which occurrences were decided, `next_time` the first nominal time after it. `retry_time` keeps one
that could not be expanded from being tried at once again."""

occurrences = Table(
    "occurrences",
    metadata,
    Column("schedule_id", ID, ForeignKey("schedules.id", ondelete="CASCADE"), primary_key=True),
    Column("time_zone", NAME, primary_key=True),
    Column("wall_time", WALL, primary_key=True),
    Column("nominal_time", TIME, nullable=False),
    Column("scheduled_time", TIME, nullable=False),
    Column("post_count", Integer, nullable=False),
    Column("missed", Boolean, nullable=False),
    Column("skip_message", Text, nullable=False),
    Column("item_key", NAME, nullable=False),
    Column("item_round", Integer, nullable=False),
    Index("occurrences_nominal", "schedule_id", "nominal_time", unique=True),
    Index("occurrences_missed", "schedule_id", postgresql_where=text("missed")),
)
"""`missed`: its posts were too late and may still be made up for. `item_key` and `item_round`: what it took of a pool."""
