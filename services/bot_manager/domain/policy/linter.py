"""All checks, in the order in which people read their findings, weighed by the settings."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from services.bot_manager.domain.model import Finding, PolicyRule, Severity
from services.bot_manager.domain.policy import account, attachments, content, moment, repeats
from services.bot_manager.domain.policy.facts import Facts, Remark

Severities = Mapping[PolicyRule, Severity | None]
"""How much a finding of each rule weighs; None: the rule is not checked."""
Check = Callable[[Facts], Iterable[Remark]]

CHECKS: Final[Mapping[PolicyRule, Check]] = {
    PolicyRule.EMPTY: content.empty,
    PolicyRule.TOO_LONG: content.too_long,
    PolicyRule.DUPLICATE: repeats.duplicate,
    PolicyRule.NEAR_DUPLICATE: repeats.near_duplicate,
    PolicyRule.CASHTAGS: content.too_many_cashtags,
    PolicyRule.COLD_REPLY: account.cold_reply,
    PolicyRule.MENTIONS: content.unasked_mentions,
    PolicyRule.URL_PRICE: moment.url_price,
    PolicyRule.MEDIA_MIX: attachments.media_mix,
    PolicyRule.ALT_TEXT: attachments.alt_text,
    PolicyRule.AUTOMATION_LABEL: account.automation_label,
    PolicyRule.UNAVAILABLE_FEATURE: account.unavailable,
    PolicyRule.TIMING: moment.timing,
    PolicyRule.BUDGET: moment.budget,
}
"""Every rule but TEMPLATE, whose finding is that the template does not render."""


def lint(facts: Facts, severities: Severities) -> tuple[Finding, ...]:
    """Everything found, errors first."""
    found = [
        _finding(remark, severity)
        for rule, check in CHECKS.items()
        if (severity := severities.get(rule)) is not None
        for remark in check(facts)
    ]
    return tuple(sorted(found, key=lambda finding: finding.severity is not Severity.ERROR))


def errors_only(severities: Severities) -> Severities:
    """The rules that refuse a post: all that is asked where nobody reads warnings."""
    return {rule: severity for rule, severity in severities.items() if severity is Severity.ERROR}


def _finding(remark: Remark, severity: Severity) -> Finding:
    return Finding(
        remark.rule,
        severity if remark.certain else Severity.WARNING,
        remark.message,
        remark.part_index,
        remark.field,
        remark.other_post_id,
    )
