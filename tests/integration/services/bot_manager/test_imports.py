"""Files of posts over the real chain: all or nothing, row by row, once for each request, and back again."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mesh.database import Database
from mesh.ids import new_id
from services.bot_manager.domain.model import Bot
from vivesphere.bot_manager.v1 import policy_pb2, post_pb2
from vivesphere.bot_manager.v1 import post_service_pb2 as pb

from .desk import Desk, desk_of, refusal

CSV, JSON = pb.IMPORT_FORMAT_CSV, pb.IMPORT_FORMAT_JSON
MIXED = (
    "thread,text,scheduled_time\n"
    ",right,2027-01-01T09:00:00Z\n"
    ",late,2026-01-01T09:00:00Z\n"
    "t,one,2027-01-01T10:00:00Z\n"
    f"t,{'x' * 281},\n"
    ",RIGHT,2027-01-01T11:00:00Z\n"
    f",{'y' * 281},\n"
)


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_of(database, tmp_path) as made:
        yield made


async def take_in(desk: Desk, bot: Bot, content: str, **fields: Any) -> pb.ImportPostsResponse:
    request = pb.ImportPostsRequest(bot_id=bot.id, content=content, **{"format": CSV, **fields})
    answer: pb.ImportPostsResponse = await desk.call("ImportPosts", request)
    return answer


async def stored(desk: Desk, bot: Bot) -> list[post_pb2.Post]:
    request = pb.ListPostsRequest(bot_id=bot.id, order_by="create_time")
    return list((await desk.call("ListPosts", request)).posts)


async def test_all_or_nothing(desk: Desk) -> None:
    """Unless asked otherwise no post is made of a file with a wrong row; each wrong row is told, repeats within the file too."""
    bot = await desk.bot()
    answer = await take_in(desk, bot, MIXED)
    assert [(error.row, error.field, error.reason) for error in answer.errors] == [
        (2, "scheduled_time", "TIME_IN_PAST"),
        (4, "text", "POLICY_VIOLATION"),
        (5, "text", "POLICY_VIOLATION"),
    ]
    assert (answer.row_count, answer.valid_post_count, list(answer.post_ids)) == (6, 2, [])
    assert await stored(desk, bot) == []


async def test_the_rows_that_are_right(desk: Desk) -> None:
    """In the order of the file; a draft may be too long as it may be when it is created."""
    bot = await desk.bot(approval="APPROVAL_POLICY_MANUAL_POSTS")
    dry = await take_in(desk, bot, MIXED, mode=pb.IMPORT_MODE_VALID_ROWS, dry_run=True)
    assert (dry.valid_post_count, list(dry.post_ids), dry.cost_usd_micros) == (2, [], 30_000)
    assert await stored(desk, bot) == []
    answer = await take_in(desk, bot, MIXED, mode=pb.IMPORT_MODE_VALID_ROWS)
    posts = await stored(desk, bot)
    assert [post.id for post in posts] == list(answer.post_ids)
    assert [(post.text[:5], post.state, post.origin) for post in posts] == [
        ("right", post_pb2.POST_STATE_PENDING_APPROVAL, post_pb2.POST_ORIGIN_IMPORT),
        ("yyyyy", post_pb2.POST_STATE_DRAFT, post_pb2.POST_ORIGIN_IMPORT),
    ]
    again = await take_in(desk, bot, MIXED, mode=pb.IMPORT_MODE_VALID_ROWS)
    assert again.errors[0].row == 1


async def test_a_repeat_answers_the_first_result(desk: Desk) -> None:
    """Whether posts were made or not; another file under the same id is refused."""
    bot, key = await desk.bot(), new_id()
    answer = await take_in(desk, bot, "text\none\ntwo\n", request_id=key)
    assert len(answer.post_ids) == 2
    assert await take_in(desk, bot, "text\none\ntwo\n", request_id=key) == answer
    assert len(await stored(desk, bot)) == 2
    reused = take_in(desk, bot, "text\nthree\n", request_id=key)
    assert await refusal(reused) == ("IDEMPOTENCY_KEY_REUSED", "request_id")
    wrong = await take_in(desk, bot, MIXED, request_id=new_id())
    assert wrong.errors


async def test_what_was_given_out_is_taken_in(desk: Desk) -> None:
    """By another bot, in both forms, with only what the filter asks for."""
    first = await desk.bot()
    content = (
        'thread,text,scheduled_time,queue\n,"a, ""b""",,news\nt,one,2027-01-01T09:00:00Z,\nt,two,,\n,c,,\n'
    )
    assert len((await take_in(desk, first, content)).post_ids) == 3
    for number, form in enumerate((CSV, JSON)):
        drafts = await desk.export(bot_id=first.id, format=form, filter="state = DRAFT")
        other = await desk.bot(f"other_{number}")
        assert not (await take_in(desk, other, drafts.decode(), format=form)).errors
        assert [(post.text, post.queue) for post in await stored(desk, other)] == [
            ('a, "b"', "news"),
            ("c", ""),
        ]
    whole = (await desk.export(bot_id=first.id)).decode()
    errors = (await take_in(desk, await desk.bot("third"), whole, format=JSON)).errors
    assert [(error.row, error.field, error.reason) for error in errors] == [
        (2, "text", "POLICY_VIOLATION"),
        (2, "parts[1].text", "POLICY_VIOLATION"),
    ]


async def test_what_cannot_be_given_out_is_told(desk: Desk) -> None:
    """Before the first byte."""
    bot = await desk.bot()
    assert (await refusal(desk.export(bot_id=new_id())))[0] == "BOT_NOT_FOUND"
    assert (await refusal(desk.export(bot_id=bot.id, filter="colour = red")))[0] == "INVALID_FILTER"
    assert await desk.export(bot_id=bot.id) == b"[\n]\n"
    assert (await refusal(take_in(desk, bot, "headline\n")))[1] == "content"
    assert (await refusal(take_in(desk, bot, "text\na\n", time_zone="Mars/Base")))[1] == "time_zone"


async def test_a_draft_is_taken_in_unrendered(desk: Desk) -> None:
    """It says the time at which it goes out, not that of the import; what its template lacks may come with its time."""
    bot = await desk.bot()
    timed = {
        "text": "at {{ now.strftime('%H:%M') }}",
        "template": {},
        "scheduled_time": "2027-01-01T09:00:00Z",
    }
    draft = {"text": "it is {{ now.strftime('%H:%M') }}", "template": {}}
    lacking = {"text": "about {{ topic }}", "template": {}}
    answer = await take_in(desk, bot, json.dumps([timed, draft, lacking]), format=JSON)
    assert (answer.valid_post_count, list(answer.errors)) == (3, [])
    posts = [part for post in await stored(desk, bot) for part in post.parts]
    assert [part.rendered_text for part in posts] == ["at 09:00", "", ""]
    found = [[finding.rule for finding in post.findings] for post in await stored(desk, bot)]
    assert found == [[], [], [policy_pb2.POLICY_RULE_TEMPLATE]]
