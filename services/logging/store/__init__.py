"""Where records and audit events are kept: ports and their PostgreSQL."""
