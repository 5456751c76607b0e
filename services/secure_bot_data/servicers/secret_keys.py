"""SecretKeyService: convert, call, convert."""

from mesh.context import current_call
from mesh.paging import PageTokens, page_size
from services.secure_bot_data.convert import from_job, from_key
from services.secure_bot_data.domain.key_ports import KeyCatalogue, KeyVault
from services.secure_bot_data.domain.keys import KeyKeeper
from services.secure_bot_data.domain.model import SecretKey
from services.secure_bot_data.domain.rewrapping import Rewrapper
from services.secure_bot_data.servicers.caller import Context, caller
from services.secure_bot_data.store.rewrap_jobs import PostgresRewrapJobs
from vivesphere.secure_bot_data.v1 import secret_key_pb2 as key_pb2
from vivesphere.secure_bot_data.v1 import secret_key_service_pb2 as pb2
from vivesphere.secure_bot_data.v1 import secret_key_service_pb2_grpc as pb2_grpc


class SecretKeyServicer(pb2_grpc.SecretKeyServiceServicer):
    """Serves the contract."""

    def __init__(
        self,
        vault: KeyVault,
        catalogue: KeyCatalogue,
        keeper: KeyKeeper,
        rewrapper: Rewrapper,
        jobs: PostgresRewrapJobs,
        page_secret: bytes,
    ) -> None:
        self._vault = vault
        self._catalogue = catalogue
        self._keeper = keeper
        self._rewrapper = rewrapper
        self._jobs = jobs
        self._job_pages = PageTokens(page_secret, "secure_bot_data.rewrap_jobs")

    async def GetSecretKey(
        self, request: pb2.GetSecretKeyRequest, context: Context
    ) -> pb2.GetSecretKeyResponse:
        """The key's versions, and who needs them."""
        return pb2.GetSecretKeyResponse(secret_key=await self._told(await self._vault.key()))

    async def RotateSecretKey(
        self, request: pb2.RotateSecretKeyRequest, context: Context
    ) -> pb2.RotateSecretKeyResponse:
        """Makes a new version of the key."""
        _about("secretKey")
        expected = request.expected_version if request.HasField("expected_version") else None
        key = await self._keeper.rotate(expected)
        return pb2.RotateSecretKeyResponse(secret_key=await self._told(key))

    async def RewrapSecrets(
        self, request: pb2.RewrapSecretsRequest, context: Context
    ) -> pb2.RewrapSecretsResponse:
        """Starts a job."""
        _about("secretKey")
        job = await self._rewrapper.start(caller().actor, destroy_earlier=request.destroy_earlier)
        return pb2.RewrapSecretsResponse(job=from_job(job))

    async def GetRewrapJob(
        self, request: pb2.GetRewrapJobRequest, context: Context
    ) -> pb2.GetRewrapJobResponse:
        """How far a job is."""
        return pb2.GetRewrapJobResponse(job=from_job(await self._jobs.get(request.job_id)))

    async def ListRewrapJobs(
        self, request: pb2.ListRewrapJobsRequest, context: Context
    ) -> pb2.ListRewrapJobsResponse:
        """A page of jobs, newest first."""
        position = self._job_pages.decode(request.page_token, {})
        size = page_size(request.page_size)
        found = await self._jobs.list_jobs(before=str(position[0]) if position else None, limit=size + 1)
        page = found[:size]
        token = self._job_pages.encode((page[-1].id,), {}) if len(found) > size else ""
        return pb2.ListRewrapJobsResponse(jobs=[from_job(job) for job in page], next_page_token=token)

    async def CancelRewrapJob(
        self, request: pb2.CancelRewrapJobRequest, context: Context
    ) -> pb2.CancelRewrapJobResponse:
        """Stops a job."""
        _about(f"rewrapJobs/{request.job_id}")
        return pb2.CancelRewrapJobResponse(job=from_job(await self._rewrapper.cancel(request.job_id)))

    async def RetireSecretKeyVersions(
        self, request: pb2.RetireSecretKeyVersionsRequest, context: Context
    ) -> pb2.RetireSecretKeyVersionsResponse:
        """Makes old versions of the key useless."""
        _about("secretKey")
        key = await self._keeper.retire(request.min_decryption_version)
        return pb2.RetireSecretKeyVersionsResponse(secret_key=await self._told(key))

    async def _told(self, key: SecretKey) -> key_pb2.SecretKey:
        return from_key(key, await self._catalogue.uses())


def _about(resource: str) -> None:
    """Notes for the audit trail what the call is about."""
    call = current_call()
    if call is not None:
        call.resource = resource
