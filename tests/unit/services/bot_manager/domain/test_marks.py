"""What X makes clickable, by cases of twitter-text."""

import pytest

from services.bot_manager.domain.marks import cashtags, hashtags, mentions, urls


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@one and @Two_2, @one again", ["one", "Two_2"]),
        ("RT @one: hi", ["one"]),
        ("mail me@example.com", []),
        ("@@no @é", []),
        ("＠wide", ["wide"]),
        ("see https://x.com/@name", []),
    ],
)
def test_mentions(text: str, expected: list[str]) -> None:
    """An address of mail mentions nobody."""
    assert mentions(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#one #Two2 #été #日本", ["one", "Two2", "été", "日本"]),
        ("#1 is no tag, #1st is", ["1st"]),
        ("a#b &#c #d#", []),
        ("#️⃣ is a keycap", []),
        ("https://example.com/#part", []),
    ],
)
def test_hashtags(text: str, expected: list[str]) -> None:
    """A number alone is none."""
    assert hashtags(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$BTC, $eth. $BTC", ["BTC", "eth"]),
        ("$BRK.B $X_Y", ["BRK.B", "X_Y"]),
        ("$5 US$AB $TOOLONGG", []),
    ],
)
def test_cashtags(text: str, expected: list[str]) -> None:
    """A price is none, and the same one counts once."""
    assert cashtags(text) == expected


def test_urls_are_as_written() -> None:
    """With their scheme or without."""
    assert urls("a https://example.com/x?y=1, b example.com.") == ["https://example.com/x?y=1", "example.com"]
