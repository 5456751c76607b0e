"""TIMING, URL_PRICE, BUDGET: when it goes out and what it costs."""

from collections.abc import Iterator
from dataclasses import replace

from services.bot_manager.domain.marks import urls
from services.bot_manager.domain.model import PolicyRule
from services.bot_manager.domain.policy.facts import Facts, Remark

MICROS = 1_000_000


def timing(facts: Facts) -> Iterator[Remark]:
    """Times at which the bot is silent by its own policy."""
    if facts.silent_until is not None:
        yield Remark(
            PolicyRule.TIMING,
            f"the bot is silent at this time and would publish it at {facts.silent_until:%Y-%m-%d %H:%M} UTC; choose another time",
            field="scheduled_time",
        )
    if facts.nearest is not None:
        yield Remark(
            PolicyRule.TIMING,
            f"another post of the bot goes out at {facts.nearest:%Y-%m-%d %H:%M:%S} UTC, closer than its policy allows; move one of the two",
            field="scheduled_time",
        )


def url_price(facts: Facts) -> Iterator[Remark]:
    """X charges posts with a link many times as much."""
    if facts.prices is None:
        return
    for part in facts.parts:
        if not urls(part.sent_text):
            continue
        cost = facts.prices.part(facts.post, part)
        plain = facts.prices.part(facts.post, replace(part, text="without a link", rendered_text=""))
        if cost > plain:
            yield Remark(
                PolicyRule.URL_PRICE,
                f"its link makes it cost ${cost / MICROS:.3f} instead of ${plain / MICROS:.3f}; leave it out if it need not be there",
                part.index,
                "text",
            )


def budget(facts: Facts) -> Iterator[Remark]:
    """What is left of the money."""
    if facts.budget:
        yield Remark(PolicyRule.BUDGET, facts.budget)
