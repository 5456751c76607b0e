"""Whether a post on X is the one that was asked for."""

from datetime import UTC, datetime, timedelta

import pytest

from sandbox.text import render
from services.bot_manager.domain.matching import asked, comparable, shown
from services.bot_manager.x.port import XPoll, XPost, XPostDraft
from services.bot_manager.x.reading import timeline

AT = datetime(2026, 1, 1, tzinfo=UTC)


def seen(text: str, **more: object) -> XPost:
    return XPost("1", text, AT, **more)  # type: ignore[arg-type]  # each case gives fields of XPost


@pytest.mark.parametrize(
    ("sent", "on_x"),
    [
        ("plain", "plain"),
        ("a & b < c > d", "a &amp; b &lt; c &gt; d"),
        ("caf\u00e9", "cafe\u0301"),
        ("  two  words \n and\tmore ", "two words and more"),
        ("see example.com", "see http://example.com"),
        ("see https://Example.COM/Path?q=A", "see https://example.com/Path?q=A"),
        ("see https://example.com/", "see https://example.com"),
        ("\u4e00\u4e8c", "\u4e00\u4e8c"),
    ],
)
def test_what_x_changes_in_a_text_does_not_hide_it(sent: str, on_x: str) -> None:
    """A post that is not recognised would be sent again."""
    assert asked(XPostDraft(sent)) == shown(seen(on_x))


@pytest.mark.parametrize(
    ("sent", "on_x"),
    [
        ("Hello", "hello"),
        ("number 1", "number 11"),
        ("https://example.com/a", "https://example.com/A"),
        ("https://example.com/a", "https://example.org/a"),
        ("one", "one two"),
        ("see https://x.com/acme/status/1/photo/1", "see"),
    ],
)
def test_another_text_is_another_post(sent: str, on_x: str) -> None:
    """A post that is taken for another would never go out."""
    assert asked(XPostDraft(sent)) != shown(seen(on_x))


@pytest.mark.parametrize(
    "link",
    [
        "https://t.co/AbCdEf1234",
        "https://x.com/acme/status/123/photo/1",
        "https://twitter.com/acme/status/123/video/1",
    ],
)
def test_the_link_to_a_posts_own_media_is_none_of_its_text(link: str) -> None:
    """X puts one behind every post with media, and only then."""
    assert asked(XPostDraft("look", media_ids=("1",))) == shown(seen(f"look {link}", media_count=1))
    assert asked(XPostDraft("", media_ids=("1",))) == shown(seen(link, media_count=1))
    assert asked(XPostDraft("look")) != shown(seen(f"look {link}"))


def test_the_link_to_the_quoted_post_is_none_of_its_text() -> None:
    """X shows what is quoted as a link at the end."""
    text = "so true https://x.com/other/status/99"
    assert asked(XPostDraft("so true", quote_of="99")) == shown(seen(text, quote_of="99"))
    assert asked(XPostDraft("so true", quote_of="98")) != shown(seen(text, quote_of="99"))


def test_the_names_of_the_answered_are_none_of_a_replys_text() -> None:
    """X puts them in front of a reply; elsewhere a name is part of the text."""
    draft = XPostDraft("thanks!", reply_to="7")
    assert asked(draft) == shown(seen("@one @two thanks!", reply_to="7"))
    assert asked(XPostDraft("@one thanks!", reply_to="7")) == shown(seen("@one thanks!", reply_to="7"))
    assert asked(XPostDraft("thanks!")) != shown(seen("@one thanks!"))


@pytest.mark.parametrize(
    ("draft", "other"),
    [
        (XPostDraft("t", reply_to="1"), seen("t")),
        (XPostDraft("t", reply_to="1"), seen("t", reply_to="2")),
        (XPostDraft("t", media_ids=("1", "2")), seen("t", media_count=1)),
        (XPostDraft("t", poll=XPoll(("a", "b"), timedelta(hours=1))), seen("t")),
        (XPostDraft("t", quote_of="1"), seen("t")),
    ],
)
def test_the_same_text_with_other_company_is_another_post(draft: XPostDraft, other: XPost) -> None:
    """A thread may say the same thing twice."""
    assert asked(draft) != shown(other)


@pytest.mark.parametrize(
    "text",
    [
        "read https://example.com/a?b=c&d=e and example.org/x, twice: https://example.com/a?b=c&d=e",
        "literally &amp; and &lt;b&gt;",
        "brackets (https://example.com/a_(b)) and dots...",
        "emoji \U0001f469\u200d\U0001f52c #tag $ABC @name https://example.com.",
        "cafe\u0301 & <na\u00efve>",
    ],
)
def test_a_text_is_recognised_as_x_gives_it_back(text: str) -> None:
    """By way of t.co links and entities, as the timeline has them."""
    given = render(text)
    document = {
        "data": [{"id": "1", "text": given.text, "created_at": AT.isoformat(), "entities": given.entities}],
        "meta": {"result_count": 1},
    }
    [found] = timeline(document).posts
    assert "t.co" not in found.text
    assert asked(XPostDraft(text)) == shown(found)


def test_the_one_form_is_final() -> None:
    """Bringing it there twice changes nothing."""
    text = "  A &amp; B  https://Example.com/  cafe\u0301 "
    assert comparable(comparable(text)) == comparable(text) == "A & B example.com caf\u00e9"
