"""The contract's PostTemplate, in ProtoJSON, as somebody's draft."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from services.bot_manager.domain import rules
from services.bot_manager.domain.model import Document
from services.bot_manager.domain.recurrence.model import Occurrence, Schedule
from services.bot_manager.domain.recurrence.timetable import draw

SEEDS: Final = 2**31
_PARTS: Final = ("text", "parts", "media_ids")
_DURATION = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)s")


def draft_of(template: Document) -> rules.Draft:
    """The draft that the template describes."""
    return rules.Draft(
        text=template.get("text", ""),
        media_ids=_ids(template),
        parts=tuple(rules.DraftPart(part.get("text", ""), _ids(part)) for part in template.get("parts", ())),
        content={name: value for name, value in template.items() if name not in _PARTS},
    )


def seeded(draft: rules.Draft, schedule: Schedule, occurrence: Occurrence) -> rules.Draft:
    """With the seed that schedule and nominal time decide, if it is a template without one."""
    template = draft.content.get("template")
    if template is None or "seed" in template:
        return draft
    seed = draw(schedule.id, occurrence.nominal_time, "seed", SEEDS)
    return replace(draft, content={**draft.content, "template": {**template, "seed": seed}})


def occurrence_values(occurrence: Occurrence, number: int) -> Mapping[str, Any]:
    """What templates may say of the occurrence: all as on the schedule's clock. `number` counts from 1."""
    local = occurrence.local_time
    return {
        "occurrence": {
            "number": number,
            "time": local.isoformat(timespec="seconds"),
            "date": f"{local:%Y-%m-%d}",
            "clock": f"{local:%H:%M}",
            "weekday": f"{local:%A}",
        }
    }


def templates_of(content: Document) -> Iterator[tuple[str, Document]]:
    """Every post that a schedule's content describes, with the path of its field."""
    if "text" in content:
        yield "text", {"text": content["text"]}
    if "post" in content:
        yield "post", content["post"]
    if "feed" in content:
        yield "feed.post", content["feed"]["post"]
    for index, item in enumerate(content.get("pool", {}).get("items", ())):
        yield f"pool.items[{index}]", item


def duration(text: str | None) -> timedelta:
    """A duration in ProtoJSON; nothing for None."""
    match = _DURATION.fullmatch(text or "0s")
    return timedelta(seconds=float(match[1])) if match else timedelta()


def _ids(holder: Document) -> tuple[str, ...]:
    return tuple(one.lower() for one in holder.get("media_ids", ()))
