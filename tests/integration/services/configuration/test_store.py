"""The history on PostgreSQL: numbered without gaps, in the order of commits, one winner per race."""

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from mesh.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    MeshError,
    NotFound,
    OutOfRange,
    PermissionDenied,
)
from mesh.ids import new_id
from services.configuration.domain.changes import Author, RoleChange, SettingChange, Transaction
from services.configuration.domain.definition import Definition
from services.configuration.domain.filter import parse_filter
from services.configuration.domain.role import BUILT_IN, Caller, Catalogue, Permission, Role
from services.configuration.domain.role_book import RoleBook
from services.configuration.domain.rollout import Acknowledgement, Refusal
from services.configuration.domain.setting import Wish
from services.configuration.domain.settings_book import SettingsBook
from services.configuration.domain.values import Stored
from services.configuration.store.instances import PostgresInstances
from services.configuration.store.postgres import PostgresStore

KEYS = [f"bot_manager.test.key_{letter}" for letter in "abcdefgh"]
ANA = Author("ana", "because")
ROOT = Caller(new_id(), ("admin",))
CATALOGUE = Catalogue(
    [Permission(name, (), False) for name in ("posts.read", "posts.write", "users.write", "roles.write")]
)


def _definition(key: str) -> Definition:
    return Definition(key, {"type": ["integer", "null"], "maximum": 1000}, 3, "A number.", "bot_manager")


@pytest.fixture
def announced() -> list[int]:
    """Revisions that were announced."""
    return []


@pytest.fixture
async def book(store: PostgresStore, announced: list[int]) -> SettingsBook:
    """Settings with eight definitions, which are revision 1."""
    book = SettingsBook(store, announced.append)
    await book.register([_definition(key) for key in KEYS], Author("service:bot_manager"))
    return book


@pytest.fixture
async def roles(store: PostgresStore, announced: list[int]) -> RoleBook:
    """Roles with the built-in ones, which are revision 1."""
    book = RoleBook(store, CATALOGUE, announced.append, new_id)
    await book.ensure_built_in("1.0.0", Author("service:configuration"))
    return book


async def _log(store: PostgresStore, after: int = 0) -> list[Transaction]:
    async with store.read() as reader:
        head = await reader.log.head()
        return list(await reader.log.transactions(after, head.revision, 10_000))


async def test_revisions_have_no_gaps_and_one_order_under_eight_writers(
    store: PostgresStore, book: SettingsBook, announced: list[int]
) -> None:
    """Watchers count on it: a revision seen means that all before it were seen."""
    seen: list[int] = []
    done = asyncio.Event()

    async def watch() -> None:
        position = 1
        while not done.is_set() or position < (await store.head()).revision:
            async with store.read() as reader:
                for transaction in await reader.log.transactions(position, 2**62, 1000):
                    assert transaction.revision == position + 1
                    position = transaction.revision
                    seen.append(position)

    async def write(key: str) -> None:
        for value in range(25):
            await book.change(Wish(key, Stored(value)), ANA)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*map(write, KEYS))
    done.set()
    await watcher
    assert seen == list(range(2, 202))
    assert sorted(announced) == list(range(1, 202))
    log = await _log(store)
    assert [transaction.revision for transaction in log] == list(range(1, 202))
    times = [transaction.commit_time for transaction in log]
    assert times == sorted(times)


async def test_of_racing_compare_and_sets_exactly_one_wins(book: SettingsBook) -> None:
    """Two operators with the same form open: the second is told, never overwritten silently."""
    values = itertools.count(100)  # never one twice: storing what is stored already always succeeds
    for _ in range(10):
        etag = (await book.get(KEYS[0])).etag
        attempts = (book.change(Wish(KEYS[0], Stored(next(values)), etag), ANA) for _ in range(8))
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        losers = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert len(losers) == 7
        assert all(isinstance(loser, Aborted) and loser.reason == "ETAG_MISMATCH" for loser in losers)


