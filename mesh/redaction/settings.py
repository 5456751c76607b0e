"""The patterns that operators add to what the redactor knows; logging owns and registers the setting, every process follows it."""

from typing import Final

from mesh.configuration import ConfigurationWatch, SettingDefinition, SettingRefused
from mesh.redaction.patterns import MAX_PATTERN_CHARS, MAX_PATTERNS, PatternError
from mesh.redaction.redactor import redactor

REDACTION_PATTERNS: Final = SettingDefinition[list[str]](
    key="logging.redaction.patterns",
    default=[],
    json_schema={
        "type": "array",
        "maxItems": MAX_PATTERNS,
        "items": {"type": "string", "minLength": 1, "maxLength": MAX_PATTERN_CHARS},
    },
    description=(
        "Regular expressions in the syntax of RE2, without look-around and back-references; whatever matches one is replaced by"
        " `[REDACTED]` before a log record or audit detail leaves a process, beside what is recognised anyway."
    ),
)


def follow_patterns(configuration: ConfigurationWatch) -> None:
    """Use the patterns in force in this process; one that is none refuses the value, which health then tells."""
    configuration.on_change(REDACTION_PATTERNS, _take)


def _take(_: list[str], patterns: list[str]) -> None:
    try:
        redactor.use(patterns)
    except PatternError as error:
        raise SettingRefused(str(error)) from None
