"""What changes is on the audit trail with before and after, in the transaction that changes it."""

from typing import Any

import pytest
from google.protobuf import json_format
from sqlalchemy import text

from cli.embedded import EmbeddedMesh
from mesh.audit import AuditTrail
from mesh.clock import SystemClock
from mesh.database import Database
from mesh.errors import InvalidArgument, PermissionDenied
from mesh.ids import new_id
from mesh.messaging import Messaging
from mesh.outbox import Outbox
from services.configuration.domain.changes import Author
from services.configuration.domain.definition import Definition
from services.configuration.domain.role import Caller, Catalogue, Permission, Role
from services.configuration.domain.role_book import RoleBook
from services.configuration.domain.setting import Wish
from services.configuration.domain.settings_book import SettingsBook
from services.configuration.domain.values import Stored
from services.configuration.store.postgres import PostgresStore
from vivesphere.logging.v1 import log_record_pb2

KEY, ADDRESS = "bot_manager.test.number", "bot_manager.test.address"
USER = new_id()
ANA = Author(USER, "because")
ROOT = Caller(USER, ("admin",))


@pytest.fixture
async def audited(engines: EmbeddedMesh, database: Database) -> PostgresStore:
    """A store whose writes are on the trail, with an outbox that nobody empties."""
    nowhere = Messaging("configuration", "tls://127.0.0.1:1", engines.data.tls_files("configuration"))
    outbox = Outbox(database, nowhere)
    trail = AuditTrail("configuration", "configuration-1", database, outbox, SystemClock())
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM outbox"))
    return PostgresStore(database, trail)


@pytest.fixture
async def book(audited: PostgresStore) -> SettingsBook:
    """A plain setting and a sensitive one."""
    book = SettingsBook(audited, lambda revision: None)
    schema = {"type": "integer"}
    definitions = [
        Definition(KEY, schema, 3, "A number.", "bot_manager"),
        Definition(ADDRESS, {"type": "string"}, "", "An address.", "bot_manager", sensitive=True),
    ]
    await book.register(definitions, Author("service:bot_manager"))
    return book


async def _told(database: Database) -> list[tuple[str, str, str, dict[str, Any]]]:
    """(action, resource, actor, details) of every record in the outbox, in order."""
    async with database.read() as connection:
        rows = (await connection.execute(text("SELECT payload FROM outbox ORDER BY id"))).scalars().all()
    records = [log_record_pb2.LogRecord.FromString(bytes(row)) for row in rows]
    return [
        (r.audit.action, r.audit.resource, r.actor, json_format.MessageToDict(r.audit.request))
        for r in records
    ]


async def test_settings_are_told_with_before_and_after(database: Database, book: SettingsBook) -> None:
    """A reset is told apart from a stored value, and a refused change is not told as one."""
    await book.change(Wish(KEY, Stored(5)), ANA)
    await book.change(Wish(KEY, None), ANA)
    await book.change(Wish(KEY, None), ANA)
    with pytest.raises(InvalidArgument):
        await book.change(Wish(KEY, Stored("x")), ANA)
    common = {"comment": "because"}
    assert await _told(database) == [
        (
            "setting.changed",
            f"settings/{KEY}",
            USER,
            {"revision": 2, "cause": "update", "before": {}, "after": {"value": 5}, **common},
        ),
        (
            "setting.reset",
            f"settings/{KEY}",
            USER,
            {"revision": 3, "cause": "reset", "before": {"value": 5}, "after": {}, **common},
        ),
    ]


async def test_sensitive_values_are_not_told(database: Database, book: SettingsBook) -> None:
    """That they changed is."""
    await book.change(Wish(ADDRESS, Stored("10.0.0.1")), ANA)
    await book.change(Wish(ADDRESS, Stored("10.0.0.2")), ANA)
    first, second = await _told(database)
    assert first[3]["after"] == {"value": "[REDACTED]"}
    assert second[3]["before"] == second[3]["after"] == {"value": "[REDACTED]"}


async def test_a_batch_is_told_setting_by_setting(database: Database, book: SettingsBook) -> None:
    """With the one revision that they share."""
    await book.change_all([Wish(KEY, Stored(1)), Wish(ADDRESS, Stored("x"))], ANA)
    told = await _told(database)
    assert {(action, resource, details["revision"]) for action, resource, _, details in told} == {
        ("setting.changed", f"settings/{KEY}", 2),
        ("setting.changed", f"settings/{ADDRESS}", 2),
    }


async def test_what_is_too_large_is_cut(database: Database, book: SettingsBook) -> None:
    """The record fits into a message, whatever was stored."""
    await book.register([Definition("bot_manager.test.text", {}, "", "A text.", "bot_manager")], ANA)
    for letter in "ab":
        await book.change(Wish("bot_manager.test.text", Stored([letter * 8000] * 7)), ANA)
    told = await _told(database)
    assert told[-1][3]["before"] == "[cut]"
    assert told[-1][3]["revision"] == 4


async def test_roles_and_bindings_are_told_too(database: Database, audited: PostgresStore) -> None:
    """Who may do what is what a trail is asked for first."""
    roles = RoleBook(audited, Catalogue([Permission("posts.read", (), True)]), lambda revision: None, new_id)
    await roles.ensure_built_in("1.0.0", Author("service:configuration"))
    user = new_id()
    await roles.create(Role("reader", ("posts.read",)), ROOT)
    binding = await roles.bind(user, "reader", "", ROOT)
    await roles.update("reader", ROOT, description="Reads.")
    with pytest.raises(PermissionDenied):
        await roles.delete("reader", Caller(new_id(), ()))
    await roles.delete("reader", ROOT)
    told = await _told(database)
    assert {item[:3] for item in told[:4]} == {
        ("role.created", f"roles/{role}", "spiffe://vivesphere/configuration")
        for role in ("admin", "auditor", "operator", "viewer")
    }
    bound = {"subject": user, "roleId": "reader", "botId": ""}
    role = {"permissions": ["posts.read"], "description": ""}
    assert [(action, d["before"], d["after"]) for action, _, actor, d in told[4:] if actor == USER] == [
        ("role.created", {}, role),
        ("role_binding.created", {}, bound),
        ("role.updated", role, role | {"description": "Reads."}),
        ("role_binding.deleted", bound, {}),
        ("role.deleted", role | {"description": "Reads."}, {}),
    ]
    assert binding.id
