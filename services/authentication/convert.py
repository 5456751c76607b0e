"""protobuf ↔ domain. Total functions: no decisions, no errors."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from mesh.secret import Secret
from services.authentication import revocation_feed
from services.authentication.domain.accounts import NewUser, UserChange
from services.authentication.domain.api_key import ApiKey, ApiKeyState, NewApiKey, ResolvedKey
from services.authentication.domain.factor import Enrolment
from services.authentication.domain.revocation import Revocation, RevocationKind
from services.authentication.domain.session import Session
from services.authentication.domain.sessions import Introspection
from services.authentication.domain.signing import KeyState, SigningKey
from services.authentication.domain.tokens import TOKEN_TYPE, TokenPair
from services.authentication.domain.user import User, UserState
from vivesphere.authentication.v1 import (
    api_key_pb2,
    api_key_service_pb2,
    authentication_service_pb2,
    revocation_pb2,
    session_pb2,
    token_pb2,
    user_pb2,
    user_service_pb2,
)

_TO_STATE = {
    UserState.ACTIVE: user_pb2.USER_STATE_ACTIVE,
    UserState.DISABLED: user_pb2.USER_STATE_DISABLED,
}
_FROM_STATE = {number: state for state, number in _TO_STATE.items()}
_TO_KEY_STATE = {
    state: token_pb2.SigningKeyState.Value(f"SIGNING_KEY_STATE_{state.value}") for state in KeyState
}
_TO_REVOCATION_KIND = {
    kind: revocation_pb2.RevocationKind.Value(f"REVOCATION_KIND_{kind.value}") for kind in RevocationKind
}
SNAPSHOT_PART: Final = 1_000
"""Entries of a snapshot in one message."""
_TO_API_KEY_STATE = {
    ApiKeyState.ACTIVE: api_key_pb2.API_KEY_STATE_ACTIVE,
    ApiKeyState.EXPIRED: api_key_pb2.API_KEY_STATE_EXPIRED,
    ApiKeyState.REVOKED: api_key_pb2.API_KEY_STATE_REVOKED,
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_SECONDS: Final = 250_000_000_000
"""Year 9892: past every bound that is checked, within what `datetime` can hold."""
_CHANGEABLE = ("display_name", "email", "roles", "state")


def timestamp(time: datetime | None) -> Timestamp | None:
    """None stays unset."""
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


def moment(message: Timestamp) -> datetime:
    """An aware UTC time, to the microsecond; total: what no calendar holds becomes a time that every check refuses."""
    seconds = min(max(message.seconds, 0), _LATEST_SECONDS)
    return _EPOCH + timedelta(seconds=seconds, microseconds=message.nanos // 1000)


def secret(text: str) -> Secret | None:
    """Empty is not given."""
    return Secret(text) if text else None


def token_pair_to_proto(pair: TokenPair) -> token_pb2.TokenPair:
    """The pair as the contract has it."""
    return token_pb2.TokenPair(
        access_token=pair.access_token,
        refresh_token=pair.refresh_token,
        token_type=TOKEN_TYPE,
        expires_in=int(pair.expires_in.total_seconds()),
        session_id=pair.session_id,
        password_change_required=pair.password_change_required,
        device_token=pair.device_token,
    )


def user_to_proto(user: User, permissions: Iterable[str] = ()) -> user_pb2.User:
    """The user as the contract has it; `permissions` for GetCurrentUser."""
    return user_pb2.User(
        id=user.id,
        username=user.username,
        display_name=user.display_name,
        email=user.email,
        roles=user.roles,
        state=_TO_STATE[user.state],
        create_time=timestamp(user.create_time),
        update_time=timestamp(user.update_time),
        etag=user.etag,
        totp_enrolled=user.totp_enrolled,
        password_change_required=user.password_change_required,
        last_sign_in_time=timestamp(user.last_sign_in_time),
        throttled_until_time=timestamp(user.throttled_until_time),
        permissions=permissions,
    )


def session_to_proto(session: Session, current_id: str) -> session_pb2.Session:
    """The session as the contract has it; `current_id` is the caller's own."""
    return session_pb2.Session(
        id=session.id,
        user_id=session.user_id,
        user_agent=session.user_agent,
        address=session.address,
        create_time=timestamp(session.create_time),
        last_use_time=timestamp(session.last_use_time),
        idle_expire_time=timestamp(session.idle_expire_time),
        expire_time=timestamp(session.expire_time),
        current=session.id == current_id,
        second_factor_time=timestamp(session.second_factor_time),
    )


def introspection_to_proto(
    known: Introspection, permissions: Iterable[str]
) -> authentication_service_pb2.IntrospectTokenResponse:
    """What an active token stands for."""
    return authentication_service_pb2.IntrospectTokenResponse(
        active=True,
        subject=known.user.id,
        username=known.user.username,
        roles=sorted(known.token.roles),
        permissions=permissions,
        session_id=known.session.id,
        expire_time=timestamp(known.token.expire_time),
        second_factor_time=timestamp(known.session.second_factor_time),
        password_change_required=known.user.password_change_required,
    )


