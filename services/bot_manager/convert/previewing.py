"""Previews and results of imports."""

from services.bot_manager.convert.common import from_time
from services.bot_manager.convert.posts import from_finding
from services.bot_manager.domain.importing import Result
from services.bot_manager.domain.previewing import PartPreview, Preview
from vivesphere.bot_manager.v1 import post_service_pb2 as pb


def from_preview(preview: Preview) -> pb.PreviewPostResponse:
    """The contract's answer to PreviewPost."""
    return pb.PreviewPostResponse(
        parts=[_from_part(part) for part in preview.parts],
        findings=[from_finding(finding) for finding in preview.findings],
        valid=preview.valid,
        cost_usd_micros=sum(part.cost_usd_micros for part in preview.parts),
        scheduled_time=from_time(preview.scheduled_time),
        seed=preview.seed,
    )


def from_result(result: Result) -> pb.ImportPostsResponse:
    """The contract's answer to ImportPosts."""
    return pb.ImportPostsResponse(
        row_count=result.row_count,
        valid_post_count=result.valid_post_count,
        post_ids=result.post_ids,
        errors=[
            pb.ImportRowError(row=error.row, field=error.field, reason=error.reason, message=error.message)
            for error in result.errors
        ],
        cost_usd_micros=result.cost_usd_micros,
    )


def _from_part(part: PartPreview) -> pb.PartPreview:
    return pb.PartPreview(
        text=part.text,
        weighted_length=part.weighted_length,
        max_weighted_length=part.max_weighted_length,
        urls=part.urls,
        mentions=part.mentions,
        hashtags=part.hashtags,
        cashtags=part.cashtags,
        cost_usd_micros=part.cost_usd_micros,
    )
