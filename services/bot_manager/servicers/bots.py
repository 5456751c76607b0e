"""BotService."""

from collections.abc import Callable
from typing import Any

import grpc.aio

from services.bot_manager.connect.flow import ConnectFlow
from services.bot_manager.convert.bots import (
    from_bot,
    from_credentials,
    to_changed_draft,
    to_draft,
    to_secrets,
    to_tokens,
)
from services.bot_manager.domain.bots import Bots
from services.bot_manager.domain.credentials import Credentials, Verification
from services.bot_manager.domain.filters import BOT_FIELDS
from services.bot_manager.domain.listing import Condition, Operator
from services.bot_manager.domain.model import BotState
from services.bot_manager.servicers.caller import about_bot, actor, call_about, request_key
from services.bot_manager.servicers.connecting import complete_connect, start_connect
from services.bot_manager.servicers.pages import Pages
from vivesphere.bot_manager.v1 import bot_pb2, bot_service_pb2_grpc
from vivesphere.bot_manager.v1 import bot_service_pb2 as pb

Context = grpc.aio.ServicerContext[Any, Any]
LIVING = Condition("state", Operator.DIFFERS, BotState.ARCHIVED)


class BotServicer(bot_service_pb2_grpc.BotServiceServicer):
    """`stopped` is told of bots whose credentials must be forgotten, `wake` that posts may be due."""

    def __init__(
        self,
        bots: Bots,
        credentials: Credentials,
        connecting: ConnectFlow,
        page_secret: bytes,
        *,
        stopped: Callable[[str], None],
        wake: Callable[[], None],
    ) -> None:
        self._bots = bots
        self._credentials = credentials
        self._connecting = connecting
        self._pages = Pages(page_secret, "bot_manager.bots", BOT_FIELDS, frozenset({"handle"}))
        self._stopped = stopped
        self._wake = wake

    async def CreateBot(self, request: pb.CreateBotRequest, context: Context) -> pb.CreateBotResponse:
        """See the contract."""
        key = request_key("CreateBot", request, request.request_id)
        call = call_about("bots")
        bot = await self._bots.create(to_draft(request.bot), call.actor, key)
        about_bot(bot.id)
        return pb.CreateBotResponse(bot=from_bot(bot))

    async def GetBot(self, request: pb.GetBotRequest, context: Context) -> pb.GetBotResponse:
        """See the contract."""
        return pb.GetBotResponse(bot=from_bot(await self._bots.get(about_bot(request.bot_id))))

    async def ListBots(self, request: pb.ListBotsRequest, context: Context) -> pb.ListBotsResponse:
        """See the contract."""
        always = () if request.filter.strip() else (LIVING,)
        page = await self._bots.list(self._pages.query(request, *always))
        return pb.ListBotsResponse(
            bots=[from_bot(bot) for bot in page.rows],
            next_page_token=self._pages.token(request, page, *always),
        )

    async def UpdateBot(self, request: pb.UpdateBotRequest, context: Context) -> pb.UpdateBotResponse:
        """See the contract."""
        bot = await self._bots.update(
            about_bot(request.bot_id),
            request.bot.etag,
            lambda stored: to_changed_draft(stored, request.bot, request.update_mask),
        )
        return pb.UpdateBotResponse(bot=from_bot(bot))

    async def ActivateBot(self, request: pb.ActivateBotRequest, context: Context) -> pb.ActivateBotResponse:
        """See the contract."""
        bot = await self._bots.activate(about_bot(request.bot_id), request.etag, actor())
        self._wake()
        return pb.ActivateBotResponse(bot=from_bot(bot))

    async def PauseBot(self, request: pb.PauseBotRequest, context: Context) -> pb.PauseBotResponse:
        """See the contract."""
        bot = await self._bots.pause(about_bot(request.bot_id), request.etag, actor(), request.reason)
        self._stopped(bot.id)
        return pb.PauseBotResponse(bot=from_bot(bot))

    async def ArchiveBot(self, request: pb.ArchiveBotRequest, context: Context) -> pb.ArchiveBotResponse:
        """See the contract."""
        bot = await self._bots.archive(about_bot(request.bot_id), request.etag, actor(), request.reason)
        self._stopped(bot.id)
        return pb.ArchiveBotResponse(bot=from_bot(bot))

    async def DeleteBot(self, request: pb.DeleteBotRequest, context: Context) -> pb.DeleteBotResponse:
        """See the contract."""
        bot_id = about_bot(request.bot_id)
        await self._bots.delete(bot_id, request.etag, actor())
        self._stopped(bot_id)
        return pb.DeleteBotResponse()

    async def SetCredentials(
        self, request: pb.SetCredentialsRequest, context: Context
    ) -> pb.SetCredentialsResponse:
        """See the contract."""
        bot_id, verify = about_bot(request.bot_id), not request.skip_verification
        if request.WhichOneof("credentials") == "oauth1":
            found = await self._credentials.set_oauth1(bot_id, to_secrets(request.oauth1), verify=verify)
        else:
            pair, client = to_tokens(request.oauth2)
            found = await self._credentials.set_oauth2(bot_id, pair, client, verify=verify)
        self._stopped(bot_id)
        self._wake()
        status = found.bot.credentials
        return pb.SetCredentialsResponse(
            version=status.version if status else 0,
            verified=found.account is not None,
            x_user_id=found.account.user_id if found.account else "",
            handle=found.account.handle if found.account else "",
            state=_state(found),
        )

    async def VerifyCredentials(
        self, request: pb.VerifyCredentialsRequest, context: Context
    ) -> pb.VerifyCredentialsResponse:
        """See the contract."""
        found = await self._credentials.verify(about_bot(request.bot_id))
        self._wake()
        status = found.bot.credentials
        return pb.VerifyCredentialsResponse(
            verified=found.account is not None,
            x_user_id=found.account.user_id if found.account else "",
            handle=found.account.handle if found.account else "",
            credentials=from_credentials(status) if status else None,
            state=_state(found),
            failure_message=_words(found),
        )

    async def StartConnect(
        self, request: pb.StartConnectRequest, context: Context
    ) -> pb.StartConnectResponse:
        """See the contract."""
        return await start_connect(self._connecting, request)

    async def CompleteConnect(
        self, request: pb.CompleteConnectRequest, context: Context
    ) -> pb.CompleteConnectResponse:
        """See the contract."""
        answer = await complete_connect(self._connecting, request)
        self._stopped(answer.bot_id)
        self._wake()
        return answer


def _state(found: Verification) -> bot_pb2.BotState.ValueType:
    return bot_pb2.BotState.Value(f"BOT_STATE_{found.bot.state}")


def _words(found: Verification) -> str:
    """X's own words where it used any, else ours."""
    if found.failure is None:
        return ""
    told = found.failure.metadata
    return told.get("problemDetail") or told.get("problemTitle") or found.failure.message
