"""Renders the templates of posts. Implements `making.Composer`.

A template sees its own variables, and beside them `bot`, `now` (the time it goes out, on the bot's clock), and in a post of a schedule
`occurrence` and `item`. The same template, variables, time and seed give the same text for ever, so what a preview shows is what is
sent. A post without `template` is sent as written, braces and all.

A seed that nobody gave is drawn once and stored with the post; schedules give theirs.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from mesh.errors import InvalidArgument
from services.bot_manager.domain.making import Values
from services.bot_manager.domain.model import Bot, Part, PartState, Post
from services.bot_manager.domain.templating.choosing import chooser
from services.bot_manager.domain.templating.evaluation import render
from services.bot_manager.domain.templating.language import parse
from services.bot_manager.domain.templating.values import Budget, TemplateError
from services.bot_manager.domain.text import normalise

RESERVED: Final = frozenset({"bot", "now", "occurrence", "item", "choose", "range", "loop"})
"""Names that a post's own variables cannot have."""


class TemplateComposer:
    """`draw` gives a seed, 0 to 2³¹ - 1, at random."""

    def __init__(self, draw: Callable[[], int]) -> None:
        self._draw = draw

    def compose(self, bot: Bot, post: Post, at: datetime, values: Values) -> Post:
        """See the port."""
        options = post.content.get("template")
        if options is None:
            return replace(post, parts=tuple(_unrendered(part) for part in post.parts))
        variables: Mapping[str, str] = options.get("variables", {})
        taken = sorted(RESERVED & variables.keys())
        if taken:
            raise InvalidArgument(
                "INVALID_FIELD", f"{taken[0]!r} has a meaning of its own", field="post.template.variables"
            )
        seed = int(options["seed"]) if "seed" in options else self._draw()
        zone = ZoneInfo(bot.time_zone)
        budget = Budget()
        names = {**variables, **_plain(values, zone), "bot": _described(bot), "now": at.astimezone(zone)}
        return replace(
            post,
            content={**post.content, "template": {**options, "seed": seed}},
            parts=tuple(_rendered(post, part, names, seed, budget) for part in post.parts),
        )


def _unrendered(part: Part) -> Part:
    return part if part.state is PartState.PUBLISHED else replace(part, rendered_text="")


def _rendered(post: Post, part: Part, names: Mapping[str, Any], seed: int, budget: Budget) -> Part:
    """The part with its text. Raises InvalidArgument (TEMPLATE_FAILED)."""
    if part.state is PartState.PUBLISHED:
        return part
    field = "post.text" if len(post.parts) == 1 else f"post.parts[{part.index}].text"
    try:
        return replace(part, rendered_text=_text(part, names, seed, budget))
    except TemplateError as error:
        raise InvalidArgument(
            "TEMPLATE_FAILED",
            f"the template cannot be rendered: {error}",
            field=field,
            metadata={"part": str(part.index)} | ({"variable": error.variable} if error.variable else {}),
        ) from None


def _text(part: Part, names: Mapping[str, Any], seed: int, budget: Budget) -> str:
    functions = {"choose": chooser(seed, part.index)}
    text = normalise(render(parse(part.text, budget), names, functions, budget))
    if part.text and not text.strip():
        raise TemplateError("it renders to nothing")
    return text


def _described(bot: Bot) -> Mapping[str, Any]:
    """What a template may know of the bot."""
    return {
        "handle": bot.handle,
        "display_name": bot.display_name or bot.handle,
        "language": bot.language,
        "time_zone": bot.time_zone,
        "labels": dict(bot.labels),
    }


def _plain(value: Any, zone: ZoneInfo) -> Any:
    """Values as templates know them, times on the bot's clock."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one, zone) for name, one in value.items()}
    if isinstance(value, datetime):
        return value.astimezone(zone)
    return value
