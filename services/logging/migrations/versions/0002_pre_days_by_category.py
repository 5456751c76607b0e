"""Records in partitions by category and day, so that each category has its own retention; the order in which they were stored; counts.

    records → records_debug, records_terminal, … → records_debug_20261125, … and one default a category for times out of reach

An id is unique within its category and time. The service may neither create nor drop tables, so the owner leaves it one function that
makes a day's partition, one that drops a category's days, which never touches yesterday or later, and one that merges a day's words into
its text indexes.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CATEGORIES = {1: "user_activity", 2: "debug", 3: "terminal", 4: "console"}

# A partition is made beside the others and then attached, which other than CREATE TABLE … PARTITION OF lets readers and writers of
# all other partitions go on. Records of the day that lie in the default partition move over.
# The reach is beyond the longest retention; it bounds how many partitions there can be. A pending list holds words that are not merged
# into a text index yet: the larger, the fewer merges interrupt writers, but searches read it from end to end, and a writer that finds it
# full has to merge it within its time limit: with 64 MB that took too long, and writing stood still.
_ENSURE_PARTITION = """
CREATE FUNCTION ensure_partition(category text, day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = logging, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
  parent text := 'records_' || category;
  partition text := parent || '_' || to_char(day, 'YYYYMMDD');
  first_time timestamptz := day::timestamp AT TIME ZONE 'UTC';
  end_time timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
  today date := (now() AT TIME ZONE 'UTC')::date;
  text_index regclass;
BEGIN
  IF category NOT IN ('user_activity', 'debug', 'terminal', 'console')
     OR day NOT BETWEEN today - 1010 AND today + 3 THEN
    RETURN false;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('logging.ensure_partition'));
  IF to_regclass(quote_ident(partition)) IS NOT NULL THEN
    RETURN true;
  END IF;
  EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', partition, parent);
  FOR text_index IN
    SELECT indexrelid::regclass FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
    WHERE indrelid = to_regclass(quote_ident(partition)) AND amname = 'gin'
  LOOP
    EXECUTE format('ALTER INDEX %s SET (fastupdate = on, gin_pending_list_limit = 16384)', text_index);
  END LOOP;
  EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_other');
  EXECUTE format(
    'WITH moved AS (DELETE FROM %I WHERE time >= %L AND time < %L RETURNING *) INSERT INTO %I SELECT * FROM moved',
    parent || '_other', first_time, end_time, partition
  );
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, partition, first_time, end_time);
  RETURN true;
END $$
"""

_ENSURE_DAY = """
CREATE OR REPLACE FUNCTION ensure_day(day date) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = logging, pg_temp AS $$
  SELECT ensure_partition(category, day)
  FROM unnest(ARRAY['user_activity', 'debug', 'terminal', 'console']) AS categories(category)
$$
"""

# The service does not own the indexes, which merging the pending list of one asks for.
_MERGE_WORDS = """
CREATE FUNCTION merge_words(day date) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = logging, pg_temp AS $$
  SELECT coalesce(sum(gin_clean_pending_list(indexrelid::regclass)), 0)::bigint
  FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
  WHERE amname = 'gin' AND relkind = 'i' AND relnamespace = to_regnamespace('logging')
    AND indrelid IN (
      SELECT to_regclass(quote_ident('records_' || category || '_' || to_char(day, 'YYYYMMDD')))
      FROM unnest(ARRAY['user_activity', 'debug', 'terminal', 'console']) AS categories(category)
    )
