"""Whatever arrives in path, query and body is bound or refused: no crash, no hang, no fault of the gateway, no answer that cannot be sent.

Here without a server, where very many can be tried; `test_fuzz_http` tries the same through the HTTP port. `make fuzz` tries for minutes.
"""

import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from gateway.transcoding.binding import RequestParts
from gateway.transcoding.codec import ProtobufPyCodec
from gateway.transcoding.errors import GatewayError, answer
from gateway.transcoding.google_codec import GoogleCodec
from gateway.transcoding.rendering import dump
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder
from gateway.uploads import messages_of
from tests.integration.gateway import aiming, forms, wild
from tests.integration.gateway.fuzzing import within
from tests.integration.gateway.making import Request, requests
from tests.integration.gateway.probing import payload_of
from tests.unit.gateway.support import compile_set
from tests.vectors.reading import PROTOS

RAW = compile_set(PROTOS, "probe.proto")
SCHEMA = Schema(RAW)
CODECS = [ProtobufPyCodec(SCHEMA.registry), GoogleCodec(RAW)]
FRONTS = [Transcoder(SCHEMA, codec) for codec in CODECS]
KEYS = aiming.names_of(SCHEMA)
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")  # what fails may be large
LONG = settings.default.max_examples > 1000
"""Examples of the long form are as many as take some minutes for each test."""


def parts_of(request: Request) -> tuple[str, RequestParts]:
    """The path of a request, and what else it says."""
    path, _, query = request["path"].partition("?")
    kind = dict(request.get("headers", ())).get("Content-Type", "")
    body = request.get("body", "")
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else payload_of(body)
    return path, RequestParts(query, data, kind.partition(";")[0].strip().lower())


@settings(max_examples=30_000 if LONG else 150, suppress_health_check=[HealthCheck.too_slow])
@given(aiming.aimed(SCHEMA))
def test_a_wild_request_is_bound_or_refused(request: Request) -> None:
    """By both codecs alike; whatever is raised is a refusal that can be sent, and is the client's."""
    path, parts = parts_of(request)
    said = set()
    for transcoder in FRONTS:
        try:
            with within():
                endpoint, values = transcoder.route(request["method"], path)
                endpoint.bind(values, parts)
            said.add(200)
        except GatewayError as error:
            refused = answer(error)
            assert 400 <= refused.http_status < 500
            assert wild.CANARY.encode() not in dump(refused.body)
            said.add(refused.http_status)
    event(f"status {said}")
    assert len(said) == 1


@settings(max_examples=30_000 if LONG else 150, suppress_health_check=[HealthCheck.too_slow])
@given(wild.queries(KEYS), wild.bodies(KEYS))
def test_what_no_one_means_is_bound_or_refused(query: str, body: bytes) -> None:
    """Queries and bodies that chance made, where much is taken: a body of any field, any field in the query, a field beside both."""
    for method, path in (("POST", "/v1/body/star"), ("GET", "/v1/query"), ("PATCH", "/v1/items/7")):
        with contextlib.suppress(GatewayError), within():
            endpoint, values = FRONTS[0].route(method, path)
            parts = RequestParts("" if method == "POST" else query, b"" if method == "GET" else body)
            endpoint.bind(values, parts)


@settings(max_examples=30_000 if LONG else 100)
@given(request=requests(SCHEMA))
def test_what_is_bound_can_be_read_and_printed(request: Request) -> None:
    """By the service it is for, and on its way back: what passes one direction must not fail in the other."""
    path, parts = parts_of(request)
    with contextlib.suppress(GatewayError), within():
        endpoint, values = FRONTS[0].route(request["method"], path)
        wire = endpoint.bind(values, parts)
        desc = endpoint.method.input
        for codec in CODECS:
            again = codec.message(desc).to_json(wire)
            if desc.type_name != "google.api.HttpBody":
                assert codec.message(desc).to_wire(json.loads(again)) is not None


@settings(max_examples=30_000 if LONG else 100)
@given(forms.forms(), st.sampled_from(forms.TYPES))
async def test_a_wild_form_is_read_or_refused(pieces: list[bytes], content_type: str) -> None:
    """An upload's parts, headers and boundaries, cut anywhere."""

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    parts = RequestParts("", b"", "multipart/form-data")
    status = 200
    try:
        with within():
            async for message in messages_of(body(), parts, content_type, "file"):
                assert isinstance(message.body, bytes)
    except GatewayError as error:
        status = answer(error).http_status
    event(f"status {status}")
    assert status in (200, 400)


async def test_a_form_of_the_fuzz_can_be_read() -> None:
    """The form that is bent is a form."""

    async def body() -> AsyncIterator[bytes]:
        for piece in forms.FORM:
            yield piece

    parts = RequestParts("", b"", "multipart/form-data")
    (only,) = [one async for one in messages_of(body(), parts, forms.TYPES[0], "file")]
    assert (only.query, only.body, only.content_type) == ("note=by+the+sea", b"\x00\x01", "image/png")
