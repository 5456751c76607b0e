"""Text: how X counts and what X returns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import text


@pytest.mark.parametrize(
    ("content", "weight"),
    [
        ("", 0),
        ("a" * 280, 280),
        ("Łódź, žluťoučký, Привет", 23),
        ("“quotes” – dashes — and…", 25),
        ("日本語", 6),
        ("e\u0301", 1),
        ("😀", 2),
        ("👩‍👩‍👧‍👦", 2),
        ("👍🏽", 2),
        ("🇪🇺🇵🇱", 4),
        ("1️⃣", 2),
        ("❤️", 2),
        ("🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", 2),
        ("a😀b", 4),
        ("see https://example.com/" + "x" * 100, 27),
        ("see example.com now", 31),
        ("(https://example.com/a_(b)).", 26),
        ("mail bob@example.com", 20),
        ("not.alink and e.g. this", 23),
    ],
)
def test_weight_follows_twitter_text(content: str, weight: int) -> None:
    """The manager counts by the same public rules; a difference would refuse or cut posts."""
    assert text.weight(content) == weight


def test_links_become_short_links_with_entities() -> None:
    """Reconciling must see the rewritten text, as with X."""
    shown = text.render("A & B: https://example.com/a?b=1&c=2. #one @bob $TSLA")
    (url,) = shown.entities["urls"]
    assert shown.text[url["start"] : url["end"]] == url["url"]
    assert shown.text.startswith("A &amp; B: https://t.co/")
    assert url["expanded_url"] == "https://example.com/a?b=1&c=2"
    for kind, name, value in [
        ("hashtags", "tag", "one"),
        ("mentions", "username", "bob"),
        ("cashtags", "tag", "TSLA"),
    ]:
        (entity,) = shown.entities[kind]
        assert entity[name] == value
        assert shown.text[entity["start"] : entity["end"]][1:] == value


def test_the_same_target_has_the_same_short_link() -> None:
    """Deterministic links make tests and demos repeatable."""
    assert text.t_co("https://example.com") == text.t_co("https://example.com")
    assert text.t_co("https://example.com") != text.t_co("https://example.org")
    assert len(text.t_co("https://example.com")) == text.LINK_WEIGHT


@given(st.text(max_size=300))
def test_any_text_is_rendered_without_markup(content: str) -> None:
    """No text of a post can smuggle a tag into what X returns."""
    shown = text.render(content).text
    assert "<" not in shown
    assert ">" not in shown
    assert text.weight(content) >= 0
