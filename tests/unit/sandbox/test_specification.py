"""The sandbox's answers held against X's own OpenAPI document, where one is at hand.

`VIVESPHERE_X_OPENAPI_FILE` names a copy of the document (2.166 or newer); without it these tests are skipped, since
the document is X's and no part of this repository.
"""

import json
import os
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.unit.sandbox.clients import MP4, PNG, X

FILE = os.environ.get("VIVESPHERE_X_OPENAPI_FILE", "")
pytestmark = pytest.mark.skipif(not FILE, reason="VIVESPHERE_X_OPENAPI_FILE names no document")
FIELDS = "attachments,conversation_id,created_at,entities,lang,non_public_metrics,organic_metrics,public_metrics,text"


class Specification:
    """Schemas of the document, under their old or their new names."""

    def __init__(self, path: Path) -> None:
        document = json.loads(path.read_text())
        self.schemas = document["components"]["schemas"]
        self.renamed = "CreatePostsRequest" in self.schemas
        resource = Resource(contents=document, specification=DRAFT202012)
        self._registry: Registry = Registry().with_resource("urn:x", resource)

    def validator(self, new: str, old: str) -> Draft202012Validator:
        """The validator of a schema."""
        reference = {"$ref": f"urn:x#/components/schemas/{new if self.renamed else old}"}
        return Draft202012Validator(reference, registry=self._registry)


@pytest.fixture(scope="module")
def specification() -> Specification:
    return Specification(Path(FILE))


async def test_answers_have_the_specified_shape(x: X, specification: Specification) -> None:
    """A client generated from the document must understand the sandbox."""
    alice = await x.account()
    fields = {("post.fields" if specification.renamed else "tweet.fields"): FIELDS}
    shown = {"media_ids": [await alice.image_id()]}
    root = await alice.post("#hello https://example.com & @bob $TSLA", media=shown)
    root_id = root.json["data"]["id"]
    reply = await alice.post("reply", reply={"in_reply_to_tweet_id": root_id})
    found = await alice.send("GET", "/2/tweets", query={"ids": f"{root_id},404", **fields})
    timeline = await alice.timeline(**fields)
    words = {next(iter(fields)): "id", "user.fields": "created_at,public_metrics"}
    me = await alice.send("GET", "/2/users/me", query=words)
    deleted = await alice.send("DELETE", f"/2/tweets/{reply.json['data']['id']}")
    for answer, new, old in [
        (root, "CreatePostsResponse", "TweetCreateResponse"),
        (found, "GetPostsByIdsResponse", "Get2TweetsResponse"),
        (timeline, "GetUsersPostsResponse", "Get2UsersIdTweetsResponse"),
        (me, "GetUsersMeResponse", "Get2UsersMeResponse"),
        (deleted, "DeletePostsResponse", "TweetDeleteResponse"),
    ]:
        specification.validator(new, old).validate(answer.json)


async def test_every_specified_problem_has_its_shape(x: X, specification: Specification) -> None:
    """Errors too are part of the contract."""
    alice = await x.account()
    problem = specification.validator("Problem", "Problem")
    await x.fault("error_500_before")
    for answer in [
        await alice.post("one"),
        await alice.post(""),
        await alice.send("DELETE", "/2/tweets/404"),
        await alice.post("hello", reply={"in_reply_to_tweet_id": "404"}),
    ]:
        problem.validate(answer.json)


