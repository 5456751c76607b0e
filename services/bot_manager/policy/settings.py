"""Run-time settings of the policy checks.

What X refuses or forbids is an error by default: a post that cannot go out, or that endangers the account, is better told of before its
time. What may be all right is a warning.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from mesh.configuration import SettingDefinition, SettingsView
from services.bot_manager.domain.model import PolicyRule, Severity
from services.bot_manager.domain.policy.facts import Limits
from services.bot_manager.domain.policy.linter import CHECKS, Severities

_LEVELS: Final = {"off": None, "warning": Severity.WARNING, "error": Severity.ERROR}
_RULES: Final = {
    PolicyRule.EMPTY: ("error", "a part with neither text nor media"),
    PolicyRule.TOO_LONG: ("error", "a text beyond what the account may send"),
    PolicyRule.DUPLICATE: (
        "error",
        "a text that the bot repeats within its cool-down, or that another bot says: X refuses the one and forbids the other",
    ),
    PolicyRule.NEAR_DUPLICATE: ("warning", "a text that is almost one of this or another bot"),
    PolicyRule.CASHTAGS: ("error", "more than one cashtag, which X refuses"),
    PolicyRule.COLD_REPLY: ("warning", "a reply to a post that is not the bot's own"),
    PolicyRule.MENTIONS: ("warning", "mentions of accounts other than the bot's and its operator's"),
    PolicyRule.URL_PRICE: ("warning", "a link where it makes the post dearer"),
    PolicyRule.MEDIA_MIX: (
        "error",
        "media, poll and quote in a mix that X refuses, or media that are not ready",
    ),
    PolicyRule.ALT_TEXT: ("warning", "media without alternative text"),
    PolicyRule.AUTOMATION_LABEL: (
        "warning",
        "a bot that does not state that it is automated, or who operates it",
    ),
    PolicyRule.UNAVAILABLE_FEATURE: (
        "error",
        "a feature that the app's tier does not have; only a warning where that is not known",
    ),
    PolicyRule.TIMING: (
        "warning",
        "a time in a black-out window or too close to another post; the post would be put off",
    ),
    PolicyRule.BUDGET: ("warning", "a cost beyond what is left of a budget; the post would be put off"),
}


def _severity(rule: PolicyRule) -> SettingDefinition[str]:
    default, what = _RULES[rule]
    return SettingDefinition(
        key=f"bot_manager.policy.{rule.lower()}",
        default=default,
        json_schema={"type": "string", "enum": list(_LEVELS)},
        description=f"How much it weighs: {what}. An error refuses the post, a warning is only shown.",
    )


SEVERITIES: Final = {rule: _severity(rule) for rule in CHECKS}
REPEAT_COOL_DOWN: Final = SettingDefinition[int](
    key="bot_manager.policy.repeat_cool_down",
    default=12 * 3600,
    json_schema={"type": "integer", "minimum": 0, "maximum": 365 * 24 * 3600},
    description="Time in which a bot does not repeat a text, unless its policy says otherwise. X refuses repeats within hours.",
    unit="seconds",
)
OTHER_BOTS_WINDOW: Final = SettingDefinition[int](
    key="bot_manager.policy.other_bots_window",
    default=7 * 24 * 3600,
    json_schema={"type": "integer", "minimum": 0, "maximum": 365 * 24 * 3600},
    description="Time in which a bot does not say what another bot says. X forbids the same content from several accounts.",
    unit="seconds",
)
SIMILARITY: Final = SettingDefinition[float](
    key="bot_manager.policy.similarity",
    default=0.8,
    json_schema={"type": "number", "minimum": 0.5, "maximum": 1},
    unit="share",
    description="Share of character runs in common from which on two texts are near-duplicates. Pairs below 0.7 may go unnoticed.",
)
DEFINITIONS: Final[Sequence[SettingDefinition[Any]]] = (
    *SEVERITIES.values(),
    REPEAT_COOL_DOWN,
    OTHER_BOTS_WINDOW,
    SIMILARITY,
)


class Policy(SettingsView):
    """The settings as they are read, all of one snapshot."""

    repeat_cool_down = REPEAT_COOL_DOWN
    other_bots_window = OTHER_BOTS_WINDOW
    similarity = SIMILARITY

    @property
    def severities(self) -> Severities:
        """How much each rule weighs."""
        return {rule: _LEVELS[self.read(definition)] for rule, definition in SEVERITIES.items()}

    @property
    def limits(self) -> Limits:
        """What the checks are made with."""
        return Limits(
            timedelta(seconds=self.repeat_cool_down),
            timedelta(seconds=self.other_bots_window),
            self.similarity,
        )
