"""Secrets are taken out of texts, fields and messages before these leave the process.

owns     the shapes of secrets, the names that give them away, the JSON form of a message without its `debug_redact` fields
never    decides what is logged; never restores anything
called   by mesh.telemetry for every record, by mesh.audit for requests, by logging once more on ingest
"""

from mesh.redaction.message import redact_details, redact_message
from mesh.redaction.redactor import Redactor, clip, is_sensitive_name, redactor
from mesh.redaction.shapes import REDACTED

__all__ = [
    "REDACTED",
    "Redactor",
    "clip",
    "is_sensitive_name",
    "redact_details",
    "redact_message",
    "redactor",
]
