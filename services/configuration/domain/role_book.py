"""What can be done to roles and bindings: each use is one transaction under the writer's lock, and at most one revision.

What the caller holds is read in the same transaction, so that a right taken away a moment ago no longer gives anything.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from mesh.errors import AlreadyExists, InvalidArgument, NotFound
from services.configuration.domain.changes import (
    Author,
    BindingChange,
    Cause,
    Change,
    RoleChange,
    Transaction,
)
from services.configuration.domain.definition import release_order
from services.configuration.domain.role import (
    BUILT_IN,
    Caller,
    Catalogue,
    Role,
    RoleBinding,
    held_by,
    require_administrator_left,
    require_custom,
    require_held,
    role_missing,
)
from services.configuration.domain.setting import check_etag
from services.configuration.domain.settings_book import Announce
from services.configuration.domain.values import canonical
from services.configuration.store.ports import Reader, Store, Writer

CREATE = "RoleService/CreateRole"


class RoleBook:
    """Roles, and who holds them. `new_id` makes ids of bindings, each greater than the last."""

    def __init__(
        self, store: Store, catalogue: Catalogue, announce: Announce, new_id: Callable[[], str]
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._announce = announce
        self._new_id = new_id

    async def get(self, role_id: str) -> Role:
        """Raises NotFound (ROLE_NOT_FOUND)."""
        async with self._store.read() as reader:
            return await _required(reader, role_id)

    async def page(self, after: str, limit: int) -> Sequence[Role]:
        """Roles after an id, ascending."""
        async with self._store.read() as reader:
            return await reader.roles.page(after, limit)

    async def bindings(
        self, subject: str, role_id: str, bot_id: str, before: str, limit: int
    ) -> Sequence[RoleBinding]:
        """Bindings before an id, newest first; empty arguments select everything."""
        async with self._store.read() as reader:
            return await reader.roles.bindings(
                subject=subject, role_id=role_id, bot_id=bot_id, before=before, limit=limit
            )

    async def create(self, role: Role, caller: Caller, request_id: str = "") -> Role:
        """Make a role. Raises InvalidArgument, PermissionDenied, or AlreadyExists (ROLE_EXISTS).

        A repeat of the same request id within a day answers the first result.
        """
        self._catalogue.check(role.permissions)
        digest = _digest(role)
        async with self._store.write() as writer:
            first = await _first_answer(writer, request_id, caller, digest)
            if first is not None:
                return first
            require_held(await _held(writer, caller), role.permissions)
            if await writer.roles.get(role.id) is not None:
                raise AlreadyExists("ROLE_EXISTS", f"a role called {role.id} exists", field="role.id")
            made = await writer.append(
                [RoleChange(role.id, None, role, Cause.CREATE)], Author(caller.user_id)
            )
            stored = await _required(writer, role.id)
            if request_id:
                await writer.remember(request_id, CREATE, caller.user_id, digest, {"role": role.id})
        self._announce(made.revision)
        return stored

    async def update(
        self,
        role_id: str,
        caller: Caller,
        *,
        permissions: tuple[str, ...] | None = None,
        description: str | None = None,
        etag: str = "",
    ) -> Role:
        """Change what is not None. Raises NotFound, FailedPrecondition (ROLE_BUILT_IN), Aborted, InvalidArgument, PermissionDenied.

        The caller must hold what the role grants, before and after: taking away is as much power over others as giving.
        """
        async with self._store.write() as writer:
            old = await _required(writer, role_id)
            require_custom(old)
            new = replace(
                old,
                permissions=old.permissions if permissions is None else permissions,
                description=old.description if description is None else description,
            )
            if new == old:
                return old
            check_etag(etag, old.revision, f"the role {role_id}")
            if new.permissions != old.permissions:
                self._catalogue.check(new.permissions)
            require_held(await _held(writer, caller), (*old.permissions, *new.permissions))
            change = RoleChange(role_id, old, new, Cause.UPDATE)
            made = await writer.append([change], Author(caller.user_id))
            stored = await _required(writer, role_id)
        self._announce(made.revision)
        return stored

    async def delete(self, role_id: str, caller: Caller, etag: str = "") -> None:
        """Delete a role with its bindings. Raises NotFound, FailedPrecondition (ROLE_BUILT_IN), Aborted or PermissionDenied."""
        async with self._store.write() as writer:
            old = await _required(writer, role_id)
            require_custom(old)
            check_etag(etag, old.revision, f"the role {role_id}")
            require_held(await _held(writer, caller), old.permissions)
            changes: list[Change] = [
                BindingChange(binding.id, binding, None, Cause.DELETE)
                for binding in await writer.roles.bindings(role_id=role_id)
            ]
            changes.append(RoleChange(role_id, old, None, Cause.DELETE))
            made = await writer.append(changes, Author(caller.user_id))
        self._announce(made.revision)

    async def bind(self, subject: str, role_id: str, bot_id: str, caller: Caller) -> RoleBinding:
        """Give a role to a user; a binding that exists is answered as it is. Raises NotFound or PermissionDenied."""
        async with self._store.write() as writer:
            role = await _required(writer, role_id)
            require_held(await _held(writer, caller), role.permissions)
            held = await writer.roles.bindings(subject=subject, role_id=role_id)
            same = [binding for binding in held if binding.bot_id == bot_id]
            if same:
                return same[0]
            binding = RoleBinding(self._new_id(), subject, role_id, bot_id, caller.user_id)
            made = await writer.append(
                [BindingChange(binding.id, None, binding, Cause.CREATE)], Author(caller.user_id)
            )
        self._announce(made.revision)
        return replace(binding, create_time=made.commit_time)

    async def unbind(self, binding_id: str, caller: Caller) -> None:
        """Take a binding back. Raises NotFound, PermissionDenied, or FailedPrecondition (LAST_ADMINISTRATOR)."""
        async with self._store.write() as writer:
            binding = await writer.roles.binding(binding_id)
            if binding is None:
                raise NotFound("ROLE_BINDING_NOT_FOUND", "no such role binding")
            role = await writer.roles.get(binding.role_id)
            require_held(await _held(writer, caller), role.permissions if role else ())
            others = [
                item for item in await writer.roles.bindings(role_id=binding.role_id) if item != binding
            ]
            require_administrator_left(caller, binding, others)
            made = await writer.append(
                [BindingChange(binding_id, binding, None, Cause.DELETE)], Author(caller.user_id)
            )
        self._announce(made.revision)

    async def ensure_built_in(self, release: str, author: Author) -> None:
        """Put the product's own roles in force: the first revision of a new history, later one where a release changed them.

        An older release never takes back what a newer one has put in force.
        """
        async with self._store.read() as reader:
            if (await reader.log.head()).built_in_release == release:
                return
        made: Transaction | None = None
        async with self._store.write() as writer:
            if release_order(release) <= release_order(writer.head.built_in_release):
                return
            known = {role.id: role for role in await writer.roles.all()}
            changes = [
                RoleChange(role.id, known.get(role.id), role, Cause.BUILT_IN)
                for role in BUILT_IN
                if role.id not in known or _content(known[role.id]) != _content(role)
            ]
            if changes:
                made = await writer.append(changes, author)
            await writer.note_built_in_release(release)
        if made is not None:
            self._announce(made.revision)


def _content(role: Role) -> Role:
    return replace(role, revision=0, create_time=None, update_time=None)


def _digest(role: Role) -> str:
    text = canonical({"id": role.id, "permissions": list(role.permissions), "description": role.description})
    return hashlib.sha256(text.encode()).hexdigest()


async def _first_answer(writer: Writer, request_id: str, caller: Caller, digest: str) -> Role | None:
    remembered = await writer.recall(request_id, CREATE, caller.user_id) if request_id else None
    if remembered is None:
        return None
    if remembered[0] != digest:
        raise InvalidArgument(
            "IDEMPOTENCY_KEY_REUSED", "this request id was used for another role", field="request_id"
        )
    return await _required(writer, remembered[1]["role"])


async def _held(reader: Reader, caller: Caller) -> frozenset[str]:
    roles = {role.id: role for role in await reader.roles.all()}
    return held_by(caller, roles, await reader.roles.bindings(subject=caller.user_id))


async def _required(reader: Reader, role_id: str) -> Role:
    role = await reader.roles.get(role_id)
    if role is None:
        raise role_missing(role_id)
    return role
