"""Weighted length. Vectors after twitter-text's conformance tests (validate.yml, extract.yml) and X's page on counting characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bot_manager.domain.text import links, normalise, weighted_length


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("", 0),
        ("a" * 280, 280),
        ("日本語", 6),
        ("¥ é ü ß", 7),
        ("cafe\u0301", 4),
        ("I’m “here”…", 12),
        ("😀", 2),
        ("👨‍👩‍👧‍👦", 2),
        ("👍🏽", 2),
        ("🇨🇭", 2),
        ("🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", 2),
        ("1️⃣", 2),
        ("❤️", 2),
        ("2026 © 5*3 #1", 14),
        ("see https://example.com/a/very/long/path?with=a&query=string#and-fragment now", 4 + 23 + 4),
        ("(https://example.com)", 1 + 23 + 1),
        ("http://example.com.", 23 + 1),
        ("https://en.wikipedia.org/wiki/Python_(language)", 23),
        ("example.com and www.example.de/x", 23 + 5 + 23),
        ("co.uk is not, vine.co is", 14 + 23 + 3),
        ("read e.g. this... now", 21),
        ("mail me@example.com", 19),
        ("version 1.2.3 of file.py", 24),
    ],
)
def test_a_text_weighs_what_x_says(text: str, weight: int) -> None:
    """A post that is one too heavy is refused by X when its time has come, which is too late."""
    assert weighted_length(text) == weight


@given(st.text(max_size=300))
def test_weight_is_that_of_the_normal_form_and_bounded(text: str) -> None:
    """However a text was typed, X sees its NFC; nothing weighs more than two a code point, links apart."""
    assert weighted_length(text) == weighted_length(normalise(text))
    found = list(links(normalise(text)))
    assert weighted_length(text) <= 2 * len(normalise(text)) + 23 * len(found)
    assert all(start < end for start, end in found)


def test_hostile_texts_are_counted_quickly() -> None:
    """The pattern of links must not backtrack without end."""
    for text in ("a." * 12_000, "http://" + "a" * 24_000, "https://a.com/" + "(" * 20_000, "🏴" * 20_000):
        weighted_length(text)