async def test_a_change_that_changes_nothing_makes_no_revision(
    store: PostgresStore, book: SettingsBook
) -> None:
    """A retry is safe, and the history holds changes only."""
    first = await book.change(Wish(KEYS[0], Stored(7), "r0"), ANA)
    again = await book.change(Wish(KEYS[0], Stored(7), "r0"), ANA)
    assert (first.revision, again) == (2, first)
    assert (await store.head()).revision == 2


async def test_a_batch_is_one_revision_or_nothing(store: PostgresStore, book: SettingsBook) -> None:
    """Watchers see all of it at once; a refused part takes the rest with it and every refusal is named."""
    settings, revision = await book.change_all([Wish(key, Stored(9)) for key in KEYS], ANA)
    assert revision == 2
    assert {setting.revision for setting in settings} == {2}
    with pytest.raises(InvalidArgument) as refused:
        await book.change_all(
            [Wish(KEYS[0], Stored(1)), Wish(KEYS[1], Stored("x")), Wish("bot_manager.test.kay_c", None)], ANA
        )
    assert [violation.field for violation in refused.value.violations] == ["updates[1].value", "updates[2]"]
    assert "key_c" in refused.value.violations[1].description
    assert (await store.head()).revision == 2


async def test_a_stored_null_and_a_reset_are_told_apart(store: PostgresStore, book: SettingsBook) -> None:
    """In the table, in the log, and in what watchers get."""
    stored = await book.change(Wish(KEYS[0], Stored(None)), ANA)
    assert (stored.value, stored.stored) == (None, Stored(None))
    reset = await book.change(Wish(KEYS[0], None), ANA)
    assert (reset.value, reset.stored, reset.revision, reset.actor) == (3, None, 3, "ana")
    first, second = (transaction.changes[0] for transaction in await _log(store, after=1))
    assert isinstance(first, SettingChange)
    assert isinstance(second, SettingChange)
    assert (first.old, first.new, first.effective) == (None, Stored(None), None)
    assert (second.old, second.new, second.effective) == (Stored(None), None, 3)


async def test_rollback_takes_an_earlier_value_and_can_be_rolled_back(book: SettingsBook) -> None:
    """A rollback is a revision like any other."""
    await book.change(Wish(KEYS[0], Stored(10)), ANA)
    await book.change(Wish(KEYS[0], Stored(20)), ANA)
    assert (await book.rollback(KEYS[0], 2, "", ANA)).value == 10
    assert (await book.rollback(KEYS[0], 3, "", ANA)).value == 20
    assert (await book.rollback(KEYS[0], 1, "", ANA)).stored is None
    with pytest.raises(OutOfRange):
        await book.rollback(KEYS[0], 99, "", ANA)
    entries, _ = await book.history(KEYS[0], None, 10)
    assert [change.new for _, change in entries] == [None, Stored(20), Stored(10), Stored(20), Stored(10)]
    assert entries[0][0].author == ANA


async def test_history_pages_hold_every_entry_once(book: SettingsBook) -> None:
    """A batch has many entries of one revision; a page may end among them."""
    await book.change_all([Wish(key, Stored(9)) for key in KEYS], ANA)
    await book.change(Wish(KEYS[3], Stored(1)), ANA)
    seen: list[tuple[int, str]] = []
    position = None
    while page := (await book.history("", position, 2))[0]:
        seen += [(transaction.revision, change.key) for transaction, change in page]
        position = seen[-1]
    assert seen == [(3, KEYS[3]), *((2, key) for key in reversed(KEYS))]


async def test_settings_are_listed_by_key_and_filter(book: SettingsBook) -> None:
    """Pages go on after the last key; filters run in the database."""
    await book.change(Wish(KEYS[2], Stored(1)), ANA)
    page, revision = await book.page(KEYS[4], 2, parse_filter(""))
    assert ([setting.definition.key for setting in page], revision) == (KEYS[5:7], 2)
    for text, expected in (
        ("modified = true", [KEYS[2]]),
        (f'key = "{KEYS[1]}" AND modified = false', [KEYS[1]]),
        ('key = "bot_manager.test.*"', KEYS),
        ('key = "bot%"', []),
        ('definition.owner = "logging"', []),
    ):
        page, _ = await book.page("", 100, parse_filter(text))
        assert [setting.definition.key for setting in page] == expected


