"""X's paths of media: `/2/media/upload`, its three steps, its status, and `/2/media/metadata`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from aiohttp import web

from sandbox import body, form, problems, query
from sandbox.media import EXPIRES_SECONDS, LARGEST, MAX_SEGMENT_BYTES, TYPES, Library, media_key
from sandbox.problems import Document, Invalid

if TYPE_CHECKING:
    from sandbox.api import Call, Endpoint, Handler

ROOM_FOR_FORM = 64 * 1024
MAX_APPEND_BYTES = MAX_SEGMENT_BYTES * 4 // 3 + ROOM_FOR_FORM
MAX_ONE_SHOT_BYTES = LARGEST["tweet_image"] * 4 // 3 + ROOM_FOR_FORM
MAX_SEGMENTS = 1000
_OTHER_CATEGORIES = ("amplify_video", "dm_gif", "dm_image", "dm_video", "subtitles")
_INITIALIZE = body.record(
    {
        "media_type": body.string(1, 100),
        "media_category": body.choice(*LARGEST, *_OTHER_CATEGORIES),
        "total_bytes": body.whole(0, 17_179_869_184),
        "additional_owners": body.array(body.identifier, 0, 100),
        "shared": body.flag,
    },
    required=("media_type", "total_bytes"),
)
_METADATA = body.record(
    {
        "id": body.identifier,
        "metadata": body.record(
            {"alt_text": body.record({"text": body.string(0, 1000)}, required=("text",))}
            | dict.fromkeys(
                (
                    "allow_download_status",
                    "audience_policy",
                    "content_expiration",
                    "domain_restrictions",
                    "found_media_origin",
                    "geo_restrictions",
                    "management_info",
                    "preview_image",
                    "sensitive_media_warning",
                    "shared_info",
                    "sticker_info",
                    "upload_source",
                ),
                lambda value, path: None,
            )
        ),
    },
    required=("id",),
)


class MediaApi:
    """The handlers over one library."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def routes(self, signed: "Callable[[str, Endpoint, int | None], Handler]") -> list[web.RouteDef]:
        """Path → handler; `signed` puts an endpoint with a limit of bytes behind authentication and rate limits."""
        upload = "/2/media/upload"
        steps = f"{upload}/{{id}}"
        return [
            web.post(f"{upload}/initialize", signed("initialize_media", self._moody(self._initialize), None)),
            web.post(f"{steps}/append", signed("append_media", self._moody(self._append), MAX_APPEND_BYTES)),
            web.post(f"{steps}/finalize", signed("finalize_media", self._moody(self._finalize), None)),
            web.get(upload, signed("get_media_status", self._moody(self._status), None)),
            web.post(upload, signed("upload_media", self._moody(self._one_shot), MAX_ONE_SHOT_BYTES)),
            web.post("/2/media/metadata", signed("describe_media", self._moody(self._describe), None)),
        ]

    def _moody(self, endpoint: "Endpoint") -> "Endpoint":
        """The endpoint, unless X is in a mood to refuse."""

        async def handle(call: "Call") -> web.StreamResponse:
            moods = self._library.moods
            if moods.unavailable:
                moods.unavailable -= 1
                raise problems.plain(503)
            if moods.rate_limited:
                moods.rate_limited -= 1
                raise problems.too_many_requests({})
            return await endpoint(call)

        return handle

    async def _initialize(self, call: "Call") -> web.StreamResponse:
        given = body.parse_object(call.raw)
        _INITIALIZE(given, "$")
        category = cast("str", given.get("media_category", "tweet_image"))
        if category not in TYPES:
            raise problems.not_implemented(f"media of the category {category}")
        upload = self._library.initialize(
            call.account.user_id,
            cast("str", given["media_type"]),
            category,
            cast("int", given["total_bytes"]),
        )
        return _data(
            {
                "id": upload.id,
                "media_key": media_key(category, upload.id),
                "expires_after_secs": EXPIRES_SECONDS,
            }
        )

    async def _append(self, call: "Call") -> web.StreamResponse:
        given = form.fields(call.raw, call.request.headers.get("Content-Type", ""), "media")
        _check_names(given, {"media", "segment_index"}, {"media", "segment_index"})
        index = given["segment_index"]
        if not (index.isdigit() and len(index) < 5 and int(index) < MAX_SEGMENTS):
            raise Invalid("segment_index", f"must be from 0 to {MAX_SEGMENTS - 1}", index.decode("latin-1"))
        upload = self._library.append(
            call.account.user_id, call.request.match_info["id"], int(index), given["media"]
        )
        return _data({"expires_at": upload.created_ms // 1000 + EXPIRES_SECONDS})

    async def _finalize(self, call: "Call") -> web.StreamResponse:
        media = self._library.finalize(call.account.user_id, call.request.match_info["id"])
        return web.json_response(self._library.view(media, finished_now=True))

    async def _status(self, call: "Call") -> web.StreamResponse:
        asked = call.request.query
        query.check_names(asked, {"media_id", "command"})
        if asked.get("command", "STATUS") != "STATUS":
            raise Invalid("command", "must be STATUS", asked["command"])
        if "media_id" not in asked:
            raise Invalid("media_id", "is missing but it is required")
        return web.json_response(
            self._library.view(self._library.find(call.account.user_id, asked["media_id"]))
        )

    async def _one_shot(self, call: "Call") -> web.StreamResponse:
        given = form.fields(call.raw, call.request.headers.get("Content-Type", ""), "media")
        known = {"media", "media_category", "additional_owners"}
        _check_names(given, known, {"media", "media_category"})
        category = given["media_category"].decode(errors="replace")
        media = self._library.one_shot(call.account.user_id, category, given["media"])
        return web.json_response(self._library.view(media))

    async def _describe(self, call: "Call") -> web.StreamResponse:
        given = body.parse_object(call.raw)
        _METADATA(given, "$")
        media_id = cast("str", given["id"])
        metadata = cast("dict[str, dict[str, str]]", given.get("metadata", {}))
        text = metadata.get("alt_text", {}).get("text", "")
        self._library.describe(call.account.user_id, media_id, text)
        return _data({"id": media_id, "associated_metadata": metadata})


def _check_names(given: dict[str, bytes], known: set[str], required: set[str]) -> None:
    for name in given:
        if name not in known:
            raise Invalid(name, "is not a known field")
    for name in sorted(required - given.keys()):
        raise Invalid(name, "is missing but it is required")


def _data(data: Document) -> web.Response:
    return web.json_response({"data": data})