def signing_key_to_proto(key: SigningKey) -> token_pb2.SigningKey:
    """The key as the contract has it, without its private half."""
    return token_pb2.SigningKey(
        id=key.id,
        state=_TO_KEY_STATE[key.state],
        create_time=timestamp(key.create_time),
        activate_time=timestamp(key.activate_time),
        retire_time=timestamp(key.retire_time),
    )


def revocation_event_to_proto(
    event: revocation_feed.Event,
) -> Iterator[authentication_service_pb2.WatchRevocationsResponse]:
    """One event of the feed as the messages it takes: a snapshot may need several."""
    response = authentication_service_pb2.WatchRevocationsResponse
    match event:
        case revocation_feed.Snapshot(sequence, entries):
            parts = [entries[at : at + SNAPSHOT_PART] for at in range(0, len(entries), SNAPSHOT_PART)] or [()]
            for number, part in enumerate(parts, start=1):
                snapshot = revocation_pb2.RevocationSnapshot(
                    sequence=sequence,
                    revocations=[revocation_to_proto(entry) for entry in part],
                    more=number < len(parts),
                )
                yield response(snapshot=snapshot)
        case revocation_feed.Heartbeat(sequence, time):
            heartbeat = revocation_pb2.RevocationHeartbeat(sequence=sequence, time=timestamp(time))
            yield response(heartbeat=heartbeat)
        case Revocation():
            yield response(revocation=revocation_to_proto(event))


def revocation_to_proto(entry: Revocation) -> revocation_pb2.Revocation:
    """The entry as the contract has it."""
    return revocation_pb2.Revocation(
        sequence=entry.sequence,
        kind=_TO_REVOCATION_KIND[entry.kind],
        id=entry.target_id,
        revoke_time=timestamp(entry.revoke_time),
        expire_time=timestamp(entry.expire_time),
    )


def key_introspection_to_proto(
    known: ResolvedKey, permissions: Iterable[str]
) -> authentication_service_pb2.IntrospectTokenResponse:
    """What an API key in force stands for."""
    return authentication_service_pb2.IntrospectTokenResponse(
        active=True,
        subject=known.owner.id,
        username=known.owner.username,
        roles=sorted(known.owner.token_roles),
        permissions=permissions,
        expire_time=timestamp(known.api_key.expire_time),
        api_key_id=known.api_key.id,
        password_change_required=known.owner.password_change_required,
    )


def api_key_to_proto(key: ApiKey, now: datetime, shown: Secret | None = None) -> api_key_pb2.ApiKey:
    """The key as the contract has it; `shown` is the key itself, for the answer that made it."""
    return api_key_pb2.ApiKey(
        id=key.id,
        user_id=key.user_id,
        display_name=key.display_name,
        permissions=key.permissions,
        prefix=key.prefix,
        key=shown.reveal() if shown else "",
        state=_TO_API_KEY_STATE[key.state(now)],
        create_time=timestamp(key.create_time),
        expire_time=timestamp(key.expire_time),
        last_use_time=timestamp(key.last_use_time),
        revoke_time=timestamp(key.revoke_time),
    )


def new_api_key_from_proto(request: api_key_service_pb2.CreateApiKeyRequest) -> NewApiKey:
    """What the new key is to be."""
    return NewApiKey(
        display_name=request.display_name,
        permissions=tuple(request.permissions),
        expire_time=moment(request.expire_time) if request.HasField("expire_time") else None,
    )


def enrolment_to_proto(made: Enrolment, qr_png: bytes) -> authentication_service_pb2.EnrollTotpResponse:
    """The new secret in its three forms."""
    return authentication_service_pb2.EnrollTotpResponse(
        otpauth_uri=made.uri.reveal(),
        qr_png=qr_png,
        secret=made.secret.reveal(),
        expire_time=timestamp(made.forget_time),
    )


def new_user_from_proto(request: user_service_pb2.CreateUserRequest) -> NewUser:
    """What the new account is to be."""
    return NewUser(
        username=request.username,
        password=Secret(request.password),
        display_name=request.display_name,
        email=request.email,
        roles=tuple(request.roles),
        password_change_required=request.password_change_required,
    )


def user_change_from_proto(request: user_service_pb2.UpdateUserRequest) -> UserChange:
    """The fields that the mask names, or without a mask those that are set."""
    user = request.user
    named = set(request.update_mask.paths) or {name for name in _CHANGEABLE if getattr(user, name)}
    return UserChange(
        display_name=user.display_name if "display_name" in named else None,
        email=user.email if "email" in named else None,
        roles=tuple(user.roles) if "roles" in named else None,
        state=_FROM_STATE.get(user.state) if "state" in named else None,
        etag=user.etag,
    )
