"""AppService."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc.aio

from services.bot_manager.connect.addresses import callback_url
from services.bot_manager.convert.apps import from_app, to_changed_draft, to_draft
from services.bot_manager.domain.apps import Apps
from services.bot_manager.servicers.caller import call_about, request_key
from services.bot_manager.servicers.pages import Pages
from vivesphere.bot_manager.v1 import app_service_pb2 as pb
from vivesphere.bot_manager.v1 import app_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class _Listed:
    """A request of a list that has no filter."""

    page_size: int
    page_token: str
    order_by: str
    filter: str = ""


class AppServicer(app_service_pb2_grpc.AppServiceServicer):
    """`public_url` is where browsers reach the gateway, `wake` tells the publisher that posts may be due."""

    def __init__(self, apps: Apps, page_secret: bytes, *, public_url: str, wake: Callable[[], None]) -> None:
        self._apps = apps
        self._pages = Pages(page_secret, "bot_manager.apps", {}, frozenset({"display_name"}))
        self._callback = callback_url(public_url)
        self._wake = wake

    async def CreateApp(self, request: pb.CreateAppRequest, context: Context) -> pb.CreateAppResponse:
        """See the contract."""
        key = request_key("CreateApp", request, request.request_id)
        call = call_about("apps")
        status = await self._apps.create(to_draft(request.app), call.actor, key)
        _about(status.app.id)
        return pb.CreateAppResponse(app=from_app(status, self._callback))

    async def GetApp(self, request: pb.GetAppRequest, context: Context) -> pb.GetAppResponse:
        """See the contract."""
        status = await self._apps.get(_about(request.app_id))
        return pb.GetAppResponse(app=from_app(status, self._callback))

    async def ListApps(self, request: pb.ListAppsRequest, context: Context) -> pb.ListAppsResponse:
        """See the contract."""
        listed = _Listed(request.page_size, request.page_token, request.order_by)
        page = await self._apps.list(self._pages.query(listed))
        return pb.ListAppsResponse(
            apps=[from_app(status, self._callback) for status in page.rows],
            next_page_token=self._pages.token(listed, page),
        )

    async def UpdateApp(self, request: pb.UpdateAppRequest, context: Context) -> pb.UpdateAppResponse:
        """See the contract."""
        status = await self._apps.update(
            _about(request.app_id),
            request.app.etag,
            lambda stored: to_changed_draft(stored, request.app, request.update_mask),
        )
        self._wake()
        return pb.UpdateAppResponse(app=from_app(status, self._callback))

    async def DeleteApp(self, request: pb.DeleteAppRequest, context: Context) -> pb.DeleteAppResponse:
        """See the contract."""
        await self._apps.delete(_about(request.app_id), request.etag)
        return pb.DeleteAppResponse()


def _about(app_id: str) -> str:
    """The app's id in canonical form, noted for the trail."""
    app_id = app_id.lower()
    call_about(f"apps/{app_id}")
    return app_id
