"""Files of posts: what a row may be, how what is wrong is told, and that what is given out can be taken in."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from services.bot_manager.convert.exporting import CsvFile, JsonFile
from services.bot_manager.convert.importing import MAX_ROWS, read_csv, read_json
from services.bot_manager.domain import rules
from services.bot_manager.domain.importing import Candidate, File, RowError
from services.bot_manager.domain.model import Post
from services.bot_manager.domain.rules import Draft, DraftPart

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
BOT = "0190c6a1-0000-7000-8000-000000000001"
ID = "0190c6a1-0000-7000-8000-0000000000"

Item = Candidate | Sequence[RowError]


def rows(content: str) -> list[Item]:
    return list(read_csv(content, BERLIN, BOT).items)


def told(items: Sequence[Item]) -> list[tuple[int, str, str]]:
    errors = [error for item in items if not isinstance(item, Candidate) for error in item]
    return [(error.row, error.field, error.reason) for error in errors]


def drafts(file: File) -> list[Draft]:
    return [item.draft for item in file.items if isinstance(item, Candidate)]


def test_a_row_is_a_post_and_a_thread_is_several_rows() -> None:
    """Quoted as RFC 4180 says; an empty cell is as if it were not there."""
    [one, thread] = rows(
        "thread,text,scheduled_time,made_with_ai\r\n"
        'a,"first, ""quoted""\nline",2027-01-01T09:00:00Z,true\r\n'
        ",alone,,\r\n"
        "a,second,,\r\n"
    )
    assert isinstance(one, Candidate)
    assert isinstance(thread, Candidate)
    assert one.rows == (1, 3)
    assert one.draft.parts == (DraftPart('first, "quoted"\nline'), DraftPart("second"))
    assert one.draft.scheduled_time == datetime(2027, 1, 1, 9, tzinfo=UTC)
    assert one.draft.content == {"made_with_ai": True}
    assert (thread.rows, thread.draft) == ((2,), Draft(text="alone"))


@pytest.mark.parametrize(
    ("time", "utc"),
    [
        ("2027-01-15T09:00:00", "2027-01-15T08:00:00"),
        ("2027-07-15 09:00", "2027-07-15T07:00:00"),
        ("2027-07-15T09:00:00+05:30", "2027-07-15T03:30:00"),
        ("2027-03-28T02:30:00", "2027-03-28T01:00:00"),
        ("2027-10-31T02:30:00", "2027-10-31T00:30:00"),
    ],
    ids=["winter", "summer", "its own", "in the gap: the first instant after it", "twice: the earlier"],
)
def test_times_without_a_zone_are_those_on_the_wall(time: str, utc: str) -> None:
    """Of the zone that was asked for, in both forms of file."""
    expected = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert drafts(read_csv(f"text,scheduled_time\na,{time}\n", BERLIN, BOT))[0].scheduled_time == expected
    for name in ("scheduledTime", "scheduled_time"):
        content = json.dumps([{"text": "a", name: time}])
        assert drafts(read_json(content, BERLIN, BOT))[0].scheduled_time == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("text,scheduled_time\na,tomorrow\n", [(1, "scheduled_time", "INVALID_FIELD")]),
        ("text,made_with_ai\na,maybe\n", [(1, "made_with_ai", "INVALID_FIELD")]),
        ("text,media_ids\na,no-uuid\n", [(1, "media_ids[0]", "INVALID_FIELD")]),
        ("text,queue\na,no blanks\n", [(1, "queue", "INVALID_FIELD")]),
        ("text,poll\na,{\n", [(1, "poll", "INVALID_FIELD")]),
        ("text,queue\na\nb,q\n", [(1, "", "INVALID_FIELD")]),
        ("thread,text,queue\nt,a,q\nt,b,other\n", [(2, "queue", "CONFLICTING_FIELD")]),
    ],
)
def test_what_is_wrong_is_told_by_row_and_column(content: str, expected: list[tuple[int, str, str]]) -> None:
    """As CreatePost would have told it."""
    assert told(rows(content)) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("text", [(1, "", "INVALID_FIELD")]),
        ({"txt": "a"}, [(1, "txt", "UNKNOWN_FIELD")]),
        ({"text": 5}, [(1, "text", "INVALID_FIELD")]),
        ({"text": "a\0b"}, [(1, "text", "INVALID_FIELD")]),
        ({"text": "a", "botId": ID + "99"}, [(1, "bot_id", "CONFLICTING_FIELD")]),
        ({"text": "a", "scheduledTime": "2200-01-01T00:00:00Z"}, [(1, "scheduled_time", "INVALID_FIELD")]),
        ({"text": "a", "state": "POST_STATE_PUBLISHED", "createTime": "2020-01-01T00:00:00Z"}, []),
    ],
)
def test_json_is_read_strictly(row: object, expected: list[tuple[int, str, str]]) -> None:
    """A misspelt field is an error and not a post without it; what is output only is passed over."""
    assert told(list(read_json(json.dumps([row]), BERLIN, BOT).items)) == expected


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (read_csv, ""),
        (read_csv, "headline\na\n"),
        (read_csv, "text,text\na,b\n"),
        (read_csv, "queue\na\n"),
        (read_csv, 'text\n"open\n'),
        (read_csv, "text\n" + "a\n" * (MAX_ROWS + 1)),
        (read_json, "{}"),
        (read_json, "[1,"),
        (read_json, "[" * 100_000),
        (read_json, json.dumps([1] * (MAX_ROWS + 1))),
    ],
)
def test_what_is_no_file_of_posts_is_refused(
    read: Callable[[str, ZoneInfo, str], File], content: str
) -> None:
    """As a whole, before any row is looked at."""
    with pytest.raises(InvalidArgument) as refused:
        read(content, BERLIN, BOT)
    assert refused.value.violations[0].field == "content"


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=80).filter(
    str.strip
)
IDS = st.lists(st.integers(10, 99).map(lambda number: f"{ID}{number}"), max_size=4, unique=True).map(tuple)
CONTENT = st.fixed_dictionaries(
    {},
    optional={
        "reply_to_x_post_id": st.from_regex(r"[0-9]{1,19}", fullmatch=True),
        "reply_settings": st.sampled_from(["REPLY_SETTINGS_VERIFIED", "REPLY_SETTINGS_FOLLOWING"]),
        "community_id": st.just("12"),
        "made_with_ai": st.just(True),
        "paid_partnership": st.just(True),
        "poll": st.just({"options": ["a, b", 'c "d"'], "duration": "300s"}),
        "template": st.fixed_dictionaries(
            {"variables": st.just({"name": "x,y"}), "seed": st.integers(1, 99)}
        ),
    },
)
DRAFTS = st.builds(
    Draft,
    parts=st.lists(st.builds(DraftPart, TEXT, IDS), min_size=1, max_size=4).map(tuple),
    content=CONTENT,
    queue=st.sampled_from(["", "news"]),
    scheduled_time=st.none() | st.integers(0, 10**6).map(lambda minutes: NOW + timedelta(minutes=minutes)),
    latest_publish_time=st.none() | st.just(NOW + timedelta(days=800)),
)


@given(st.lists(DRAFTS, max_size=4), st.sampled_from([(CsvFile, read_csv), (JsonFile, read_json)]))
def test_what_is_given_out_can_be_taken_in(
    given_drafts: list[Draft], form: tuple[type, Callable[..., File]]
) -> None:
    """Every post as it was, in its order; nothing is changed on the way."""
    kind, read = form
    posts = [stored(number, draft) for number, draft in enumerate(given_drafts)]
    file = kind()
    content = file.beginning() + b"".join(file.render(post) for post in posts) + file.end
    taken = drafts(read(content.decode(), BERLIN, BOT))
    assert [stored(number, draft) for number, draft in enumerate(taken)] == posts


def stored(number: int, draft: Draft) -> Post:
    post = rules.new_post(f"{ID}{number:02}", BOT, draft, "ann", NOW)
    return rules.create(post, draft.scheduled_time, timedelta(days=900)).post
