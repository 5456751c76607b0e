"""W3C trace context."""

import secrets


def child_traceparent(trace_id: str) -> str:
    """A traceparent for a call made within the trace."""
    return f"00-{trace_id}-{secrets.token_hex(8)}-01"
