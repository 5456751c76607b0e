"""COLD_REPLY, UNAVAILABLE_FEATURE, AUTOMATION_LABEL: what X lets the account and its app do."""

from collections.abc import Iterator

from services.bot_manager.domain.model import PolicyRule
from services.bot_manager.domain.policy.facts import ENTERPRISE, Facts, Remark


def cold_reply(facts: Facts) -> Iterator[Remark]:
    """X refuses replies to conversations that do not mention the account; whether this one does is not known here."""
    if "reply_to_x_post_id" in facts.post.content and not facts.replies_to_own:
        yield Remark(
            PolicyRule.COLD_REPLY,
            "X refuses replies of bots unless the conversation mentions or quotes them; reply only to who spoke to the bot",
            field="reply_to_x_post_id",
        )


def unavailable(facts: Facts) -> Iterator[Remark]:
    """What X grants by tier or membership."""
    content = facts.post.content
    if "quote_x_post_id" in content and facts.tier != ENTERPRISE:
        known = f"and the app has {facts.tier}" if facts.tier else "and the tier of the app is not known"
        yield Remark(
            PolicyRule.UNAVAILABLE_FEATURE,
            f"X grants quotes to apps of tier {ENTERPRISE} only, {known}; link to the post instead",
            field="quote_x_post_id",
            certain=bool(facts.tier),
        )
    if content.get("reply_settings") == "REPLY_SETTINGS_SUBSCRIBERS":
        yield Remark(
            PolicyRule.UNAVAILABLE_FEATURE,
            "X takes this only from accounts that offer subscriptions; choose another setting if this one does not",
            field="reply_settings",
            certain=False,
        )
    if "community_id" in content:
        yield Remark(
            PolicyRule.UNAVAILABLE_FEATURE,
            "X takes this only from members of the community; make sure that the account is one",
            field="community_id",
            certain=False,
        )


def automation_label(facts: Facts) -> Iterator[Remark]:
    """What X's rules for automated accounts ask for, as the operator stated it."""
    if facts.bot is None:
        return
    stated = facts.bot.automation or {}
    missing = []
    if not stated.get("label_enabled"):
        missing.append("that the account carries the Automated label")
    if not stated.get("operator_handle") and not stated.get("operator_contact"):
        missing.append("who operates it")
    if missing:
        yield Remark(
            PolicyRule.AUTOMATION_LABEL,
            f"the bot does not state {' nor '.join(missing)}; X asks for both: set it at X, then in the bot's automation",
        )
