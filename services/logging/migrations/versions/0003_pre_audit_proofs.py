"""The trail can be proved: commitments that outlive what they commit to, checkpoints, tombstones, and the two removals that are allowed.

The service may add to these tables and read them. What was added stays, but for two functions of the owner's: one that erases what events
tell of a person, and one that removes events whose retention is over, together with the tombstone that accounts for them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ERASE = """
CREATE FUNCTION erase_audit_actor(erased_actor text, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = logging, pg_temp AS $$
DECLARE
  touched integer;
BEGIN
  IF erased_actor !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN
    RAISE EXCEPTION 'only what users did can be erased';
  END IF;
  UPDATE audit_events SET actor = '', request = '{}', peer = '', user_agent = '', salt = NULL, erased = true
  WHERE (chain, sequence) IN (
    SELECT chain, sequence FROM audit_events WHERE actor = erased_actor AND format = 2 LIMIT most
  );
  GET DIAGNOSTICS touched = ROW_COUNT;
  RETURN touched;
END $$
"""

_REMOVE = """
CREATE FUNCTION remove_audit_events(
  of_chain text, up_to bigint, up_to_hash bytea, removed_at timestamptz, signed_note text, signed_by text
) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = logging, pg_temp AS $$
DECLARE
  removed integer;
BEGIN
  PERFORM FROM audit_events WHERE chain = of_chain AND sequence = up_to AND hash = up_to_hash;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the tombstone does not fit the chain';
  END IF;
  PERFORM FROM audit_events WHERE chain = of_chain AND sequence > up_to LIMIT 1;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the newest event is kept';
  END IF;
  PERFORM FROM audit_events
  WHERE chain = of_chain AND sequence <= up_to AND time > now() - interval '30 days' LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'events of the last 30 days are kept';
  END IF;
  INSERT INTO audit_tombstones (chain, last_sequence, last_hash, time, note, verifier_key)
  VALUES (of_chain, up_to, up_to_hash, removed_at, signed_note, signed_by);
  DELETE FROM audit_events WHERE chain = of_chain AND sequence <= up_to;
  GET DIAGNOSTICS removed = ROW_COUNT;
  RETURN removed;
END $$
"""


def upgrade() -> None:
    """Add what proves the trail. Events that are there keep the first format."""
    op.add_column("audit_events", sa.Column("chain", sa.Text, nullable=False, server_default="main"))
    op.add_column("audit_events", sa.Column("format", sa.SmallInteger, nullable=False, server_default="1"))
    op.add_column("audit_events", sa.Column("commitment", sa.LargeBinary))
    op.add_column("audit_events", sa.Column("salt", sa.LargeBinary))
    op.add_column("audit_events", sa.Column("erased", sa.Boolean, nullable=False, server_default=sa.false()))
    op.drop_constraint("audit_events_pkey", "audit_events")
    op.create_primary_key("audit_events_pkey", "audit_events", ["chain", "sequence"])
    for name, column in (("bot", "bot_id"), ("request", "request_id")):
        some = sa.text(f"{column} <> ''")
        op.create_index(f"audit_events_{name}", "audit_events", [column, "sequence"], postgresql_where=some)
    _create_statements()
    op.execute(_ERASE)
    op.execute(_REMOVE)
    for function in (
        "erase_audit_actor(text, integer)",
        "remove_audit_events(text, bigint, bytea, timestamptz, text, text)",
    ):
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO logging")


def _create_statements() -> None:
    op.create_table(
        "audit_checkpoints",
        sa.Column("chain", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("verifier_key", sa.Text, nullable=False),
    )
    op.create_table(
        "audit_tombstones",
        sa.Column("chain", sa.Text, primary_key=True),
        sa.Column("last_sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last_hash", sa.LargeBinary, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("verifier_key", sa.Text, nullable=False),
    )
    op.execute("REVOKE UPDATE, DELETE, TRUNCATE ON audit_checkpoints FROM logging")
    # A tombstone comes only with what it accounts for: through the function.
    op.execute("REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON audit_tombstones FROM logging")