$$
"""

_DROP_DAYS = """
CREATE FUNCTION drop_days(category text, before date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = logging, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
  partition text;
  dropped integer := 0;
BEGIN
  IF before > (now() AT TIME ZONE 'UTC')::date - 1 THEN
    RAISE EXCEPTION 'days from yesterday on are kept';
  END IF;
  FOR partition IN
    SELECT child.relname FROM pg_inherits
    JOIN pg_class child ON child.oid = inhrelid
    JOIN pg_class parent ON parent.oid = inhparent
    WHERE parent.oid = to_regclass(quote_ident('records_' || category))
      AND child.relname ~ '_[0-9]{8}$' AND to_date(right(child.relname, 8), 'YYYYMMDD') < before
  LOOP
    EXECUTE format('DROP TABLE %I', partition);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
END $$
"""


def upgrade() -> None:
    """Move the records over and make what is new."""
    _set_aside()
    _create_records()
    for function in (_ENSURE_PARTITION, _ENSURE_DAY, _DROP_DAYS, _MERGE_WORDS):
        op.execute(function)
    for name in ("ensure_partition(text, date)", "drop_days(text, date)", "merge_words(date)"):
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {name} TO logging")
    _move_records()
    _create_batches()
    op.create_table(
        "record_counts",
        sa.Column("minute", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("category", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("severity", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("service", sa.Text, primary_key=True),
        sa.Column("writer", sa.Text, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    op.execute(
        "INSERT INTO record_counts SELECT date_trunc('minute', time), category, severity, service, 'migration', count(*)"
        " FROM records GROUP BY 1, 2, 3, 4"
    )


def _set_aside() -> None:
    op.rename_table("records", "records_before")
    op.execute("ALTER INDEX records_pkey RENAME TO records_before_pkey")
    for name in ("time", "service", "bot", "request"):
        op.drop_index(f"records_{name}", "records_before")


def _create_records() -> None:
    op.create_table(
        "records",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("observed_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("category", sa.SmallInteger, nullable=False),
        sa.Column("severity", sa.SmallInteger, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in (
                "severity_text",
                "body",
                "service",
                "instance",
                "service_version",
                "actor",
                "bot_id",
                "request_id",
                "trace_id",
                "span_id",
            )
        ),
        sa.Column("attributes", JSONB, nullable=False),
        sa.Column("batch", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        postgresql_partition_by="LIST (category)",
    )
    op.create_index("records_time", "records", ["time"], postgresql_using="brin")
    op.create_index("records_batch", "records", ["batch"], postgresql_using="brin")
    op.create_index("records_service", "records", ["service", "time"])
    for name, column in (
        ("bot", "bot_id"),
        ("request", "request_id"),
        ("trace", "trace_id"),
        ("actor", "actor"),
    ):
        some = sa.text(f"{column} <> ''")
        op.create_index(f"records_{name}", "records", [column, "time"], postgresql_where=some)
    op.create_index(
        "records_severe", "records", ["time", "id", "severity"], postgresql_where=sa.text("severity >= 13")
    )
    op.create_index(
        "records_text", "records", [sa.text("to_tsvector('simple', body)")], postgresql_using="gin"
    )
    for number, name in CATEGORIES.items():
        table = f"records_{name}"
        op.execute(
            f"CREATE TABLE {table} PARTITION OF records FOR VALUES IN ({number}) PARTITION BY RANGE (time)"
        )
        op.create_index(f"{table}_key", table, ["time", "id"], unique=True)
        op.execute(f"CREATE TABLE {table}_other PARTITION OF {table} DEFAULT")


def _move_records() -> None:
    op.execute(
        "SELECT ensure_day(day) FROM (SELECT DISTINCT (time AT TIME ZONE 'UTC')::date AS day FROM records_before) AS days"
    )
    op.execute(
        "INSERT INTO records (id, time, observed_time, category, severity, severity_text, body, service, instance, service_version,"
        " actor, bot_id, request_id, trace_id, span_id, attributes) SELECT id, time, observed_time, category, severity,"
        " severity_text, body, service, instance, service_version, actor, bot_id, request_id, trace_id, span_id, attributes"
        " FROM records_before"
    )
    op.drop_table("records_before")


def _create_batches() -> None:
    """Ids are taken when a batch begins, numbers when it ends: whoever has seen number n has seen all before it."""
    op.execute("CREATE SEQUENCE batch_ids")
    op.create_table(
        "batches",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.BigInteger, nullable=False, unique=True),
        sa.Column("store_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("first_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("record_count", sa.Integer, nullable=False),
    )
    op.create_index("batches_store_time", "batches", ["store_time"])
    op.create_table(
        "batch_numbers",
        sa.Column("one", sa.Boolean, sa.CheckConstraint("one"), primary_key=True),
        sa.Column("last", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO batch_numbers VALUES (true, 0)")
