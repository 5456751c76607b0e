"""logging: every record of every process, and the chain of what users did.

owns     log records, audit events and the order they were chained in
never    alters or deletes an audit event (its database role cannot); never sees a secret (sources redact before they send)
called   by people through the gateway (`logs.read`, `audit.read`); fed by every process over NATS, LOGS and AUDIT, by browsers, and by
         OpenTelemetry's exporters (`logs.ingest`)
stores   PostgreSQL schema `logging`: `records` in partitions by category and day, `audit_events` append-only, `rejected` with reasons
calls    nobody
"""