@pytest.mark.parametrize(
    "body",
    [
        {"text": "x"},
        {"text": 1},
        {"text": "x", "unknown": 1},
        {"text": "x", "nullcast": "yes"},
        {"text": "x", "made_with_ai": True, "paid_partnership": False},
        {"text": "x", "geo": {"place_id": "p"}},
        {"text": "x", "reply_settings": "following"},
        {"text": "x", "reply_settings": "nobody"},
        {"text": "x", "community_id": "abc"},
        {"text": "x", "media": {"media_ids": ["1"], "tagged_user_ids": ["2"]}},
        {"text": "x", "media": {"media_ids": ["1"], "colour": 1}},
        {"text": "x", "media": {"media_ids": ["1"], "call_to_actions": {"visit_site": {}}}},
        {"text": "x", "poll": {"options": ["a", "b"], "duration_minutes": 10080}},
        {"text": "x", "poll": {"options": ["a", "b"], "duration_minutes": 10081}},
        {"text": "x", "poll": {"options": ["a", "b", "c", "d", "e"], "duration_minutes": 5}},
        {"text": "x", "poll": {"options": ["", "b"], "duration_minutes": 5}},
    ],
)
async def test_a_body_is_refused_exactly_when_the_document_refuses_it(
    x: X, specification: Specification, body: dict[str, object]
) -> None:
    """Strictness must be X's, neither more nor less."""
    alice = await x.account()
    if media := body.get("media"):
        body = body | {"media": media | {"media_ids": [await alice.image_id()]}}
    valid = specification.validator("CreatePostsRequest", "TweetCreateRequest").is_valid(body)
    assert (await alice.send("POST", "/2/tweets", body=body)).status == (201 if valid else 400)


async def test_answers_about_media_have_the_specified_shape(x: X, specification: Specification) -> None:
    """Each step of an upload, processing that goes well and that fails."""
    if not specification.renamed:
        pytest.skip("the older document asks for a `meta` that it does not describe")
    alice = await x.account()
    for failure in ("", "Unsupported codec"):
        await x.send("PUT", "/sandbox/media/moods", body={"failure": failure})
        steps = await alice.video(MP4)
        x.clock.advance(1)
        status = {"command": "STATUS", "media_id": steps[0].json["data"]["id"]}
        answers = [*steps, await alice.send("GET", "/2/media/upload", query=status)]
        names = ["InitializeMediaUpload", "AppendMediaUpload", "FinalizeMediaUpload", "GetMediaUploadStatus"]
        for answer, name in zip(answers, names, strict=True):
            specification.validator(f"{name}Response", "").validate(answer.json)
    image = await alice.upload("/2/media/upload", media=PNG, media_category="tweet_image")
    specification.validator("MediaUploadResponse", "").validate(image.json)
    body = {"id": image.json["data"]["id"], "metadata": {"alt_text": {"text": "a red square"}}}
    described = await alice.send("POST", "/2/media/metadata", body=body)
    specification.validator("CreateMediaMetadataResponse", "").validate(described.json)


@pytest.mark.parametrize(
    "body",
    [
        {"media_type": "image/png", "media_category": "tweet_image", "total_bytes": 10},
        {"media_type": "image/png", "media_category": "tweet_image", "total_bytes": -1},
        {"media_type": "image/png", "media_category": "tweet_image", "total_bytes": "10"},
        {"media_type": "image/svg+xml", "media_category": "tweet_image", "total_bytes": 10},
        {"media_type": "image/png", "media_category": "holiday", "total_bytes": 10},
        {"media_type": "image/png", "total_bytes": 10, "shared": True, "additional_owners": ["1"]},
        {"media_type": "image/png", "total_bytes": 10, "colour": "red"},
        {"media_type": "image/png", "total_bytes": 10, "shared": "yes"},
    ],
)
async def test_an_upload_is_announced_as_the_document_says(
    x: X, specification: Specification, body: dict[str, object]
) -> None:
    """Strictness must be X's here too."""
    alice = await x.account()
    valid = specification.validator("InitializeMediaUploadRequest", "MediaUploadConfigRequest").is_valid(body)
    assert (await alice.send("POST", "/2/media/upload/initialize", body=body)).status == (
        200 if valid else 400
    )


async def test_every_field_of_the_document_is_known(x: X, specification: Specification) -> None:
    """A field X takes must not be refused as unknown."""
    alice = await x.account()
    name = "CreatePostsRequest" if specification.renamed else "TweetCreateRequest"
    for field in specification.schemas[name]["properties"]:
        answer = await alice.send("POST", "/2/tweets", body={field: None})
        assert "known field" not in answer.json["detail"]
