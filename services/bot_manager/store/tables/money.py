"""X developer apps, windows of rate limits, money spent, and apps whose calls X has stopped.

An owner is whose calls count together: a bot, or an app for all its bots. Publishing locks the owners' windows before it reserves, so
they order all reservations, of money too. Rows of owners that are gone stay until housekeeping removes them.
"""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Date, Index, Integer, Table, Text, text

from services.bot_manager.store.tables.base import DOCUMENT, ID, NAME, TIME, metadata

apps = Table(
    "apps",
    metadata,
    Column("id", ID, primary_key=True),
    Column("display_name", NAME, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("credentials_version", Integer, nullable=False),
    Column("tier", NAME, nullable=False),
    Column("limits", DOCUMENT),
    Column("prices", DOCUMENT),
    Column("budget", DOCUMENT),
    Column("state", NAME, nullable=False),
    Column("creator", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("create_time", TIME, nullable=False),
    Column("update_time", TIME, nullable=False),
    CheckConstraint("state IN ('ACTIVE', 'PAUSED')", name="apps_state"),
    CheckConstraint("tier IN ('PAY_PER_USE', 'FREE', 'BASIC', 'PRO', 'ENTERPRISE')", name="apps_tier"),
    Index("apps_by_create_time", "create_time", "id"),
    Index("apps_by_display_name", "display_name", "id"),
)

rate_limits = Table(
    "rate_limits",
    metadata,
    Column("owner_id", ID, primary_key=True),
    Column("scope", NAME, primary_key=True),
    Column("operation", NAME, primary_key=True),
    Column("window_seconds", Integer, primary_key=True, autoincrement=False),
    Column("used", BigInteger, nullable=False),
    Column("x_limit", Integer),
    Column("reset_time", TIME, nullable=False),
    Column("reported", Boolean, nullable=False),
    CheckConstraint("scope IN ('USER', 'APP')", name="rate_limits_scope"),
)
"""`x_limit` is what X last said that it allows; `reported`: X has named the end of this very window."""

spend = Table(
    "spend",
    metadata,
    Column("owner_id", ID, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("spent_usd_micros", BigInteger, nullable=False, server_default=text("0")),
    Column("reserved_usd_micros", BigInteger, nullable=False, server_default=text("0")),
    Column("calls", Integer, nullable=False, server_default=text("0")),
)
"""A day of UTC each. What is reserved is not contained in what is spent; both belong to the day on which the call began."""

breakers = Table(
    "breakers",
    metadata,
    Column("owner_id", ID, primary_key=True),
    Column("reason", NAME, nullable=False),
    Column("message", Text, nullable=False),
    Column("open_time", TIME, nullable=False),
    Column("retry_time", TIME, nullable=False),
)
"""Open ones only: apps, or bots without one, for which no call is made before `retry_time`, and then one."""
