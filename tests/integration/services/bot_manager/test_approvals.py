"""Approvals over the real chain, by two people."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from mesh.database import Database
from vivesphere.bot_manager.v1 import post_pb2
from vivesphere.bot_manager.v1 import post_service_pb2 as pb

from .desk import ANN, BEN, HOUR, Desk, at, desk_of, refusal

PENDING, SCHEDULED, DRAFT = (
    post_pb2.POST_STATE_PENDING_APPROVAL,
    post_pb2.POST_STATE_SCHEDULED,
    post_pb2.POST_STATE_DRAFT,
)
MANUAL = "APPROVAL_POLICY_MANUAL_POSTS"


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_of(database, tmp_path) as made:
        yield made


def approve(post: post_pb2.Post, **fields: str) -> pb.ApprovePostRequest:
    return pb.ApprovePostRequest(post_id=post.id, **fields)


async def update(desk: Desk, post: post_pb2.Post, who: str, **fields: object) -> post_pb2.Post:
    request = pb.UpdatePostRequest(post_id=post.id, post=post_pb2.Post(**fields))
    return (await desk.call("UpdatePost", request, who)).post


async def test_a_post_waits_for_a_second_person(desk: Desk) -> None:
    """What is approved goes out at its time; a repeat by the same person changes nothing."""
    post = await desk.post(await desk.bot(approval=MANUAL))
    assert (post.state, post.approval.decision) == (PENDING, post_pb2.APPROVAL_DECISION_PENDING)
    approved = (await desk.call("ApprovePost", approve(post, comment="fine", etag=post.etag), BEN)).post
    assert (approved.state, approved.scheduled_time) == (SCHEDULED, at(HOUR))
    assert (approved.approval.approver, approved.approval.comment) == (BEN, "fine")
    again = (await desk.call("ApprovePost", approve(post, etag=post.etag), BEN)).post
    assert again == approved
    assert await desk.kinds(post.id) == ["CREATED", "APPROVAL_REQUESTED", "APPROVED", "SCHEDULED"]


async def test_nobody_approves_what_they_made_or_last_changed(desk: Desk) -> None:
    """Neither by a session nor by an API key: the person counts."""
    post = await desk.post(await desk.bot(approval=MANUAL))
    refused = ("SELF_APPROVAL_REFUSED", "")
    assert await refusal(desk.call("ApprovePost", approve(post))) == refused
    key = desk.server.api_keys.add("editor", user_id=ANN)
    assert await refusal(desk.call("ApprovePost", approve(post), key=key)) == refused
    await update(desk, post, BEN, text="changed")
    assert await refusal(desk.call("ApprovePost", approve(post), BEN)) == refused
    assert await refusal(desk.call("ApprovePost", approve(post, etag=post.etag), "user-3")) == (
        "ETAG_MISMATCH",
        "etag",
    )
    assert (await desk.call("ApprovePost", approve(post), "user-3")).post.state == SCHEDULED


async def test_a_change_of_content_takes_the_approval_back(desk: Desk) -> None:
    """Another time does not: what was approved is what is said."""
    post = await desk.post(await desk.bot(approval=MANUAL))
    await desk.call("ApprovePost", approve(post), BEN)
    moved = await update(desk, post, ANN, scheduled_time=at(2 * HOUR))
    assert (moved.state, moved.approval.approver) == (SCHEDULED, BEN)
    changed = await update(desk, post, ANN, text="something else")
    assert (changed.state, changed.approval.approver) == (PENDING, "")
    mask = FieldMask(paths=["scheduled_time"])
    request = pb.UpdatePostRequest(post_id=post.id, post=post_pb2.Post(), update_mask=mask)
    drafted = (await desk.call("UpdatePost", request)).post
    assert (drafted.state, drafted.HasField("approval")) == (DRAFT, False)


async def test_a_rejected_post_goes_back_with_a_reason(desk: Desk) -> None:
    """Its author reads what to change; a repeat changes nothing."""
    post = await desk.post(await desk.bot(approval=MANUAL))
    request = pb.RejectPostRequest(post_id=post.id, reason="too loud", etag=post.etag)
    rejected = (await desk.call("RejectPost", request, BEN)).post
    assert (rejected.state, rejected.HasField("scheduled_time")) == (DRAFT, False)
    assert (rejected.approval.decision, rejected.approval.comment) == (
        post_pb2.APPROVAL_DECISION_REJECTED,
        "too loud",
    )
    assert (await desk.call("RejectPost", request, BEN)).post == rejected
    assert await refusal(desk.call("RejectPost", request, "user-3")) == ("ETAG_MISMATCH", "etag")
    again = await update(desk, post, ANN, text="quieter", scheduled_time=at(HOUR))
    assert (again.state, again.approval.decision) == (PENDING, post_pb2.APPROVAL_DECISION_PENDING)


async def test_a_post_now_goes_out_once_it_is_approved(desk: Desk) -> None:
    """However long that took: it was to go out at once, not at a time that has passed."""
    post = await desk.post(await desk.bot(approval=MANUAL), publish_now=True)
    assert post.state == PENDING
    await desk.clock.advance(3 * HOUR)
    approved = (await desk.call("ApprovePost", approve(post), BEN)).post
    assert (approved.state, approved.scheduled_time) == (SCHEDULED, at(3 * HOUR))


async def test_what_is_too_late_is_not_approved(desk: Desk) -> None:
    """A time that came a while ago is late but good; beyond the latest time it needs a new one."""
    bot = await desk.bot(approval=MANUAL)
    first, second = await desk.post(bot, "one"), await desk.post(bot, "two")
    await desk.clock.advance(1.5 * HOUR)
    assert (await desk.call("ApprovePost", approve(first), BEN)).post.state == SCHEDULED
    await desk.clock.advance(HOUR)
    assert (await refusal(desk.call("ApprovePost", approve(second), BEN)))[0] == "INVALID_STATE"


async def test_trying_again_is_no_way_around(desk: Desk) -> None:
    """A post that was called off while it waited waits again; one that was approved does not."""
    bot = await desk.bot(approval=MANUAL)
    waiting, approved = await desk.post(bot, "one"), await desk.post(bot, "two")
    await desk.call("ApprovePost", approve(approved), BEN)
    for post, state in ((waiting, PENDING), (approved, SCHEDULED)):
        await desk.call("CancelPost", pb.CancelPostRequest(post_id=post.id))
        assert (await desk.call("RetryPost", pb.RetryPostRequest(post_id=post.id))).post.state == state


async def test_a_bot_without_the_policy_waits_for_nobody(desk: Desk) -> None:
    """There is nothing to approve then."""
    post = await desk.post(await desk.bot())
    assert (post.state, post.HasField("approval")) == (SCHEDULED, False)
    assert (await refusal(desk.call("ApprovePost", approve(post), BEN)))[0] == "INVALID_STATE"
