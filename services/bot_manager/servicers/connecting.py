"""The two methods of BotService that connect an account: convert, call, convert."""

from google.api import httpbody_pb2

from mesh.secret import Secret
from services.bot_manager.connect.flow import ConnectFlow, Redirect
from services.bot_manager.connect.page import connected_page
from services.bot_manager.convert.common import from_time
from services.bot_manager.servicers.caller import about_bot, actor, call_about
from vivesphere.bot_manager.v1 import bot_service_pb2 as pb

PAGE_TYPE = "text/html; charset=utf-8"


async def start_connect(flow: ConnectFlow, request: pb.StartConnectRequest) -> pb.StartConnectResponse:
    """See the contract."""
    started = await flow.start(about_bot(request.bot_id), tuple(request.scopes), request.return_path, actor())
    return pb.StartConnectResponse(
        authorization_url=started.page.reveal(),
        callback_url=started.callback_url,
        expire_time=from_time(started.expire_time),
    )


async def complete_connect(
    flow: ConnectFlow, request: pb.CompleteConnectRequest
) -> pb.CompleteConnectResponse:
    """See the contract."""
    connect = await flow.take(request.state)
    call = call_about(f"bots/{connect.bot_id}", connect.bot_id)
    redirect = Redirect(Secret(request.code), request.error, request.error_description, request.iss)
    connected = await flow.complete(connect, redirect)
    bot, account = connected.verification.bot, connected.verification.account
    page = connected_page(connect, connected, call.request_id)
    return pb.CompleteConnectResponse(
        bot_id=bot.id,
        x_user_id=account.user_id if account else "",
        handle=account.handle if account else "",
        version=bot.credentials.version if bot.credentials else 0,
        page=httpbody_pb2.HttpBody(content_type=PAGE_TYPE, data=page),
    )
