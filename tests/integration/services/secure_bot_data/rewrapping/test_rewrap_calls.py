"""SecretKeyService over the real chain: mutual TLS, tokens, permissions, validation; the engines behind."""

import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from mesh.errors import MeshError
from mesh.ids import new_id
from mesh.status import from_rpc_error
from services.secure_bot_data.domain.model import SecretRef
from services.secure_bot_data.servicers.secret_keys import SecretKeyServicer
from tests.fakes.mesh import serving
from tests.integration.services.secure_bot_data.conftest import CALLER, oauth1
from tests.integration.services.secure_bot_data.rewrapping.conftest import ACTOR, Replica
from vivesphere.secure_bot_data.v1 import secret_key_pb2 as key_pb2
from vivesphere.secure_bot_data.v1 import secret_key_service_pb2 as pb2
from vivesphere.secure_bot_data.v1.secret_key_service_pb2_grpc import (
    SecretKeyServiceStub,
    add_SecretKeyServiceServicer_to_server,
)

ROLES = {"admin": frozenset({"secrets.admin"}), "operator": frozenset({"secrets.write", "secrets.read"})}


@dataclass
class Door:
    """A caller with a token of an administrator whose second factor is recent, unless another token is given."""

    stub: Any
    token: str
    operator: str
    weak: str

    async def call(self, method: str, request: Any, token: str = "") -> Any:
        """Raises the MeshError that the service raised."""
        metadata = (("authorization", f"Bearer {token or self.token}"),)
        try:
            return await getattr(self.stub, method)(request, timeout=10, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def key(self) -> key_pb2.SecretKey:
        """The key as it is told."""
        return (await self.call("GetSecretKey", pb2.GetSecretKeyRequest())).secret_key


@pytest.fixture
async def door(replica: Replica, tmp_path: Path) -> AsyncIterator[Door]:
    secret = b"page secret of the test"
    servicer = SecretKeyServicer(
        replica.parts.vault, replica.keys, replica.keeper, replica.rewrapper, replica.jobs, secret
    )
    names, registered = (
        ["vivesphere.secure_bot_data.v1.SecretKeyService"],
        [(add_SecretKeyServiceServicer_to_server, servicer)],
    )
    async with (
        serving(tmp_path, "secure_bot_data", names, registered, roles=ROLES) as server,
        server.channel("gateway", "secure_bot_data") as channel,
    ):
        token = server.issuer.token
        strong = {"second_factor_time": int(time.time())}
        yield Door(
            SecretKeyServiceStub(channel),
            token("admin", **strong),
            token("operator", **strong),
            token("admin"),
        )


async def refusal(call: Awaitable[Any]) -> MeshError:
    """The error of the call."""
    with pytest.raises(MeshError) as refused:
        await call
    return refused.value


async def test_the_key_is_rotated_secrets_rewrapped_and_old_versions_retired(
    door: Door, replica: Replica, ref: SecretRef
) -> None:
    """The whole way as an administrator goes it."""
    await replica.parts.writer.put(ref, oauth1(), None, CALLER)
    before = await door.key()
    assert [(use.key_version, use.current_count, use.earlier_count) for use in before.uses] == [
        (before.latest_version, 1, 0)
    ]
    rotate = pb2.RotateSecretKeyRequest(expected_version=before.latest_version)
    rotated = (await door.call("RotateSecretKey", rotate)).secret_key
    assert rotated.latest_version == before.latest_version + 1
    assert rotated.latest_create_time.ToDatetime() >= before.latest_create_time.ToDatetime()
    assert (await refusal(door.call("RotateSecretKey", rotate))).reason == "VERSION_MISMATCH"
    retire = pb2.RetireSecretKeyVersionsRequest(min_decryption_version=rotated.latest_version)
    assert (await refusal(door.call("RetireSecretKeyVersions", retire))).reason == "KEY_VERSION_IN_USE"
    job = (await door.call("RewrapSecrets", pb2.RewrapSecretsRequest(destroy_earlier=True))).job
    assert (job.state, job.total_count) == (key_pb2.REWRAP_JOB_STATE_RUNNING, 1)
    assert (job.target_key_version, job.destroy_earlier, job.created_by) == (
        rotated.latest_version,
        True,
        ACTOR,
    )
    refused = await refusal(door.call("RewrapSecrets", pb2.RewrapSecretsRequest()))
    assert (refused.reason, refused.metadata["jobId"]) == ("REWRAP_RUNNING", job.id)
    await replica.finish(await replica.jobs.get(job.id))
    ended = (await door.call("GetRewrapJob", pb2.GetRewrapJobRequest(job_id=job.id))).job
    assert (ended.state, ended.rewrapped_count) == (key_pb2.REWRAP_JOB_STATE_SUCCEEDED, 1)
    assert ended.HasField("end_time")
    retired = (await door.call("RetireSecretKeyVersions", retire)).secret_key
    assert retired.min_decryption_version == rotated.latest_version
    assert [(use.key_version, use.current_count, use.earlier_count) for use in retired.uses] == [
        (rotated.latest_version, 1, 0)
    ]
    cancel = pb2.CancelRewrapJobRequest(job_id=job.id)
    assert (await door.call("CancelRewrapJob", cancel)).job == ended


async def test_jobs_are_listed_newest_first_in_pages(door: Door) -> None:
    """Who looks after keys sees what was done when."""
    made = []
    for _ in range(3):
        job = (await door.call("RewrapSecrets", pb2.RewrapSecretsRequest())).job
        cancelled = (await door.call("CancelRewrapJob", pb2.CancelRewrapJobRequest(job_id=job.id))).job
        assert cancelled.state == key_pb2.REWRAP_JOB_STATE_CANCELLED
        made.append(cancelled)
    first = await door.call("ListRewrapJobs", pb2.ListRewrapJobsRequest(page_size=2))
    rest = await door.call("ListRewrapJobs", pb2.ListRewrapJobsRequest(page_token=first.next_page_token))
    assert [*first.jobs, *rest.jobs] == made[::-1]
    assert (len(first.jobs), rest.next_page_token) == (2, "")


async def test_what_is_not_there_or_makes_no_sense_is_refused(door: Door) -> None:
    """With the reason that the contract names."""
    for method, request in (
        ("GetRewrapJob", pb2.GetRewrapJobRequest(job_id=new_id())),
        ("CancelRewrapJob", pb2.CancelRewrapJobRequest(job_id=new_id())),
    ):
        assert (await refusal(door.call(method, request))).reason == "REWRAP_JOB_NOT_FOUND"
    beyond = (await door.key()).latest_version + 1
    for number in (0, beyond):
        request = pb2.RetireSecretKeyVersionsRequest(min_decryption_version=number)
        refused = await refusal(door.call("RetireSecretKeyVersions", request))
        assert (refused.reason, refused.violations[0].field) == ("INVALID_FIELD", "min_decryption_version")
    listing = pb2.ListRewrapJobsRequest(page_token="x")
    assert (await refusal(door.call("ListRewrapJobs", listing))).reason == "INVALID_PAGE_TOKEN"


async def test_only_administrators_with_a_recent_factor_touch_the_key(door: Door) -> None:
    """Retiring a version can make values unreadable for good."""
    for method, request in (
        ("RotateSecretKey", pb2.RotateSecretKeyRequest()),
        ("RewrapSecrets", pb2.RewrapSecretsRequest()),
        ("RetireSecretKeyVersions", pb2.RetireSecretKeyVersionsRequest(min_decryption_version=1)),
    ):
        assert (await refusal(door.call(method, request, door.operator))).reason == "PERMISSION_MISSING"
        assert (await refusal(door.call(method, request, door.weak))).reason == "STEP_UP_REQUIRED"
