"""protobuf ↔ domain. Total functions: what the contract's validation lets through, they can convert.

Values become `Secret` on the first line they are seen in and text again on the last one.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.paging import Scalar
from mesh.secret import Secret
from services.secure_bot_data.domain.model import (
    Access,
    AccessKind,
    Draft,
    JobState,
    KeyUse,
    Lease,
    OpenedVersion,
    RewrapJob,
    SecretKey,
    SecretKind,
    SecretMetadata,
    SecretRef,
    State,
    VersionRecord,
)
from services.secure_bot_data.domain.rotating import Claimed
from services.secure_bot_data.store.trail import AccessFilter
from vivesphere.secure_bot_data.v1 import bot_secret_pb2 as secret_pb2
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2
from vivesphere.secure_bot_data.v1 import secret_access_pb2 as access_pb2
from vivesphere.secure_bot_data.v1 import secret_key_pb2 as key_pb2

_KINDS: Mapping[int, SecretKind] = {
    secret_pb2.SECRET_KIND_X_OAUTH1: SecretKind.X_OAUTH1,
    secret_pb2.SECRET_KIND_X_OAUTH2: SecretKind.X_OAUTH2,
    secret_pb2.SECRET_KIND_X_APP: SecretKind.X_APP,
    secret_pb2.SECRET_KIND_GENERIC: SecretKind.GENERIC,
}
_KIND_VALUES: Mapping[SecretKind, secret_pb2.SecretKind.ValueType] = {
    SecretKind.X_OAUTH1: secret_pb2.SECRET_KIND_X_OAUTH1,
    SecretKind.X_OAUTH2: secret_pb2.SECRET_KIND_X_OAUTH2,
    SecretKind.X_APP: secret_pb2.SECRET_KIND_X_APP,
    SecretKind.GENERIC: secret_pb2.SECRET_KIND_GENERIC,
}
_STATE_VALUES: Mapping[State, secret_pb2.SecretState.ValueType] = {
    State.ACTIVE: secret_pb2.SECRET_STATE_ACTIVE,
    State.DELETED: secret_pb2.SECRET_STATE_DELETED,
    State.DESTROYED: secret_pb2.SECRET_STATE_DESTROYED,
}
_ACCESS_KINDS: Mapping[int, AccessKind] = {
    access_pb2.SECRET_ACCESS_KIND_REVEAL: AccessKind.REVEAL,
    access_pb2.SECRET_ACCESS_KIND_LEASE: AccessKind.LEASE,
}
_ACCESS_KIND_VALUES: Mapping[AccessKind, access_pb2.SecretAccessKind.ValueType] = {
    AccessKind.REVEAL: access_pb2.SECRET_ACCESS_KIND_REVEAL,
    AccessKind.LEASE: access_pb2.SECRET_ACCESS_KIND_LEASE,
}
_JOB_STATE_VALUES: Mapping[JobState, key_pb2.RewrapJobState.ValueType] = {
    JobState.RUNNING: key_pb2.REWRAP_JOB_STATE_RUNNING,
    JobState.SUCCEEDED: key_pb2.REWRAP_JOB_STATE_SUCCEEDED,
    JobState.FAILED: key_pb2.REWRAP_JOB_STATE_FAILED,
    JobState.CANCELLED: key_pb2.REWRAP_JOB_STATE_CANCELLED,
}


def to_draft(request: pb2.PutBotSecretRequest | pb2.StoreBotSecretRequest) -> Draft:
    """The version that the request asks to write."""
    return Draft(
        kind=_KINDS[request.kind],
        fields={name: Secret(value) for name, value in request.fields.items()},
        expire_time=to_time(request.expire_time) if request.HasField("expire_time") else None,
        rotate_time=to_time(request.rotate_time) if request.HasField("rotate_time") else None,
        owner=request.owner,
    )


def to_expected(
    request: pb2.PutBotSecretRequest | pb2.StoreBotSecretRequest | pb2.RollbackBotSecretRequest,
) -> int | None:
    """The version that must be current; None when any may be."""
    return request.expected_version if request.HasField("expected_version") else None


def from_due_position(metadata: SecretMetadata) -> tuple[Scalar, ...]:
    """Where the page of due secrets after this one begins."""
    due = metadata.due_time
    return due.isoformat() if due else None, metadata.ref.bot_id, metadata.ref.name


def to_due_position(position: tuple[Scalar, ...]) -> tuple[datetime, str, str]:
    """What `from_due_position` wrote."""
    due, bot_id, name = map(str, position)
    return datetime.fromisoformat(due), bot_id, name


def to_kind(kind: secret_pb2.SecretKind.ValueType) -> SecretKind | None:
    """The kind in a filter; None for every kind."""
    return _KINDS.get(kind)


def to_access_filter(request: pb2.ListSecretAccessRequest) -> AccessFilter:
    """The filter of a list of accesses."""
    return AccessFilter(
        bot_id=request.bot_id,
        name=request.name,
        actor=request.actor,
        kind=_ACCESS_KINDS.get(request.kind),
        start=to_time(request.start_time) if request.HasField("start_time") else None,
        end=to_time(request.end_time) if request.HasField("end_time") else None,
    )


def to_time(timestamp: Timestamp) -> datetime:
    """An aware UTC time, to the microsecond."""
    return timestamp.ToDatetime(tzinfo=UTC)


def from_metadata(metadata: SecretMetadata) -> secret_pb2.SecretMetadata:
    """The message about a secret."""
    return secret_pb2.SecretMetadata(
        bot_id=metadata.ref.bot_id,
        name=metadata.ref.name,
        kind=_KIND_VALUES[metadata.kind],
        version=metadata.version,
        versions=metadata.versions,
        create_time=_timestamp(metadata.create_time),
        expire_time=_timestamp(metadata.expire_time),
        state=_STATE_VALUES[metadata.state],
        update_time=_timestamp(metadata.update_time),
        rotate_time=_timestamp(metadata.rotate_time),
        owner=metadata.owner,
        field_names=metadata.field_names,
        updated_by=metadata.updated_by,
        key_version=metadata.key_version,
    )


def from_version(record: VersionRecord) -> secret_pb2.SecretVersion:
    """The message about one version."""
    return secret_pb2.SecretVersion(
        version=record.version,
        state=_STATE_VALUES[record.state],
        create_time=_timestamp(record.create_time),
        delete_time=_timestamp(record.delete_time),
        created_by=record.created_by,
        rolled_back_from=record.rolled_back_from,
        rewrapped_from=record.rewrapped_from,
        key_version=record.key_version,
    )


def from_access(access: Access) -> access_pb2.SecretAccess:
    """The message about one reading."""
    return access_pb2.SecretAccess(
        id=access.id,
        bot_id=access.ref.bot_id,
        name=access.ref.name,
        version=access.version,
        kind=_ACCESS_KIND_VALUES[access.kind],
        time=_timestamp(access.time),
        actor=access.caller.actor,
        reason=access.reason,
        peer=access.caller.address,
        allowed=access.allowed,
        denied_reason=access.denied_reason,
        request_id=access.caller.request_id,
        lease_id=access.lease_id or "",
        lease_end_time=_timestamp(access.lease_end_time),
    )


def from_revealed(opened: OpenedVersion) -> pb2.RevealBotSecretResponse:
    """Values for a person."""
    return pb2.RevealBotSecretResponse(fields=_plain(opened), version=opened.version)


def from_leased(opened: OpenedVersion, lease: Lease) -> pb2.LeaseBotSecretResponse:
    """Values for a service."""
    return pb2.LeaseBotSecretResponse(
        fields=_plain(opened),
        version=opened.version,
        kind=_KIND_VALUES[opened.description.kind],
        lease_id=lease.id,
        expire_time=_timestamp(lease.expire_time),
        ttl=_duration(lease.expire_time - lease.create_time),
    )


def from_claimed(claimed: Claimed) -> pb2.ClaimSecretRotationResponse:
    """A claim for a service."""
    claim = claimed.claim
    return pb2.ClaimSecretRotationResponse(
        rotation_id=claim.id,
        version=claim.version,
        interrupted=claimed.interrupted,
        expire_time=_timestamp(claim.expire_time),
        ttl=_duration(claim.expire_time - claim.create_time),
    )


def from_key(key: SecretKey, uses: Sequence[KeyUse]) -> key_pb2.SecretKey:
    """The message about the key."""
    return key_pb2.SecretKey(
        latest_version=key.latest,
        min_decryption_version=key.min_decryption,
        latest_create_time=_timestamp(key.create_times[key.latest]),
        uses=[
            key_pb2.SecretKeyUse(
                key_version=use.key_version,
                current_count=use.current_count,
                earlier_count=use.earlier_count,
            )
            for use in uses
        ],
    )


def from_job(job: RewrapJob) -> key_pb2.RewrapJob:
    """The message about a job."""
    return key_pb2.RewrapJob(
        id=job.id,
        state=_JOB_STATE_VALUES[job.state],
        target_key_version=job.target,
        destroy_earlier=job.destroy_earlier,
        total_count=job.total_count,
        rewrapped_count=job.rewrapped_count,
        skipped_count=job.skipped_count,
        failed_count=job.failed_count,
        last_failure=job.last_failure,
        create_time=_timestamp(job.create_time),
        update_time=_timestamp(job.update_time),
        end_time=_timestamp(job.end_time),
        created_by=job.created_by,
    )


def to_ref(bot_id: str, name: str) -> SecretRef:
    """Which secret; ids are compared in lower case."""
    return SecretRef(bot_id.lower(), name)


def _plain(opened: OpenedVersion) -> dict[str, str]:
    return {name: secret.reveal() for name, secret in opened.fields.items()}


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def _duration(length: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(length)
    return duration
