"""protobuf ↔ domain. Total functions: no decisions, no errors."""

from collections.abc import Iterable
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from mesh.secret import Secret
from services.authentication.domain.accounts import NewUser, UserChange
from services.authentication.domain.session import Session
from services.authentication.domain.sessions import Introspection
from services.authentication.domain.tokens import TOKEN_TYPE, TokenPair
from services.authentication.domain.user import User, UserState
from vivesphere.authentication.v1 import (
    authentication_service_pb2,
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
_CHANGEABLE = ("display_name", "email", "roles", "state")


def timestamp(time: datetime | None) -> Timestamp | None:
    """None stays unset."""
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


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
