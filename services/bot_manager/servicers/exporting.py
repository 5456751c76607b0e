"""Posts as a file: page after page as fast as the client reads. In memory are one page and one chunk, and between pages no connection."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Final

from google.api.httpbody_pb2 import HttpBody

from mesh.errors import ResourceExhausted
from services.bot_manager.convert.exporting import CsvFile, JsonFile
from services.bot_manager.domain.filters import POST_FIELDS, parse_filter
from services.bot_manager.domain.listing import Condition, Operator, Query
from services.bot_manager.domain.model import Post
from services.bot_manager.domain.posts import Posts
from vivesphere.bot_manager.v1 import post_service_pb2 as pb

CHUNK_BYTES: Final = 256 * 1024
PAGE: Final = 200
MAX_EXPORTS: Final = 8
"""Exports that one process makes at once."""
RETRY_AFTER: Final = timedelta(seconds=10)


class Exporting:
    """Streams of posts."""

    def __init__(self, posts: Posts) -> None:
        self._posts = posts
        self._open = 0

    async def export(
        self, request: pb.ExportPostsRequest, bot_id: str
    ) -> AsyncGenerator[pb.ExportPostsResponse, None]:
        """The chunks of the file. Raises NotFound, InvalidArgument (INVALID_FILTER), ResourceExhausted before the first."""
        if self._open >= MAX_EXPORTS:
            raise ResourceExhausted("OVERLOADED", "too many exports at once", retry_after=RETRY_AFTER)
        self._open += 1
        try:
            file = CsvFile() if request.format == pb.IMPORT_FORMAT_CSV else JsonFile()
            async with aclosing(self._pages(request.filter, bot_id)) as pages:
                waiting = bytearray(file.beginning())
                async for page in pages:
                    for post in page:
                        waiting += file.render(post)
                        for piece in _full(waiting):
                            yield _chunk(file.content_type, piece)
                waiting += file.end
                for piece in _full(waiting):
                    yield _chunk(file.content_type, piece)
                yield _chunk(file.content_type, bytes(waiting))
        finally:
            self._open -= 1

    async def _pages(self, text: str, bot_id: str) -> AsyncGenerator[list[Post], None]:
        of_bot = Condition("bot_id", Operator.EQUALS, bot_id)
        query = Query((of_bot, *parse_filter(text, POST_FIELDS)), "create_time", False, PAGE, None)
        while True:
            page = await self._posts.list(query, bot_id)
            yield list(page.rows)
            if page.next is None:
                return
            query = replace(query, after=page.next)


def _full(waiting: bytearray) -> Iterator[bytes]:
    """Chunks that are full; what is left stays."""
    while len(waiting) > CHUNK_BYTES:
        yield bytes(waiting[:CHUNK_BYTES])
        del waiting[:CHUNK_BYTES]


def _chunk(content_type: str, data: bytes) -> pb.ExportPostsResponse:
    return pb.ExportPostsResponse(body=HttpBody(content_type=content_type, data=data))
