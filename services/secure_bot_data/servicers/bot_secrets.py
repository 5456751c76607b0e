"""BotSecretService: convert, call, convert."""

from datetime import timedelta

from mesh.paging import PageTokens, page_size
from services.secure_bot_data.convert import (
    from_access,
    from_claimed,
    from_due_position,
    from_leased,
    from_metadata,
    from_revealed,
    from_version,
    to_access_filter,
    to_draft,
    to_due_position,
    to_expected,
    to_kind,
    to_time,
)
from services.secure_bot_data.domain.changing import VersionChanger
from services.secure_bot_data.domain.destroying import BotSecretDestroyer
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.reading import DEFAULT_TTL, SecretReader
from services.secure_bot_data.domain.rolling_back import SecretRollback
from services.secure_bot_data.domain.rotating import DEFAULT_TTL as CLAIM_TTL
from services.secure_bot_data.domain.rotating import SecretRotator
from services.secure_bot_data.domain.writing import SecretWriter
from services.secure_bot_data.servicers.caller import Context, about, caller, calling_service
from services.secure_bot_data.store.catalogue import PostgresCatalogue
from services.secure_bot_data.store.service_values import ServiceValues
from services.secure_bot_data.store.trail import PostgresTrail
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2_grpc as pb2_grpc

NO_STORE = (("cache-control", "no-store"),)


