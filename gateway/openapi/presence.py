"""Whether a request may leave a field out.

A field is required where leaving it out is refused by the rules of buf.validate: `required`, or a rule that the zero value of a
field without presence breaks (a string of at least one character, a list of at least one element), unless the rule passes over
the zero value. A comment that begins with "Required." counts as well, except on what a PATCH changes: there the body's fields
are the change, and only the rules are enforced.
"""

from typing import Any, Final

from protobuf import DescField, DescFieldValueList, DescFieldValueMap, DescMessage

from gateway.openapi import patterns
from gateway.openapi.contract import OUTPUT_ONLY, REQUIRED, Contract
from gateway.transcoding import fields

_IGNORE_UNSPECIFIED: Final = 0
_ON_CREATE: Final = "Required on create."
_IMPLICIT: Final = 2  # google.protobuf.FeatureSet.FieldPresence


def is_required(contract: Contract, field: DescField, *, by_comment: bool) -> bool:
    """Whether a request without this field is refused; `by_comment` counts the comment's word too."""
    if contract.cookie(field) or contract.behavior(field) == OUTPUT_ONLY:
        return False
    if by_comment and (
        contract.behavior(field) == REQUIRED or contract.field_comment(field).lstrip().startswith(_ON_CREATE)
    ):
        return True
    rules = contract.rules(field)
    if rules is None or int(rules.ignore) != _IGNORE_UNSPECIFIED:
        return False
    return rules.required or (not has_presence(field) and refuses_zero(rules))


def has_presence(field: DescField) -> bool:
    """Whether a message tells an absent field from one with the zero value."""
    if isinstance(field.value, DescFieldValueList | DescFieldValueMap):
        return False
    return isinstance(fields.element_of(field), DescMessage) or int(field.presence) != _IMPLICIT


def refuses_zero(rules: Any) -> bool:
    """Whether "", 0, false, [] or {} breaks these FieldRules."""
    if rules.type is None:
        return False
    kind, rule = rules.type.field, rules.type.value
    match kind:
        case "string" | "bytes":
            return _text_refuses(rule)
        case "repeated":
            return bool(rule.min_items)
        case "map":
            return bool(rule.min_pairs)
        case "bool":
            return bool(rule.const)
        case "enum":
            return _list_refuses(rule)
        case "any" | "duration" | "field_mask" | "timestamp":
            return False  # messages: absent is not zero
        case _:
            return _list_refuses(rule) or _range_refuses(rule)


def _text_refuses(rule: Any) -> bool:
    least = rule.len or rule.min_len or getattr(rule, "min_bytes", 0) or getattr(rule, "len_bytes", 0)
    demanded = rule.prefix or rule.suffix or rule.contains
    known = rule.well_known is not None and bool(rule.well_known.value) and rule.well_known.field != "uri_ref"
    pattern = rule.pattern and not patterns.matches(rule.pattern, "")
    empty: Any = b"" if isinstance(rule.prefix, bytes) else ""
    return bool(least or demanded or known or pattern) or _list_refuses(rule, empty)


def _list_refuses(rule: Any, zero: Any = 0) -> bool:
    return bool(
        (rule.has_field("const") and rule.const != zero)
        or (rule.in_ and zero not in rule.in_)
        or zero in rule.not_in
    )


def _range_refuses(rule: Any) -> bool:
    below, above = rule.less_than, rule.greater_than
    under = below is None or (below.value > 0 if below.field == "lt" else below.value >= 0)
    over = above is None or (above.value < 0 if above.field == "gt" else above.value <= 0)
    if below is not None and above is not None and below.value < above.value:
        return not (under or over)
    return not (under and over)
