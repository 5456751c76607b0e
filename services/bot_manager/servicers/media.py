"""MediaService."""

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from mesh.errors import InvalidArgument
from mesh.ids import new_id
from services.bot_manager.convert.media import from_medium
from services.bot_manager.media.intake import Announced, Intake
from services.bot_manager.servicers.caller import call_about, request_key
from services.bot_manager.store.library import PostgresLibrary
from vivesphere.bot_manager.v1 import media_service_pb2 as pb
from vivesphere.bot_manager.v1 import media_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class MediaServicer(media_service_pb2_grpc.MediaServiceServicer):
    """See the contract."""

    def __init__(self, intake: Intake, library: PostgresLibrary) -> None:
        self._intake = intake
        self._library = library

    async def UploadMedia(
        self, requests: AsyncIterator[pb.UploadMediaRequest], context: Context
    ) -> pb.UploadMediaResponse:
        """See the contract."""
        first = await anext(aiter(requests), None)
        if first is None:
            raise InvalidArgument("INVALID_FIELD", "no message came", field="file")
        announced = _announced(first)
        _about(announced.id, announced.bot_id)
        key = request_key("UploadMedia", _described(first), first.request_id)
        medium = await self._intake.take(announced, _pieces(first, requests), key)
        _about(medium.id, medium.bot_id)
        return pb.UploadMediaResponse(media=from_medium(medium))

    async def GetMedia(self, request: pb.GetMediaRequest, context: Context) -> pb.GetMediaResponse:
        """See the contract."""
        medium_id = request.media_id.lower()
        _about(medium_id)
        return pb.GetMediaResponse(media=from_medium(await self._library.get(medium_id)))


def _about(medium_id: str, bot_id: str = "") -> None:
    call_about(f"media/{medium_id}", bot_id)


def _announced(first: pb.UploadMediaRequest) -> Announced:
    return Announced(
        id=new_id(),
        bot_id=first.bot_id.lower(),
        filename=first.filename,
        alt_text=first.alt_text,
        size_bytes=first.size_bytes,
        sha256=first.sha256,
    )


def _described(first: pb.UploadMediaRequest) -> pb.UploadMediaRequest:
    """What was asked, whatever pieces the bytes come in."""
    described = pb.UploadMediaRequest()
    described.CopyFrom(first)
    described.ClearField("file")
    return described


async def _pieces(
    first: pb.UploadMediaRequest, others: AsyncIterator[pb.UploadMediaRequest]
) -> AsyncIterator[bytes]:
    yield first.file.data
    async for message in others:
        yield message.file.data
