"""Media as X keeps them: uploads in segments, processing, expiry, and which of them a post may show.

An upload is announced, gets its segments in order, and is finished; images are then ready, GIFs and videos after a while, or never, as
`Moods` says. X forgets media after a day. Bytes are counted and hashed, not kept; an upload that is under way lives in memory only, so a
restart loses it, and its id is unknown from then on.

X's own limits: 5 MB for an image, 15 MB for a GIF, 512 MB for a video, segments of 1 MB.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sandbox import problems
from sandbox.clock import Clock
from sandbox.problems import Document, Invalid
from sandbox.store import Media, Store

EXPIRES_SECONDS: Final = 24 * 60 * 60
MEBIBYTE: Final = 1024 * 1024
MAX_SEGMENT_BYTES: Final = MEBIBYTE
LARGEST: Final = {"tweet_image": 5 * MEBIBYTE, "tweet_gif": 15 * MEBIBYTE, "tweet_video": 512 * MEBIBYTE}
"""The categories that are offered, and how many bytes each may have."""
TYPES: Final = {
    "tweet_image": (
        "image/jpeg",
        "image/png",
        "image/gif",
        "image/webp",
        "image/bmp",
        "image/tiff",
        "image/pjpeg",
    ),
    "tweet_gif": ("image/gif",),
    "tweet_video": ("video/mp4", "video/quicktime", "video/webm", "video/mp2t"),
}
KEY_PREFIXES: Final = {"tweet_image": "3", "tweet_gif": "16", "tweet_video": "7"}
HEAD_BYTES: Final = 12
MAX_IMAGES: Final = 4
MAX_CHECK_AFTER_SECONDS: Final = 5


@dataclass(slots=True)
class Moods:
    """How X treats media from now on. `unavailable` and `rate_limited` count calls that are refused before anything else."""

    seconds: int = 1
    """How long processing of a GIF or video takes."""
    failure: str = ""
    """X's words where processing fails."""
    failure_name: str = "InvalidMedia"
    unavailable: int = 0
    rate_limited: int = 0


@dataclass(slots=True)
class Upload:
    """An upload under way."""

    id: str
    user_id: str
    category: str
    media_type: str
    total_bytes: int
    created_ms: int
    segments: list[bytes] = field(default_factory=list)
    """SHA-256 of each."""
    size: int = 0
    head: bytes = b""
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)


