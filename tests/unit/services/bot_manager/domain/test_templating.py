"""The language of templates: means what Jinja2 means, and cannot run away."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from services.bot_manager.domain.templating.choosing import chooser
from services.bot_manager.domain.templating.evaluation import render
from services.bot_manager.domain.templating.filters import FILTERS, TESTS
from services.bot_manager.domain.templating.language import parse
from services.bot_manager.domain.templating.values import MAX_TEXT, Budget, TemplateError

NAMES: dict[str, Any] = {
    "name": "Grüezi wohl",
    "empty": "",
    "bot": {"handle": "acme", "labels": {"region": "ch", "team": "a"}},
    "now": datetime(2026, 3, 5, 7, 4, 9, tzinfo=UTC),
    "big": "A" * 4000,
}

SAME = [
    "plain {braces} and a newline\n",
    "{{ name }} {{- ' x' -}}  y",
    "{{ name|upper }} {{ name|lower|title }} {{ name|capitalize }} {{ '  a '|trim }}|",
    "{{ name|replace('o', '0') }} {{ name|replace('o', '0', 1) }} {{ name|truncate(6, True, '…', 0) }}",
    "{{ name|length }} {{ name|wordcount }} {{ name|reverse }} {{ name[0:4] }} {{ name[-1] }} {{ name[::-1] }}",
    "{{ missing|default('none') }} {{ empty|default('e', true) }} {{ missing is defined }} {{ name is defined }}",
    "{{ 7 // 2 }} {{ 7 % 2 }} {{ 7 / 2 }} {{ 1 + 2 * 3 }} {{ -3|abs }} {{ 2.456|round(1) }} {{ '42'|int + 1 }} {{ '1.5'|float }}",
    "{{ 'a' ~ 1 ~ 'b' }} {{ 'a' + 'b' }} {{ 1 < 2 <= 2 }} {{ 'rü' in name }} {{ 3 not in [1, 2] }}",
    "{{ 'yes' if name else 'no' }} {{ empty or 'other' }} {{ name and 1 }} {{ not name }}",
    "{% if bot.labels.region == 'de' %}de{% elif bot['labels']['region'] == 'ch' %}ch{% else %}?{% endif %}",
    "{% for x in [3, 1, 2]|sort %}{{ loop.index }}/{{ loop.length }}:{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for x in range(5) if x is odd %}{{ loop.index0 }}{{ x }}{{ loop.revindex }};{% endfor %}",
    "{% for x in [] %}x{% else %}nothing{% endfor %}",
    "{% for key, value in bot.labels.items() %}{{ key }}={{ value }} {% endfor %}",
    "{% for key, value in {'a': 1}|items %}{{ key }}{{ value }}{% endfor %}",
    "{% set x = 1 %}{% for i in range(3) %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}",
    "{% if true %}{% set y = 'kept' %}{% endif %}{{ y }}",
    "{{ [1, 2, 3]|join('-') }} {{ [1, 2]|sum }} {{ [2, 9]|max }} {{ [2, 9]|min }} {{ ['a', 'A', 'b']|unique|join }}",
    "{{ ['a', 'b']|first }}{{ ('a', 'b')|last }} {{ 'a b,c'.split(',')[1] }} {{ name.startswith('G') }}",
    "{{ now.year }} {{ now.strftime('%d.%m.%Y %H:%M %A %B %%') }} {{ now.isoformat() }} {{ now.weekday() }}",
    "{{ 'a&b c/ü'|urlencode }} {{ none is none }} {{ 4 is divisibleby(2) }} {{ 'a' is in(['a']) }}",
    "{% raw %}{{ not a variable }}{% endraw %}{# a comment #}.",
    "{{ bot.labels.get('region') }} {{ bot.labels.get('none', 'fallback') }} {{ bot.labels.keys()|join(',') }}",
]


@pytest.mark.parametrize("source", SAME)
def test_what_is_supported_means_what_it_means_in_jinja2(source: str) -> None:
    """People know Jinja2 and its documentation; a difference would be a trap."""
    jinja = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    assert written(source) == jinja.from_string(source).render(NAMES)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ 'a' * 1000000000 }}", "for numbers"),
        ("{{ [1] * 1000000000 }}", "for numbers"),
        ("{{ 2 ** 100000000 }}", "Pow"),
        ("{{ '%1000000000d' % 5 }}", "for numbers"),
        ("{{ '%1000000000d'|format(5) }}", "format"),
        ("{{ '{:1000000000}'.format(5) }}", "function"),
        ("{{ 'x'|center(1000000000) }}", "center"),
        ("{{ 'x'|indent(1000000000) }}", "indent"),
        ("{{ 'x'.ljust(1000000000) }}", "function"),
        ("{{ now.strftime('%1000000000d') }}", "directive"),
        ("{{ range(1000000000)|length }}", "longer"),
        ("{{ 1.5|round(1000000000, 'floor') }}", "digits"),
        ("{{ lipsum(100) }}", "lipsum"),
        ("{{ [1, 2]|random }}", "random"),
        ("{{ bot|pprint }}", "pprint"),
        ("{% for a in range(999) %}{% for b in range(999) %}{% endfor %}{% endfor %}", "steps"),
        ("{% for a in range(999) %}{{ big|upper|lower|upper }}{% endfor %}", "25000"),
        ("{% for a in range(999) %}{% if big|upper == 'x' %}{% endif %}{% endfor %}", "steps"),
        ("{% set a = big %}" + "{% set a = a ~ a %}" * 40, "25000"),
        ("{% set a = [1, 2] %}" + "{% set a = a + a %}" * 40, "longer"),
        ("{% set a = [1, 2] %}" + "{% set a = [a, a] %}" * 40 + "{{ a == a }}", "lists of lists"),
        ("{% set a = 7 %}" + "{% set a = a * a %}" * 40, "too large"),
        ("{{ '" + "a" * 200 + "'|replace('a', big) }}", "25000"),
        ("{{ '" + "a" * 200 + "'.replace('a', big) }}", "25000"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "Macro"),
        ("{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}", "recursive"),
        ("{% include 'x' %}", "Include"),
        ("{% import 'x' as y %}", "Import"),
        ("{% extends 'x' %}", "Extends"),
        ("{% filter upper %}x{% endfilter %}", "FilterBlock"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "deeply"),
        ("{{ " + "+".join("1" * 5000) + " }}", "deeply"),
        ("{{ 1" + "|abs" * 5000 + " }}", "deeply"),
        ("{% if 1 %}" * 900 + "{% endif %}" * 900, "deeply"),
        ("{{ 9" + "9" * 9000 + " }}", "too large"),
        ("{{ choose(*[1]) }}", "arguments with \\*"),
        ("a" * (MAX_TEXT + 1), "longer"),
    ],
)
def test_a_hostile_template_is_refused_before_it_costs_anything(source: str, told: str) -> None:
    """Whoever may write a post must not be able to stop all others from going out."""
    with pytest.raises(TemplateError, match=told):
        written(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ bot.__class__ }}",
        "{{ bot['__class__'] }}",
        "{{ now.__reduce__ }}",
        "{{ ''.join.__globals__ }}",
        "{{ choose.__code__ }}",
        "{{ self }}",
        "{{ name|attr('upper') }}",
        "{{ ().__class__.__base__.__subclasses__() }}",
    ],
)
def test_no_attribute_of_a_python_object_is_in_reach(source: str) -> None:
    """That is where escapes from sandboxes begin."""
    with pytest.raises(TemplateError):
        written(source)


@pytest.mark.parametrize(
    ("source", "variable"),
    [
        ("{{ nobody }}", "nobody"),
        ("{{ bot.nothing }}", "bot.nothing"),
        ("{{ bot['nothing'] }}", "bot['nothing']"),
        ("{% if nobody %}{% endif %}", "nobody"),
        ("{% for x in nobody %}{% endfor %}", "nobody"),
        ("{{ nobody|upper }}", "nobody"),
        ("{{ name == nobody }}", "nobody"),
        ("{{ name ~ nobody }}", "nobody"),
    ],
)
def test_a_variable_that_is_not_given_is_named(source: str, variable: str) -> None:
    """An empty place in a post would be noticed when it is public."""
    with pytest.raises(TemplateError) as raised:
        written(source)
    assert raised.value.variable == variable
    assert variable in str(raised.value)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 / 0 }}",
        "{{ 'a' < 1 }}",
        "{{ 5|length }}",
        "{{ bot.labels }}",
        "{{ [1]|sum(2, 3) }}",
        "{{ 1|round(1, 'up') }}",
        "{{ 5|items }}",
        "{{",
    ],
)
def test_what_fails_is_told_to_the_author(source: str) -> None:
    """Any other error would be taken for a defect of the product."""
    with pytest.raises(TemplateError):
        written(source)


def test_alternatives_are_the_same_for_ever() -> None:
    """A post that was previewed may wait for months, over many versions; these are the answers of version 1."""
    choose = chooser(42, 0)
    assert [choose(*"abcde") for _ in range(12)] == list("bebcdaacdeda")
    assert [chooser(seed, 0)("a", "b", "c") for seed in range(10)] == list("ccaabacaaa")
    assert chooser(42, 1)(*range(1000)) != chooser(42, 0)(*range(1000))


def test_alternatives_come_about_equally_often() -> None:
    """A draw that favours one makes posts alike, which X dislikes."""
    seen = [chooser(seed, 0)(*range(4)) for seed in range(4000)]
    assert all(900 < seen.count(one) < 1100 for one in range(4))


def written(source: str) -> str:
    budget = Budget()
    return render(parse(source, budget), NAMES, {"choose": chooser(1, 0)}, budget)


def test_the_documentation_names_every_filter_and_test() -> None:
    """People look there for what they may write."""
    page = (Path(__file__).resolve().parents[5] / "docs" / "content.md").read_text(encoding="utf-8")
    listed = page[page.index("Filters:") : page.index("A variable that")]
    filters, tests = (set(re.findall("`([a-z]+)`", part)) for part in listed.split("Tests:"))
    assert filters == FILTERS.keys()
    assert tests == TESTS.keys()
