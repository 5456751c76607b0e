"""MEDIA_MIX, ALT_TEXT: what hangs on the texts."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from services.bot_manager.domain.model import Part, PolicyRule
from services.bot_manager.domain.policy.facts import READY, Facts, Remark

MAX_MEDIA: Final = {"IMAGE": 4, "GIF": 1, "VIDEO": 1}


def media_mix(facts: Facts) -> Iterator[Remark]:
    """Four images, or one GIF, or one video; a poll, a quote and media exclude each other."""
    for part in facts.parts:
        wrong = _wrong_mix(facts, part)
        if wrong:
            yield Remark(PolicyRule.MEDIA_MIX, wrong, part.index, "media_ids")
        for medium_id in part.media_ids:
            if medium_id in facts.media and facts.media[medium_id].state != READY:
                message = f"medium {medium_id} is not ready; upload it again or leave it out"
                yield Remark(PolicyRule.MEDIA_MIX, message, part.index, "media_ids")
    yield from _exclusive(facts)


def alt_text(facts: Facts) -> Iterator[Remark]:
    """Who cannot see a medium has only its description."""
    for part in facts.parts:
        silent = [one for one in part.media_ids if one in facts.media and not facts.media[one].has_alt_text]
        if silent:
            yield Remark(
                PolicyRule.ALT_TEXT,
                f"{len(silent)} of its media have no alternative text; describe what they show",
                part.index,
                "media_ids",
            )


def _wrong_mix(facts: Facts, part: Part) -> str:
    """What X refuses of the part's media; empty if nothing. Of media that are not known only the number counts."""
    if len(part.media_ids) > MAX_MEDIA["IMAGE"]:
        return f"it has {len(part.media_ids)} media and X takes {MAX_MEDIA['IMAGE']}; leave some out"
    kinds = Counter(facts.media[one].kind for one in part.media_ids if one in facts.media)
    if len(kinds) > 1:
        return f"it mixes {' and '.join(sorted(kinds))}; X takes 4 images, or 1 GIF, or 1 video"
    for kind, count in kinds.items():
        if count > MAX_MEDIA.get(kind, count):
            return f"it has {count} of {kind} and X takes {MAX_MEDIA[kind]}; leave the others out"
    return ""


def _exclusive(facts: Facts) -> Iterator[Remark]:
    """Of the first part only: what hangs on the whole post goes out with it."""
    content, first = facts.post.content, facts.post.parts[0]
    held = [
        name
        for name, there in (
            ("media_ids", bool(first.media_ids)),
            ("poll", "poll" in content),
            ("quote_x_post_id", "quote_x_post_id" in content),
        )
        if there
    ]
    if len(held) > 1 and first in facts.parts:
        yield Remark(
            PolicyRule.MEDIA_MIX,
            f"X takes one of media, poll and quote in a post, this has {' and '.join(held)}; choose one",
            field=held[-1],
        )