async def test_unknown_keys_are_refused_everywhere(book: SettingsBook) -> None:
    """There is nothing a value of an undefined setting could mean."""
    for call in (
        book.get("bot_manager.test.key_z"),
        book.change(Wish("bot_manager.test.key_z", Stored(1)), ANA),
        book.rollback("bot_manager.test.key_z", 1, "", ANA),
        book.history("bot_manager.test.key_z", None, 1),
    ):
        with pytest.raises(NotFound) as refused:
            await call
        assert refused.value.reason == "SETTING_NOT_FOUND"


async def test_a_tighter_law_resets_what_breaks_it_in_the_same_revision(
    store: PostgresStore, book: SettingsBook
) -> None:
    """And an older release cannot loosen it again."""
    await book.change(Wish(KEYS[0], Stored(500)), ANA)
    tighter = Definition(
        KEYS[0], {"type": "integer", "maximum": 10}, 3, "A number.", "bot_manager", release="2.0.0"
    )
    revision, invalid = await book.register([tighter], Author("service:bot_manager"))
    assert (revision, invalid) == (3, (KEYS[0],))
    assert (await book.get(KEYS[0])).value == 3
    assert await book.register([_definition(KEYS[0])], ANA) == (3, ())
    (transaction,) = await _log(store, after=2)
    assert len(transaction.changes) == 2


async def test_declaring_again_writes_nothing(
    store: PostgresStore, book: SettingsBook, announced: list[int]
) -> None:
    """Every process does it at every start."""
    repeats = (book.register([_definition(key) for key in KEYS], ANA) for _ in range(8))
    assert await asyncio.gather(*repeats) == [(1, ())] * 8
    assert announced == [1]


async def test_built_in_roles_are_the_first_revision_once(store: PostgresStore, announced: list[int]) -> None:
    """Replicas that start together must agree on one."""
    books = [RoleBook(store, CATALOGUE, announced.append, new_id) for _ in range(4)]
    await asyncio.gather(*(book.ensure_built_in("1.0.0", ANA) for book in books))
    (first,) = await _log(store)
    assert {change.role_id for change in first.changes if isinstance(change, RoleChange)} == {
        role.id for role in BUILT_IN
    }
    assert announced == [1]


async def test_an_older_release_leaves_built_in_roles_alone(store: PostgresStore, roles: RoleBook) -> None:
    """Old and new replicas run side by side during an upgrade."""
    async with store.write() as writer:
        await writer.note_built_in_release("2.0.0")
    await roles.ensure_built_in("1.1.0", ANA)
    head = await store.head()
    assert (head.revision, head.built_in_release) == (1, "2.0.0")


async def test_a_role_is_made_changed_and_deleted(roles: RoleBook) -> None:
    """Its etag follows it; its bindings go with it."""
    made = await roles.create(Role("poster", ("posts.read",), "Posts."), ROOT)
    assert made.create_time == made.update_time
    changed = await roles.update("poster", ROOT, permissions=("posts.*",), etag=f"r{made.revision:x}")
    assert (changed.permissions, changed.description, changed.create_time) == (
        ("posts.*",),
        "Posts.",
        made.create_time,
    )
    with pytest.raises(Aborted):
        await roles.update("poster", ROOT, description="x", etag=f"r{made.revision:x}")
    assert await roles.update("poster", ROOT, permissions=("posts.*",), etag="r0") == changed
    binding = await roles.bind(new_id(), "poster", "", ROOT)
    await roles.delete("poster", ROOT)
    assert await roles.bindings("", "", "", "", 10) == []
    with pytest.raises(NotFound):
        await roles.unbind(binding.id, ROOT)
    with pytest.raises(NotFound):
        await roles.get("poster")


async def test_a_request_id_makes_creation_safe_to_repeat(roles: RoleBook) -> None:
    """The answer may have been lost; another role under the same id is a mistake of the client."""
    request = new_id()
    role = Role("poster", ("posts.read",))
    first = await roles.create(role, ROOT, request)
    assert await roles.create(role, ROOT, request) == first
    with pytest.raises(InvalidArgument) as refused:
        await roles.create(Role("poster", ("posts.write",)), ROOT, request)
    assert refused.value.reason == "IDEMPOTENCY_KEY_REUSED"
    with pytest.raises(AlreadyExists):
        await roles.create(role, ROOT, new_id())


