"""Finds what a revocation hits: things filed under the ids that could be revoked."""

from collections.abc import Iterable
from typing import Generic, TypeAlias, TypeVar

from mesh.identity.tokens import AccessToken
from vivesphere.authentication.v1.revocation_pb2 import (
    REVOCATION_KIND_API_KEY,
    REVOCATION_KIND_SESSION,
    REVOCATION_KIND_SIGNING_KEY,
    REVOCATION_KIND_TOKEN,
    REVOCATION_KIND_USER,
    Revocation,
)

Name: TypeAlias = tuple[int, str]
"""Kind and id of a revocation."""
T = TypeVar("T")


def names_of_token(token: AccessToken) -> tuple[Name, ...]:
    """What revokes an access token."""
    return (
        (REVOCATION_KIND_SESSION, token.session_id),
        (REVOCATION_KIND_USER, token.subject),
        (REVOCATION_KIND_TOKEN, token.token_id),
        (REVOCATION_KIND_SIGNING_KEY, token.key_id),
    )


def names_of_api_key(api_key_id: str, owner_id: str) -> tuple[Name, ...]:
    """What revokes what is known of an API key. Its owner's revocation does not end the key, but may have changed what it may do."""
    return ((REVOCATION_KIND_API_KEY, api_key_id), (REVOCATION_KIND_USER, owner_id))


class Revocable(Generic[T]):
    """Things by name. Finding costs one look-up, however many there are."""

    def __init__(self) -> None:
        self._things: dict[Name, dict[T, None]] = {}

    def add(self, thing: T, names: Iterable[Name]) -> None:
        """File `thing` under its names."""
        for name in names:
            self._things.setdefault(name, {})[thing] = None

    def discard(self, thing: T, names: Iterable[Name]) -> None:
        """Take it out again; the names are those it was filed under."""
        for name in names:
            things = self._things.get(name)
            if things is not None:
                things.pop(thing, None)
                if not things:
                    del self._things[name]

    def hit_by(self, revocation: Revocation) -> list[T]:
        """The things filed under what the revocation names."""
        return list(self._things.get((revocation.kind, revocation.id), ()))
