"""logging: every record of every process, and the chain of what users did.

owns     log records, audit events and the order they were chained in
never    alters an audit event, nor deletes one before its time (its database role cannot); never sees a secret (sources redact)
called   by people through the gateway (`logs.read`, `audit.read`); fed by every process over NATS, LOGS and AUDIT, by browsers, and by
         OpenTelemetry's exporters (`logs.ingest`)
stores   PostgreSQL schema `logging`: `records` in partitions by category and day, `audit_events` append-only with what vouches for
         them, `rejected` with reasons
calls    Vault, to sign the ends of the chain; what it signed lies in the stream CHECKPOINTS too, outside of its database
"""