@pytest.mark.parametrize(
    "attempt",
    [
        lambda book: book.update("admin", ROOT, permissions=()),
        lambda book: book.delete("viewer", ROOT),
    ],
)
async def test_built_in_roles_stay_as_they_are(
    roles: RoleBook, attempt: Callable[[RoleBook], object]
) -> None:
    """The documentation and every installation count on them."""
    with pytest.raises(FailedPrecondition) as refused:
        await attempt(roles)  # type: ignore[misc]  # coroutines of either kind
    assert refused.value.reason == "ROLE_BUILT_IN"


async def test_nobody_gives_what_they_do_not_hold_by_any_way(roles: RoleBook) -> None:
    """By making a role, by widening one, or by binding one."""
    poster = Role("poster", ("posts.*", "roles.write"))
    await roles.create(poster, ROOT)
    await roles.create(Role("boss", ("users.write",)), ROOT)
    ana = Caller(new_id(), ())
    binding = await roles.bind(ana.user_id, "poster", "", ROOT)
    assert await roles.bind(ana.user_id, "poster", "", ROOT) == binding
    await roles.create(Role("reader", ("posts.read",)), ana)
    for attempt in (
        roles.create(Role("other", ("users.write",)), ana),
        roles.update("reader", ana, permissions=("posts.read", "users.write")),
        roles.bind(ana.user_id, "boss", "", ana),
        roles.bind(ana.user_id, "admin", new_id(), ana),
    ):
        with pytest.raises(PermissionDenied):
            await attempt
    await roles.unbind(binding.id, ROOT)
    with pytest.raises(PermissionDenied):
        await roles.create(Role("later", ("posts.read",)), ana)


async def test_two_administrators_cannot_remove_each_other(roles: RoleBook) -> None:
    """Under the writer's lock the second finds that they are the last."""
    first, second = Caller(new_id(), ()), Caller(new_id(), ())
    bindings = [await roles.bind(who.user_id, "admin", "", ROOT) for who in (first, second)]
    outcomes = await asyncio.gather(
        roles.unbind(bindings[1].id, first), roles.unbind(bindings[0].id, second), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, MeshError)]
    assert len(refused) == 1
    assert refused[0].reason in ("LAST_ADMINISTRATOR", "PERMISSION_MISSING")


async def test_the_newest_word_of_an_instance_counts(instances: PostgresInstances) -> None:
    """Acknowledgements may overtake each other; a new history begins at nothing."""
    now, history = datetime(2026, 1, 1, tzinfo=UTC), new_id()

    async def say(revision: int, *refusals: Refusal, of: str = history) -> tuple[int, int]:
        said = Acknowledgement("logging", "logging-1", revision, of, refusals)
        await instances.acknowledge(said, now)
        (known,) = await instances.all("logging", now - timedelta(hours=1), 10)
        return known.applied_revision, known.refused_revision

    assert await say(5) == (5, 0)
    assert await say(4) == (5, 0)
    assert await say(6, Refusal("a.b", "too large")) == (5, 6)
    assert await say(5) == (5, 6)
    assert await say(7) == (7, 0)
    assert await say(1, Refusal("a.b", "no"), of=new_id()) == (0, 1)


async def test_a_newer_stream_of_an_instance_survives_the_end_of_the_older(
    instances: PostgresInstances,
) -> None:
    """After a reconnect the old stream is often the last to notice."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    later = now + timedelta(seconds=1)
    await instances.saw([("logging", "logging-1", now)], now)
    await instances.saw([("logging", "logging-1", later)], later)
    await instances.left("logging", "logging-1", now)
    (known,) = await instances.all("", now, 10)
    assert (known.connect_time, known.last_seen_time) == (later, later)
    await instances.left("logging", "logging-1", later)
    assert (await instances.all("", now, 10))[0].connect_time is None