class Library:
    """The media of this X."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._uploads: dict[str, Upload] = {}
        self.moods = Moods()

    def initialize(self, user_id: str, media_type: str, category: str, total_bytes: int) -> Upload:
        """Announce an upload. Raises Invalid."""
        if media_type not in TYPES[category]:
            raise Invalid("media_type", f"is not a type of the category {category}", media_type)
        if not 0 < total_bytes <= LARGEST[category]:
            raise Invalid("total_bytes", f"must be from 1 to {LARGEST[category]} for {category}", total_bytes)
        self._forget_old()
        made, created_ms = self._store.new_id()
        upload = Upload(made, user_id, category, media_type, total_bytes, created_ms)
        self._uploads[made] = upload
        return upload

    def append(self, user_id: str, media_id: str, index: int, data: bytes) -> Upload:
        """The next segment, or one that is there already, again. Raises Invalid, Problem 404."""
        upload = self._upload(user_id, media_id)
        if not 0 < len(data) <= MAX_SEGMENT_BYTES:
            raise Invalid("media", f"a segment must have 1 to {MAX_SEGMENT_BYTES} bytes", len(data))
        digest = hashlib.sha256(data).digest()
        if index < len(upload.segments):
            if upload.segments[index] != digest:
                raise Invalid("segment_index", "this segment was sent before, with other bytes", index)
            return upload
        if index > len(upload.segments):
            raise Invalid("segment_index", f"segment {len(upload.segments)} is missing", index)
        if upload.size + len(data) > upload.total_bytes:
            raise Invalid("media", f"more bytes than the {upload.total_bytes} that were announced")
        upload.segments.append(digest)
        upload.size += len(data)
        upload.head += data[: HEAD_BYTES - len(upload.head)]
        upload.digest.update(data)
        return upload

    def finalize(self, user_id: str, media_id: str) -> Media:
        """All segments are there. Raises Invalid, Problem 404."""
        upload = self._upload(user_id, media_id)
        if upload.size != upload.total_bytes:
            raise Invalid("id", f"{upload.size} of {upload.total_bytes} bytes are there", media_id)
        moods, failure = self.moods, ""
        if not _looks_like(upload.media_type, upload.head):
            if upload.category == "tweet_image":
                raise Invalid("media", "is not of the announced type", upload.media_type)
            failure = "file is currently unsupported"
        processed = upload.category != "tweet_image"
        media = Media(
            id=upload.id,
            user_id=user_id,
            category=upload.category,
            media_type=upload.media_type,
            size=upload.size,
            sha256=upload.digest.hexdigest(),
            created_ms=upload.created_ms,
            ready_ms=int(self._clock() * 1000 + (moods.seconds * 1000 if processed else 0)),
            failure=failure or (moods.failure if processed else ""),
            failure_name=moods.failure_name,
        )
        self._store.add_media(media)
        del self._uploads[media_id]
        return media

    def one_shot(self, user_id: str, category: str, data: bytes) -> Media:
        """An image in one call. Raises Invalid."""
        if category != "tweet_image":
            raise Invalid("media_category", "only images can be sent in one call", category)
        media_type = next((one for one in TYPES[category] if _looks_like(one, data[:HEAD_BYTES])), None)
        if media_type is None:
            raise Invalid("media", "is not an image")
        upload = self.initialize(user_id, media_type, category, len(data))
        for index, start in enumerate(range(0, len(data), MAX_SEGMENT_BYTES)):
            self.append(user_id, upload.id, index, data[start : start + MAX_SEGMENT_BYTES])
        return self.finalize(user_id, upload.id)

    def find(self, user_id: str, media_id: str) -> Media:
        """Media that are whole and not forgotten. Raises Problem 404; other people's look like none."""
        media = self._store.media(media_id)
        if media is None or media.user_id != user_id or self._is_old(media.created_ms):
            raise problems.not_found("media", "id", media_id)
        return media

    def describe(self, user_id: str, media_id: str, alt_text: str) -> None:
        """Set the alternative text. Raises Problem 404."""
        self._store.describe_media(self.find(user_id, media_id).id, alt_text)

    def check_usable(self, user_id: str, media_ids: Sequence[str]) -> None:
        """Raises Invalid unless a post of this user may show these together now."""
        shown: list[Media] = []
        for media_id in media_ids:
            media = self._store.media(media_id)
            if media is None or media.user_id != user_id or self._is_old(media.created_ms):
                raise Invalid("media.media_ids", "Your media IDs are invalid.", media_id)
            if self.state(media) != "succeeded":
                raise Invalid("media.media_ids", "the media are not ready", media_id)
            shown.append(media)
        moving = [media for media in shown if media.category != "tweet_image"]
        if len(shown) > MAX_IMAGES or (moving and len(shown) > 1):
            raise Invalid("media.media_ids", "a post shows up to 4 images, or 1 GIF, or 1 video")

    def state(self, media: Media) -> str:
        """X's word for how far processing is."""
        if self._clock() * 1000 < media.ready_ms:
            return "in_progress"
        return "failed" if media.failure else "succeeded"

    def view(self, media: Media, *, finished_now: bool = False) -> Document:
        """The media as X tells of them; with the reason under `errors` where processing failed."""
        left = media.created_ms / 1000 + EXPIRES_SECONDS - self._clock()
        data: Document = {
            "id": media.id,
            "media_key": media_key(media.category, media.id),
            "size": media.size,
            "expires_after_secs": max(0, int(left)),
        }
        answer: Document = {"data": data}
        if media.category == "tweet_image":
            data["image"] = {"image_type": media.media_type}
            return answer
        state = self.state(media)
        info: Document = {"state": "pending" if finished_now and state == "in_progress" else state}
        data["processing_info"] = info
        if state == "in_progress":
            wait = math.ceil(media.ready_ms / 1000 - self._clock())
            info["check_after_secs"] = min(max(wait, 1), MAX_CHECK_AFTER_SECONDS)
            info["progress_percent"] = 50
        elif state == "failed":
            answer["errors"] = [
                {
                    "type": problems.PROBLEMS + "invalid-request",
                    "title": media.failure_name,
                    "detail": media.failure,
                }
            ]
        else:
            info["progress_percent"] = 100
            data["video"] = {"video_type": media.media_type}
        return answer

    def _upload(self, user_id: str, media_id: str) -> Upload:
        upload = self._uploads.get(media_id)
        if upload is None or upload.user_id != user_id or self._is_old(upload.created_ms):
            raise problems.not_found("media", "id", media_id)
        return upload

    def _is_old(self, created_ms: int) -> bool:
        return self._clock() >= created_ms / 1000 + EXPIRES_SECONDS

    def _forget_old(self) -> None:
        self._uploads = {
            made: upload for made, upload in self._uploads.items() if not self._is_old(upload.created_ms)
        }


def media_key(category: str, media_id: str) -> str:
    """X's other name for media."""
    return f"{KEY_PREFIXES[category]}_{media_id}"


def _looks_like(media_type: str, head: bytes) -> bool:
    """Whether the first bytes may be of this type."""
    match media_type:
        case "image/jpeg" | "image/pjpeg":
            return head.startswith(b"\xff\xd8\xff")
        case "image/png":
            return head.startswith(b"\x89PNG\r\n\x1a\n")
        case "image/gif":
            return head.startswith((b"GIF87a", b"GIF89a"))
        case "image/webp":
            return head[:4] == b"RIFF" and head[8:12] == b"WEBP"
        case "image/bmp":
            return head.startswith(b"BM")
        case "image/tiff":
            return head.startswith((b"II*\0", b"MM\0*"))
        case "video/mp4":
            return head[4:8] == b"ftyp"
        case "video/quicktime":
            return head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
        case "video/webm":
            return head.startswith(b"\x1aE\xdf\xa3")
        case _:
            return head.startswith(b"G")
