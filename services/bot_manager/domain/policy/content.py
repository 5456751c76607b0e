"""EMPTY, TOO_LONG, CASHTAGS, MENTIONS: what the text itself says."""

from collections.abc import Iterator

from services.bot_manager.domain.marks import cashtags, mentions
from services.bot_manager.domain.model import Bot, PolicyRule
from services.bot_manager.domain.policy.facts import Facts, Remark, max_weight
from services.bot_manager.domain.text import LINK_WEIGHT, weighted_length


def empty(facts: Facts) -> Iterator[Remark]:
    """A part without anything to show. A poll hangs on the first part, and X wants a text with it."""
    for part in facts.parts:
        if not part.sent_text.strip() and not part.media_ids:
            yield Remark(
                PolicyRule.EMPTY, "it has neither text nor media; write something", part.index, "text"
            )


def too_long(facts: Facts) -> Iterator[Remark]:
    """A text beyond what the account may send."""
    most = max_weight(facts.bot)
    for part in facts.parts:
        if _is_surely_short(part.sent_text, most):
            continue
        weight = weighted_length(part.sent_text)
        if weight > most:
            yield Remark(
                PolicyRule.TOO_LONG,
                f"its weighted length is {weight} and the account may send {most}; shorten it by {weight - most} or split it",
                part.index,
                "text",
            )


def too_many_cashtags(facts: Facts) -> Iterator[Remark]:
    """X takes one cashtag a post."""
    for part in facts.parts:
        found = cashtags(part.sent_text)
        if len(found) > 1:
            named = ", ".join(f"${tag}" for tag in found)
            yield Remark(
                PolicyRule.CASHTAGS,
                f"it has {len(found)} cashtags ({named}) and X takes one; leave out the others",
                part.index,
                "text",
            )


def unasked_mentions(facts: Facts) -> Iterator[Remark]:
    """Whoever is mentioned without having asked may report the bot for it. In a reply to them they are named anyway."""
    if "reply_to_x_post_id" in facts.post.content:
        return
    known = _own_handles(facts.bot)
    for part in facts.parts:
        found = [name for name in mentions(part.sent_text) if name.casefold() not in known]
        if found:
            yield Remark(
                PolicyRule.MENTIONS,
                f"it mentions {', '.join('@' + name for name in found)}; X forbids bots to mention accounts that did not ask for it",
                part.index,
                "text",
            )


def _own_handles(bot: Bot | None) -> set[str]:
    if bot is None:
        return set()
    operator = str((bot.automation or {}).get("operator_handle", ""))
    return {bot.handle.casefold(), operator.casefold()}


def _is_surely_short(text: str, most: int) -> bool:
    """Without counting: no code point weighs more than 2, and only what has a dot can be a link that weighs more than it is long."""
    return len(text) * 2 + text.count(".") * LINK_WEIGHT <= most
