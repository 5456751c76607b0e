"""Feeds as they are found in the wild, and as somebody made them who means harm."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mesh.errors import FailedPrecondition
from services.bot_manager.feeds.model import FeedBody, FeedItem, Validators
from services.bot_manager.feeds.parsing import MAX_ENTRIES, MAX_SUMMARY, MAX_TITLE, parse, plain_text

RSS = """<?xml version="1.0"?><rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>News</title>{}</channel></rss>"""
ATOM = """<?xml version="1.0" encoding="utf-8"?><feed xmlns="http://www.w3.org/2005/Atom"><title>News</title>{}</feed>"""


async def items(text: str | bytes, content_type: str = "application/xml") -> tuple[FeedItem, ...]:
    content = text.encode() if isinstance(text, str) else text
    return await parse(FeedBody(content, content_type, Validators()))


async def test_an_item_of_rss_is_read() -> None:
    """Markup is taken off, times are UTC."""
    (item,) = await items(
        RSS.format(
            "<item><title>A &amp;amp; B</title><link>https://example.com/1</link><guid>one</guid><dc:creator>Ada</dc:creator>"
            "<pubDate>Fri, 01 May 2026 14:00:00 +0200</pubDate>"
            "<description>&lt;p&gt;First&lt;/p&gt;&lt;p&gt;se&lt;b&gt;co&lt;/b&gt;nd&lt;script&gt;x()&lt;/script&gt;&lt;/p&gt;</description></item>"
        )
    )
    assert (item.title, item.link, item.author) == ("A & B", "https://example.com/1", "Ada")
    assert item.summary == "First second"
    assert item.published == datetime(2026, 5, 1, 12, tzinfo=UTC)


async def test_an_entry_of_atom_is_read() -> None:
    """The other common kind; its time of update stands in for that of publication."""
    (item,) = await items(
        ATOM.format(
            "<entry><id>urn:1</id><title type='html'>&lt;i&gt;A&lt;/i&gt;</title><link href='https://example.com/1'/>"
            "<author><name>Ada</name></author><updated>2026-05-01T12:00:00Z</updated><content type='html'>&lt;p&gt;Text&lt;/p&gt;</content></entry>"
        )
    )
    assert (item.title, item.link, item.author, item.summary) == ("A", "https://example.com/1", "Ada", "Text")
    assert item.published == datetime(2026, 5, 1, 12, tzinfo=UTC)


async def test_an_item_is_known_by_its_id_else_by_its_link() -> None:
    """A title that is corrected later must not make it another item."""
    entry = "<item><guid>one</guid><title>{}</title><link>https://example.com/{}</link></item>"
    first, changed = [
        (await items(RSS.format(entry.format(*names))))[0] for names in (("a", "1"), ("b", "2"))
    ]
    assert first.key == changed.key
    link = "<item><title>{}</title><link>https://example.com/{}</link></item>"
    first, changed, other = [
        (await items(RSS.format(link.format(*names))))[0] for names in (("a", "1"), ("b", "1"), ("a", "2"))
    ]
    assert first.key == changed.key != other.key
    assert len(await items(RSS.format(entry.format("a", "1") * 3))) == 1


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "file:///etc/passwd", "/relative", "https://a b", "x" * 9000]
)
async def test_a_link_that_is_none_is_left_out(link: str) -> None:
    """It would stand in a post."""
    (item,) = await items(RSS.format(f"<item><title>a</title><link>{link}</link></item>"))
    assert item.link == ""


@pytest.mark.parametrize(
    "text", ["", "hello", "<html><body>Not found</body></html>", "{}", "\0\1\2", "<" * 5000]
)
async def test_what_is_no_feed_is_refused(text: str) -> None:
    """A page that says 'moved' with status 200 is not an empty feed."""
    with pytest.raises(FailedPrecondition) as raised:
        await items(text)
    assert raised.value.reason == "CONTENT_UNAVAILABLE"


async def test_a_body_is_never_taken_for_the_name_of_a_file(tmp_path: Path) -> None:
    """The library would open it."""
    secret = tmp_path / "feed.xml"
    secret.write_text(RSS.format("<item><title>secret</title></item>"))
    with pytest.raises(FailedPrecondition):
        await items(str(secret))


async def test_entities_neither_grow_nor_read_files() -> None:
    """The oldest attacks on readers of XML."""
    rounds = "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    bomb = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">{rounds}]>'
    for found in await items(bomb + RSS.format("<item><title>&j;</title><guid>1</guid></item>")[21:]):
        assert len(found.title) <= MAX_TITLE
    file = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    for found in await items(file + RSS.format("<item><title>a&a;</title><guid>1</guid></item>")[21:]):
        assert "root" not in found.title


async def test_every_field_has_a_bound_and_holds_only_characters() -> None:
    """They go into templates and a database."""
    long = f"<item><title>{'t' * 9000}</title><description>{'s' * 99000}</description><author>{'a' * 9000}</author></item>"
    (item,) = await items(RSS.format(long))
    assert (len(item.title), len(item.summary), len(item.author)) == (MAX_TITLE, MAX_SUMMARY, 200)
    (odd,) = await items(
        RSS.format("<item><title>a&amp;#0;b&amp;#xD800;c</title><guid>&amp;#xD800;</guid></item>")
    )
    assert odd.title.encode().decode() == odd.title
    assert "\0" not in odd.title
    many = "".join(f"<item><title>{n}</title><guid>{n}</guid></item>" for n in range(MAX_ENTRIES + 5))
    assert len(await items(RSS.format(many))) == MAX_ENTRIES


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("plain", "plain"),
        ("<p>one</p><p>two</p>", "one two"),
        ("a<br>b", "a b"),
        ("<b>bo</b>ld", "bold"),
        ("1 &lt; 2 &amp; 3", "1 < 2 & 3"),
        ("<style>p{}</style>x<script>if (a<b) {}</script>y", "x y"),
        ("<img src=x onerror=y>z", "z"),
        ("<!-- c -->d", "d"),
        ("e\u0301", "\u00e9"),
    ],
)
def test_markup_becomes_what_a_person_reads(markup: str, text: str) -> None:
    """Posts are plain text."""
    assert plain_text(markup, 100) == text
