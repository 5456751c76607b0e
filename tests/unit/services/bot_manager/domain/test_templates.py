"""Posts with templates: what their author may name, and that what was seen is what is sent."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mesh.errors import InvalidArgument
from services.bot_manager.domain.making import Maker
from services.bot_manager.domain.model import Bot, BotState, Part, PartState, PolicyRule, Post, PostState
from services.bot_manager.domain.templates import TemplateComposer
from tests.fakes.making import PlainInspector, PlainShelf

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
BOT = Bot("b", "acme", BotState.ACTIVE, NOW, NOW, time_zone="Europe/Zurich", labels={"region": "ch"})
COMPOSER = TemplateComposer(lambda: 4711)
MAKER = Maker(PlainShelf(), COMPOSER, PlainInspector())


def post(*texts: str, **template: Any) -> Post:
    parts = tuple(Part(index, text) for index, text in enumerate(texts))
    return Post("p", "b", PostState.DRAFT, parts, NOW, NOW, content={"template": template})


def sent(*texts: str, at: datetime = NOW, values: Any = None, **template: Any) -> list[str]:
    return [
        part.sent_text for part in COMPOSER.compose(BOT, post(*texts, **template), at, values or {}).parts
    ]


def test_a_post_without_template_is_sent_as_written() -> None:
    """Braces in a text that is none are nobody's business."""
    plain = replace(post("{{ choose('a') }} {%"), content={})
    assert COMPOSER.compose(BOT, plain, NOW, {}) == plain


def test_a_template_sees_its_variables_the_bot_and_the_time_on_the_bots_clock() -> None:
    """People think in their own time zone."""
    text = "{{ what }} of @{{ bot.handle }} ({{ bot.display_name }}, {{ bot.labels.region }}) at {{ now.strftime('%H:%M') }}"
    assert sent(text, variables={"what": "news"}) == ["news of @acme (acme, ch) at 14:00"]


def test_a_template_of_a_schedule_sees_occurrence_and_item() -> None:
    """That is what feeds are posted with."""
    values = {"item": {"title": "A", "published": NOW}, "occurrence": {"number": 3}}
    text = "{{ item.title }} {{ item.published.strftime('%H:%M') }} {{ occurrence.number }}"
    assert sent(text, values=values) == ["A 14:00 3"]


def test_the_same_seed_gives_the_same_text_and_a_missing_one_is_chosen_once() -> None:
    """The preview is what is sent."""
    text = "{{ choose('a', 'b', 'c', 'd', 'e', 'f') }}" * 6
    chosen = COMPOSER.compose(BOT, post(text), NOW, {})
    assert chosen.content["template"]["seed"] == 4711
    assert COMPOSER.compose(BOT, chosen, NOW, {}) == chosen
    assert sent(text, seed=4711) == [chosen.parts[0].rendered_text]
    assert sent(text, seed=0) != sent(text, seed=1)


def test_parts_choose_independently() -> None:
    """The same alternative in every part would look like a machine."""
    text = "{{ choose('a', 'b', 'c', 'd', 'e', 'f') }}" * 6
    first, second = sent(text, text, seed=1)
    assert first != second


@pytest.mark.parametrize(
    ("texts", "field"), [(("{{ x }}",), "post.text"), (("a", "{{ x }}"), "post.parts[1].text")]
)
def test_a_variable_that_is_not_given_refuses_the_post_and_is_named(
    texts: tuple[str, ...], field: str
) -> None:
    """Better told to the author now than seen by the public later."""
    with pytest.raises(InvalidArgument) as raised:
        sent(*texts)
    assert raised.value.reason == "TEMPLATE_FAILED"
    assert [one.field for one in raised.value.violations] == [field]
    assert raised.value.metadata["variable"] == "x"
    assert "'x'" in raised.value.message


def test_a_template_that_renders_to_nothing_is_refused() -> None:
    """Otherwise the braces themselves would go out."""
    with pytest.raises(InvalidArgument, match="nothing"):
        sent("{% if false %}x{% endif %} ")


def test_all_parts_of_a_post_are_rendered_under_one_budget() -> None:
    """Twenty-five parts must not be twenty-five times as dear as one."""
    part = "{% for n in range(900) %}{% if n == 1 %}x{% endif %}{% endfor %}"
    assert sent(part) == ["x"]
    with pytest.raises(InvalidArgument, match="too many steps"):
        sent(*[part] * 25)


@pytest.mark.parametrize("name", ["bot", "now", "item", "choose", "loop"])
def test_a_variable_cannot_take_a_name_that_has_a_meaning(name: str) -> None:
    """One of the two would silently be another than its author thinks."""
    with pytest.raises(InvalidArgument):
        sent("x", variables={name: "y"})


def test_text_is_normalised_after_rendering() -> None:
    """Two halves of a letter may meet only then."""
    assert sent("e{{ accent }}", variables={"accent": "\u0301"}) == ["\u00e9"]


def test_a_part_that_is_on_x_keeps_the_text_it_was_sent_with() -> None:
    """What is public does not change because the rest is tried again."""
    begun = post("{{ now.hour }}", "{{ now.hour }}")
    begun = replace(
        begun, parts=(Part(0, "{{ now.hour }}", PartState.PUBLISHED, "1", NOW, (), "9"), begun.parts[1])
    )
    assert [part.rendered_text for part in COMPOSER.compose(BOT, begun, NOW, {}).parts] == ["9", "14"]


def test_a_post_that_is_no_template_any_more_forgets_what_it_was_rendered_to() -> None:
    """Otherwise the old text would be sent."""
    was = replace(post("new"), content={}, parts=(Part(0, "new", rendered_text="old"),))
    assert COMPOSER.compose(BOT, was, NOW, {}).parts[0].sent_text == "new"


async def test_a_draft_stays_unrendered_and_is_not_refused() -> None:
    """What it lacks may come with the schedule that takes it; its author is told all the same."""
    good = await MAKER.ready(BOT, post("{{ now }}"), None, NOW, {})
    assert (good.parts[0].rendered_text, good.findings) == ("", ())
    assert good.content["template"]["seed"] == 4711
    lacking = await MAKER.ready(BOT, post("a", "{{ item.title }}"), None, NOW, {})
    assert [(one.rule, one.part_index, one.field) for one in lacking.findings] == [
        (PolicyRule.TEMPLATE, 1, "text")
    ]
    with pytest.raises(InvalidArgument):
        await MAKER.ready(BOT, post("a", "{{ item.title }}"), NOW, NOW, {})