class BotSecretServicer(pb2_grpc.BotSecretServiceServicer):
    """Serves the contract."""

    def __init__(
        self,
        writer: SecretWriter,
        changer: VersionChanger,
        reader: SecretReader,
        rollback: SecretRollback,
        rotator: SecretRotator,
        destroyer: BotSecretDestroyer,
        values: ServiceValues,
        catalogue: PostgresCatalogue,
        trail: PostgresTrail,
        page_secret: bytes,
    ) -> None:
        self._writer = writer
        self._changer = changer
        self._reader = reader
        self._rollback = rollback
        self._rotator = rotator
        self._destroyer = destroyer
        self._values = values
        self._catalogue = catalogue
        self._trail = trail
        self._secret_pages = PageTokens(page_secret, "secure_bot_data.secrets")
        self._due_pages = PageTokens(page_secret, "secure_bot_data.due")
        self._version_pages = PageTokens(page_secret, "secure_bot_data.versions")
        self._access_pages = PageTokens(page_secret, "secure_bot_data.accesses")

    async def PutBotSecret(
        self, request: pb2.PutBotSecretRequest, context: Context
    ) -> pb2.PutBotSecretResponse:
        """Writes a version for a person."""
        ref = about(request.bot_id, request.name)
        metadata = await self._writer.put(ref, to_draft(request), to_expected(request), caller())
        return pb2.PutBotSecretResponse(metadata=from_metadata(metadata))

    async def StoreBotSecret(
        self, request: pb2.StoreBotSecretRequest, context: Context
    ) -> pb2.StoreBotSecretResponse:
        """Writes a version for bot_manager."""
        ref = about(request.bot_id, request.name)
        metadata = await self._writer.put(
            ref,
            to_draft(request),
            to_expected(request),
            caller(),
            rotation_id=request.rotation_id.lower() or None,
        )
        return pb2.StoreBotSecretResponse(metadata=from_metadata(metadata))

    async def ListBotSecrets(
        self, request: pb2.ListBotSecretsRequest, context: Context
    ) -> pb2.ListBotSecretsResponse:
        """A page of secrets by name."""
        before = to_time(request.rotate_before) if request.HasField("rotate_before") else None
        filters = {
            "bot": request.bot_id,
            "kind": request.kind,
            "deleted": request.show_deleted,
            "rotate": str(before),
        }
        position = self._secret_pages.decode(request.page_token, filters)
        size = page_size(request.page_size)
        found = await self._catalogue.list_secrets(
            about(request.bot_id).bot_id,
            kind=to_kind(request.kind),
            show_deleted=request.show_deleted,
            rotate_before=before,
            after=str(position[0]) if position else "",
            limit=size + 1,
        )
        page = found[:size]
        token = self._secret_pages.encode((page[-1].ref.name,), filters) if len(found) > size else ""
        return pb2.ListBotSecretsResponse(
            secrets=[from_metadata(metadata) for metadata in page], next_page_token=token
        )

    async def GetBotSecretMetadata(
        self, request: pb2.GetBotSecretMetadataRequest, context: Context
    ) -> pb2.GetBotSecretMetadataResponse:
        """Everything about a secret but its values."""
        metadata = await self._catalogue.get(about(request.bot_id, request.name))
        return pb2.GetBotSecretMetadataResponse(metadata=from_metadata(metadata))

    async def ListBotSecretVersions(
        self, request: pb2.ListBotSecretVersionsRequest, context: Context
    ) -> pb2.ListBotSecretVersionsResponse:
        """A page of versions, newest first."""
        filters = {"bot": request.bot_id, "name": request.name}
        position = self._version_pages.decode(request.page_token, filters)
        size = page_size(request.page_size)
        found = await self._catalogue.list_versions(
            about(request.bot_id, request.name),
            before=int(position[0] or 0) if position else None,
            limit=size + 1,
        )
        page = found[:size]
        token = self._version_pages.encode((page[-1].version,), filters) if len(found) > size else ""
        return pb2.ListBotSecretVersionsResponse(
            versions=[from_version(record) for record in page], next_page_token=token
        )

    async def ListDueBotSecrets(
        self, request: pb2.ListDueBotSecretsRequest, context: Context
    ) -> pb2.ListDueBotSecretsResponse:
        """A page of what has to be replaced, the most pressing first."""
        before = to_time(request.due_before) if request.HasField("due_before") else None
        filters = {"before": str(before), "kind": request.kind}
        position = self._due_pages.decode(request.page_token, filters)
        size = page_size(request.page_size)
        found = await self._catalogue.list_due(
            before,
            kind=to_kind(request.kind),
            after=to_due_position(position) if position else None,
            limit=size + 1,
        )
        page = found[:size]
        token = self._due_pages.encode(from_due_position(page[-1]), filters) if len(found) > size else ""
        return pb2.ListDueBotSecretsResponse(
            secrets=[from_metadata(metadata) for metadata in page], next_page_token=token
        )

    async def ClaimSecretRotation(
        self, request: pb2.ClaimSecretRotationRequest, context: Context
    ) -> pb2.ClaimSecretRotationResponse:
        """Claims a secret for bot_manager to replace."""
        ref = about(request.bot_id, request.name)
        ttl: timedelta = request.ttl.ToTimedelta() if request.HasField("ttl") else CLAIM_TTL
        return from_claimed(await self._rotator.claim(ref, ttl, caller()))

    async def ReleaseSecretRotation(
        self, request: pb2.ReleaseSecretRotationRequest, context: Context
    ) -> pb2.ReleaseSecretRotationResponse:
        """Ends a claim without a successor."""
        ref = about(request.bot_id, request.name)
        released = await self._rotator.release(ref, request.rotation_id.lower(), settled=request.settled)
        return pb2.ReleaseSecretRotationResponse(released=released)

    async def RevealBotSecret(
        self, request: pb2.RevealBotSecretRequest, context: Context
    ) -> pb2.RevealBotSecretResponse:
        """Values for a person; whoever carries them on must not store them."""
        ref = about(request.bot_id, request.name)
        opened = await self._reader.reveal(ref, request.version, request.reason, caller())
        await context.send_initial_metadata(NO_STORE)
        return from_revealed(opened)

    async def LeaseBotSecret(
        self, request: pb2.LeaseBotSecretRequest, context: Context
    ) -> pb2.LeaseBotSecretResponse:
        """Values for bot_manager."""
        ref = about(request.bot_id, request.name)
        ttl: timedelta = request.ttl.ToTimedelta() if request.HasField("ttl") else DEFAULT_TTL
        opened, lease = await self._reader.lease(ref, request.version, ttl, request.reason, caller())
        await context.send_initial_metadata(NO_STORE)
        return from_leased(opened, lease)

    async def RevokeBotLeases(
        self, request: pb2.RevokeBotLeasesRequest, context: Context
    ) -> pb2.RevokeBotLeasesResponse:
        """Ends a bot's leases."""
        count = await self._reader.revoke(about(request.bot_id).bot_id, request.reason)
        return pb2.RevokeBotLeasesResponse(revoked_count=count)

    async def DeleteBotSecret(
        self, request: pb2.DeleteBotSecretRequest, context: Context
    ) -> pb2.DeleteBotSecretResponse:
        """Hides versions."""
        ref = about(request.bot_id, request.name)
        metadata = await self._changer.change(ref, Event.DELETE, request.versions)
        return pb2.DeleteBotSecretResponse(metadata=from_metadata(metadata))

    async def UndeleteBotSecret(
        self, request: pb2.UndeleteBotSecretRequest, context: Context
    ) -> pb2.UndeleteBotSecretResponse:
        """Brings versions back."""
        ref = about(request.bot_id, request.name)
        metadata = await self._changer.change(ref, Event.UNDELETE, request.versions)
        return pb2.UndeleteBotSecretResponse(metadata=from_metadata(metadata))

    async def DestroyBotSecret(
        self, request: pb2.DestroyBotSecretRequest, context: Context
    ) -> pb2.DestroyBotSecretResponse:
        """Removes values for good."""
        ref = about(request.bot_id, request.name)
        metadata = await self._changer.change(ref, Event.DESTROY, request.versions)
        return pb2.DestroyBotSecretResponse(metadata=from_metadata(metadata))

    async def DestroyBotSecrets(
        self, request: pb2.DestroyBotSecretsRequest, context: Context
    ) -> pb2.DestroyBotSecretsResponse:
        """Removes everything of a bot for good."""
        count = await self._destroyer.destroy(about(request.bot_id).bot_id)
        return pb2.DestroyBotSecretsResponse(destroyed_count=count)

    async def RollbackBotSecret(
        self, request: pb2.RollbackBotSecretRequest, context: Context
    ) -> pb2.RollbackBotSecretResponse:
        """Makes earlier values current again."""
        ref = about(request.bot_id, request.name)
        expected = to_expected(request)
        metadata = await self._rollback.roll_back(ref, request.version, expected, caller())
        return pb2.RollbackBotSecretResponse(metadata=from_metadata(metadata))

    async def Encrypt(self, request: pb2.EncryptRequest, context: Context) -> pb2.EncryptResponse:
        """A ciphertext for the calling service."""
        ciphertext = await self._values.encrypt(calling_service(), request.context, request.plaintext)
        return pb2.EncryptResponse(ciphertext=ciphertext)

    async def Decrypt(self, request: pb2.DecryptRequest, context: Context) -> pb2.DecryptResponse:
        """What the calling service had encrypted."""
        plaintext = await self._values.decrypt(calling_service(), request.context, request.ciphertext)
        return pb2.DecryptResponse(plaintext=plaintext)

    async def ListSecretAccess(
        self, request: pb2.ListSecretAccessRequest, context: Context
    ) -> pb2.ListSecretAccessResponse:
        """A page of the trail, newest first."""
        wanted = to_access_filter(request)
        filters = {
            "bot": wanted.bot_id,
            "name": wanted.name,
            "actor": wanted.actor,
            "kind": wanted.kind,
            "start": str(wanted.start),
            "end": str(wanted.end),
        }
        position = self._access_pages.decode(request.page_token, filters)
        size = page_size(request.page_size)
        found = await self._trail.list_accesses(
            wanted, before=str(position[0]) if position else None, limit=size + 1
        )
        page = found[:size]
        token = self._access_pages.encode((page[-1].id,), filters) if len(found) > size else ""
        return pb2.ListSecretAccessResponse(
            accesses=[from_access(access) for access in page], next_page_token=token
        )
