"""PostService."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc.aio

from mesh.errors import InvalidArgument
from mesh.paging import PageTokens, page_size
from services.bot_manager.convert.common import time_field
from services.bot_manager.convert.decisions import to_word
from services.bot_manager.convert.importing import reader
from services.bot_manager.convert.posts import from_entry, from_post, to_changed_draft, to_draft
from services.bot_manager.convert.previewing import from_preview, from_result
from services.bot_manager.domain.filters import POST_FIELDS
from services.bot_manager.domain.importing import Imports
from services.bot_manager.domain.listing import Condition, Operator
from services.bot_manager.domain.posts import Posts, When
from services.bot_manager.domain.previewing import Previews
from services.bot_manager.domain.resolving import Resolving
from services.bot_manager.servicers.caller import about_bot, about_post, actor, call_about, request_key
from services.bot_manager.servicers.exporting import Exporting
from services.bot_manager.servicers.pages import Pages
from services.bot_manager.servicers.watching import Watching
from vivesphere.bot_manager.v1 import post_service_pb2 as pb
from vivesphere.bot_manager.v1 import post_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class PostServicer(post_service_pb2_grpc.PostServiceServicer):
    """`wake` tells the publisher that a post may be due."""

    def __init__(
        self,
        posts: Posts,
        page_secret: bytes,
        *,
        previews: Previews,
        imports: Imports,
        resolving: Resolving,
        watching: Watching,
        wake: Callable[[], None],
    ) -> None:
        self._posts = posts
        self._previews = previews
        self._imports = imports
        self._resolving = resolving
        self._exporting = Exporting(posts)
        self._pages = Pages(page_secret, "bot_manager.posts", POST_FIELDS)
        self._story_pages = PageTokens(page_secret, "bot_manager.timeline")
        self._watching = watching
        self._wake = wake

    async def CreatePost(self, request: pb.CreatePostRequest, context: Context) -> pb.CreatePostResponse:
        """See the contract."""
        bot_id = about_bot(request.bot_id)
        when = _when(request, bot_id)
        key = request_key("CreatePost", request, request.request_id)
        post = await self._posts.create(bot_id, to_draft(request.post), actor(), key, when)
        about_post(post.id)
        self._wake()
        return pb.CreatePostResponse(post=from_post(post))

    async def GetPost(self, request: pb.GetPostRequest, context: Context) -> pb.GetPostResponse:
        """See the contract."""
        return pb.GetPostResponse(post=from_post(await self._posts.get(about_post(request.post_id))))

    async def ListPosts(self, request: pb.ListPostsRequest, context: Context) -> pb.ListPostsResponse:
        """See the contract."""
        bot_id = request.bot_id.lower()
        call_about(f"bots/{bot_id}/posts" if bot_id else "posts")
        always = (Condition("bot_id", Operator.EQUALS, bot_id),) if bot_id else ()
        page = await self._posts.list(self._pages.query(request, *always), bot_id)
        return pb.ListPostsResponse(
            posts=[from_post(post) for post in page.rows],
            next_page_token=self._pages.token(request, page, *always),
        )

    async def UpdatePost(self, request: pb.UpdatePostRequest, context: Context) -> pb.UpdatePostResponse:
        """See the contract."""
        post = await self._posts.update(
            about_post(request.post_id),
            request.post.etag,
            lambda stored: to_changed_draft(stored, request.post, request.update_mask),
            actor(),
        )
        self._wake()
        return pb.UpdatePostResponse(post=from_post(post))

    async def DeletePost(self, request: pb.DeletePostRequest, context: Context) -> pb.DeletePostResponse:
        """See the contract."""
        await self._posts.delete(about_post(request.post_id), request.etag)
        return pb.DeletePostResponse()

    async def ApprovePost(self, request: pb.ApprovePostRequest, context: Context) -> pb.ApprovePostResponse:
        """See the contract."""
        post = await self._posts.approve(about_post(request.post_id), request.etag, actor(), request.comment)
        self._wake()
        return pb.ApprovePostResponse(post=from_post(post))

    async def RejectPost(self, request: pb.RejectPostRequest, context: Context) -> pb.RejectPostResponse:
        """See the contract."""
        post = await self._posts.reject(about_post(request.post_id), request.etag, actor(), request.reason)
        return pb.RejectPostResponse(post=from_post(post))

    async def PreviewPost(self, request: pb.PreviewPostRequest, context: Context) -> pb.PreviewPostResponse:
        """See the contract."""
        bot_id = about_bot(request.bot_id) if request.bot_id else ""
        preview = await self._previews.preview(
            bot_id, to_draft(request.post), next_free_slot=request.next_free_slot
        )
        return from_preview(preview)

    async def ImportPosts(self, request: pb.ImportPostsRequest, context: Context) -> pb.ImportPostsResponse:
        """See the contract."""
        bot_id = about_bot(request.bot_id)
        result = await self._imports.run(
            bot_id,
            reader(request, bot_id),
            actor(),
            request_key("ImportPosts", request, request.request_id),
            dry_run=request.dry_run,
            partly=request.mode == pb.IMPORT_MODE_VALID_ROWS,
        )
        self._wake()
        return from_result(result)

    async def ExportPosts(
        self, request: pb.ExportPostsRequest, context: Context
    ) -> AsyncIterator[pb.ExportPostsResponse]:
        """See the contract."""
        async with aclosing(self._exporting.export(request, about_bot(request.bot_id))) as chunks:
            async for chunk in chunks:
                yield chunk

    async def CancelPost(self, request: pb.CancelPostRequest, context: Context) -> pb.CancelPostResponse:
        """See the contract."""
        post = await self._posts.cancel(about_post(request.post_id), request.etag, actor(), request.reason)
        return pb.CancelPostResponse(post=from_post(post))

    async def RetryPost(self, request: pb.RetryPostRequest, context: Context) -> pb.RetryPostResponse:
        """See the contract."""
        post = await self._posts.retry(
            about_post(request.post_id),
            request.etag,
            time_field(request, "scheduled_time"),
            actor(),
            request_key("RetryPost", request, request.request_id),
        )
        self._wake()
        return pb.RetryPostResponse(post=from_post(post))

    async def ResolvePost(self, request: pb.ResolvePostRequest, context: Context) -> pb.ResolvePostResponse:
        """See the contract."""
        post = await self._resolving.resolve(
            about_post(request.post_id),
            request.etag,
            to_word(request, actor()),
            request_key("ResolvePost", request, request.request_id),
        )
        self._wake()
        return pb.ResolvePostResponse(post=from_post(post))

    async def GetPostTimeline(
        self, request: pb.GetPostTimelineRequest, context: Context
    ) -> pb.GetPostTimelineResponse:
        """See the contract."""
        post_id = about_post(request.post_id)
        position = self._story_pages.decode(request.page_token, {"post": post_id})
        size = page_size(request.page_size)
        found = await self._posts.story(post_id, int(position[0] or 0) if position else 0, size + 1)
        page = found[:size]
        more = len(found) > size
        return pb.GetPostTimelineResponse(
            entries=[from_entry(entry) for entry in page],
            next_page_token=self._story_pages.encode((page[-1].sequence,), {"post": post_id}) if more else "",
        )

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        """See the contract."""
        call_about(f"bots/{request.bot_id.lower()}/events" if request.bot_id else "events")
        async with aclosing(self._watching.watch(request)) as responses:
            async for response in responses:
                yield response


def _when(request: pb.CreatePostRequest, bot_id: str) -> When:
    """At most one answer to when, and one bot."""
    if request.post.bot_id and request.post.bot_id.lower() != bot_id:
        raise InvalidArgument("CONFLICTING_FIELD", "is not the bot of the request", field="post.bot_id")
    timed = request.post.HasField("scheduled_time")
    if request.publish_now and timed:
        raise InvalidArgument(
            "CONFLICTING_FIELD", "a post goes out now or at a time, not both", field="publish_now"
        )
    if request.next_free_slot and (request.publish_now or timed):
        raise InvalidArgument(
            "CONFLICTING_FIELD",
            "a post goes out in a slot, now or at a time, not two of these",
            field="next_free_slot",
        )
    if request.next_free_slot:
        return When.NEXT_FREE_SLOT
    return When.NOW if request.publish_now else When.AT_ITS_TIME
