"""DUPLICATE, NEAR_DUPLICATE: what was said before, by this bot, by another, or in the same thread."""

from collections.abc import Iterator

from services.bot_manager.domain.model import PolicyRule
from services.bot_manager.domain.policy.facts import Facts, Likeness, Remark, cool_down
from services.bot_manager.domain.policy.fingerprints import comparable, similarity


def duplicate(facts: Facts) -> Iterator[Remark]:
    """The same text. One finding a part."""
    yield from _within(facts)
    told: set[int] = set()
    for other in _in_time(facts):
        if other.same and other.part_index not in told:
            told.add(other.part_index)
            yield Remark(
                PolicyRule.DUPLICATE,
                f"{_who(other)} says the same at {other.time:%Y-%m-%d %H:%M} UTC; change the text{_cure(facts, other)}",
                other.part_index,
                "text",
                other.post_id,
            )


def near_duplicate(facts: Facts) -> Iterator[Remark]:
    """A text that is almost the same. One finding a part: of the most similar."""
    found = list(_in_time(facts))
    repeated = {other.part_index for other in found if other.same}
    best: dict[int, tuple[float, Likeness]] = {}
    for other in found:
        if other.part_index in repeated:
            continue
        mine = comparable(facts.post.parts[other.part_index].sent_text)
        likeness = similarity(mine, comparable(other.text))
        if likeness >= facts.limits.threshold and likeness > best.get(other.part_index, (0.0,))[0]:
            best[other.part_index] = (likeness, other)
    for index, (likeness, other) in sorted(best.items()):
        yield Remark(
            PolicyRule.NEAR_DUPLICATE,
            f"{_who(other)} says nearly the same ({likeness:.0%}) at {other.time:%Y-%m-%d %H:%M} UTC;"
            f" say it differently{_cure(facts, other)}",
            index,
            "text",
            other.post_id,
        )


def _within(facts: Facts) -> Iterator[Remark]:
    seen: dict[str, int] = {}
    if len(facts.post.parts) == 1:
        return
    for part in facts.post.parts:
        plain = comparable(part.sent_text)
        if plain and plain in seen and part in facts.parts:
            yield Remark(
                PolicyRule.DUPLICATE,
                f"it says the same as part {seen[plain]}; X refuses repeats, so change one of the two",
                part.index,
                "text",
            )
        seen.setdefault(plain, part.index)


def _in_time(facts: Facts) -> Iterator[Likeness]:
    at = facts.at or facts.now
    for other in facts.likenesses:
        window = cool_down(facts.bot, facts.limits) if other.ours else facts.limits.other_bots
        if abs(other.time - at) < window:
            yield other


def _who(other: Likeness) -> str:
    return "another post of the bot" if other.ours else "a post of another bot"


def _cure(facts: Facts, other: Likeness) -> str:
    if not other.ours:
        return ", since X forbids the same from several accounts"
    hours = cool_down(facts.bot, facts.limits).total_seconds() / 3600
    return f", or move it {hours:g} hours away"
