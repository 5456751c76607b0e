"""Comparing revisions, exporting and importing, on PostgreSQL."""

import asyncio

import pytest

from mesh.errors import InvalidArgument, NotFound, OutOfRange
from services.configuration.domain.changes import Author, Cause
from services.configuration.domain.comparison import Difference
from services.configuration.domain.definition import Definition
from services.configuration.domain.setting import Wish
from services.configuration.domain.settings_book import SettingsBook
from services.configuration.domain.transfer_book import TransferBook
from services.configuration.domain.values import Stored
from services.configuration.store.postgres import PostgresStore

A, B, C, D = (f"bot_manager.test.key_{letter}" for letter in "abcd")
SECRET = "bot_manager.test.address"
ANA = Author("ana", "because")


@pytest.fixture
def announced() -> list[int]:
    """Revisions that were announced."""
    return []


@pytest.fixture
async def book(store: PostgresStore) -> SettingsBook:
    """Five definitions, one of them sensitive, as revision 1."""
    book = SettingsBook(store, lambda revision: None)
    plain = [
        Definition(key, {"type": ["integer", "null"], "maximum": 1000}, 3, "A number.", "bot_manager")
        for key in (A, B, C, D)
    ]
    hidden = Definition(SECRET, {"type": "string"}, "", "An address.", "bot_manager", sensitive=True)
    await book.register([*plain, hidden], Author("service:bot_manager"))
    return book


@pytest.fixture
def transfers(store: PostgresStore, book: SettingsBook, announced: list[int]) -> TransferBook:
    """What is tested."""
    return TransferBook(store, announced.append)


async def test_two_revisions_are_compared_wherever_they_lie(
    transfers: TransferBook, book: SettingsBook
) -> None:
    """0 stands for all defaults and for the newest; a stored null is not a default."""
    await book.change_all([Wish(A, Stored(1)), Wish(B, Stored(2))], ANA)  # 2
    await book.change_all([Wish(A, Stored(5)), Wish(B, None), Wish(C, Stored(None))], ANA)  # 3
    await book.change(Wish(A, Stored(1)), ANA)  # 4
    two_to_three = (
        Difference(A, Stored(1), Stored(5)),
        Difference(B, Stored(2), None),
        Difference(C, None, Stored(None)),
    )
    assert (await transfers.compare(2, 3)).differences == two_to_three
    back = tuple(Difference(item.key, item.new, item.old) for item in two_to_three)
    assert (await transfers.compare(3, 2)).differences == back
    assert (await transfers.compare(2, 0)).differences == two_to_three[1:]
    everything = await transfers.compare(0, 0)
    assert everything.to_revision == 4
    assert everything.differences == (Difference(A, None, Stored(1)), Difference(C, None, Stored(None)))
    assert (await transfers.compare(4, 4)).differences == ()


async def test_a_revision_that_is_not_there_is_named(transfers: TransferBook) -> None:
    """With the oldest that is, so that the caller can go on."""
    with pytest.raises(OutOfRange) as refused:
        await transfers.compare(0, 99)
    assert refused.value.reason == "REVISION_COMPACTED"
    assert refused.value.metadata["oldestRevision"] == "0"


async def test_sensitive_values_are_named_as_hidden(transfers: TransferBook, book: SettingsBook) -> None:
    """That something changed may be seen; what it is may not."""
    await book.change(Wish(SECRET, Stored("10.0.0.1")), ANA)
    assert (await transfers.compare(0, 0)).hidden == {SECRET}


@pytest.mark.parametrize("include_defaults", [False, True])
async def test_what_is_exported_changes_nothing_when_imported(
    transfers: TransferBook, book: SettingsBook, announced: list[int], include_defaults: bool
) -> None:
    """Whether or not the file spells out defaults, and whether or not others are reset."""
    await book.change_all([Wish(A, Stored(7)), Wish(C, Stored(3)), Wish(SECRET, Stored("10.0.0.1"))], ANA)
    text = await transfers.export(include_defaults=include_defaults)
    assert text == await transfers.export(include_defaults=include_defaults)
    assert "revision 2" in text.splitlines()[0]
    assert "10.0.0.1" not in text
    assert (B in text, text.count("# default\n")) == (include_defaults, 2 * include_defaults)
    for reset_others in (False, True):
        done = await transfers.bring(text, reset_others=reset_others, author=ANA)
        assert (done.differences, done.revision) == ((), 0)
    assert announced == []


async def test_an_import_is_one_revision_with_its_cause(
    store: PostgresStore, transfers: TransferBook, book: SettingsBook, announced: list[int]
) -> None:
    """Others are reset when that is asked for, sensitive ones never."""
    await book.change_all([Wish(A, Stored(7)), Wish(B, Stored(8)), Wish(SECRET, Stored("10.0.0.1"))], ANA)
    dry = await transfers.check(f"{C}: 9\n{A}: 1\n", reset_others=True)
    done = await transfers.bring(f"{C}: 9\n{A}: 1\n", reset_others=True, author=ANA)
    assert done.differences == dry.differences
    assert done.differences == (
        Difference(A, Stored(7), Stored(1)),
        Difference(B, Stored(8), None),
        Difference(C, None, Stored(9)),
    )
    assert (dry.revision, done.revision, announced) == (0, 3, [3])
    entries, _ = await book.history("", None, 3)
    assert {(entry.revision, change.cause) for entry, change in entries} == {(3, Cause.IMPORT)}
    assert (await book.get(SECRET)).value == "10.0.0.1"
    kept = await transfers.bring(f"{A}: 2\n", reset_others=False, author=ANA)
    assert [item.key for item in kept.differences] == [A]
    assert (await store.head()).revision == 4


async def test_a_dry_run_lists_everything_and_a_real_one_does_nothing(
    store: PostgresStore, transfers: TransferBook
) -> None:
    """One look at the list must be enough to mend the file; half a file must never be in force."""
    text = f"{A}: 5\n{B}: 5000\nbot_manager.test.key_x: 1\n{D}: [1]\n{C}: 5\n"
    dry = await transfers.check(text, reset_others=False)
    assert [(item.key, item.line, item.error.reason) for item in dry.problems] == [
        (B, 2, "INVALID_FIELD"),
        ("bot_manager.test.key_x", 3, "SETTING_NOT_FOUND"),
        (D, 4, "INVALID_FIELD"),
    ]
    assert "did you mean" in dry.problems[1].error.message
    assert [item.key for item in dry.differences] == [A, C]
    with pytest.raises(InvalidArgument) as refused:
        await transfers.bring(text, reset_others=False, author=ANA)
    assert [violation.field for violation in refused.value.violations] == [B, "bot_manager.test.key_x", D]
    assert refused.value.violations[0].description.startswith("line 2: ")
    with pytest.raises(NotFound):
        await transfers.bring("bot_manager.test.key_x: 1", reset_others=False, author=ANA)
    assert (await store.head()).revision == 1


async def test_what_is_not_yaml_is_one_problem_of_the_file(transfers: TransferBook) -> None:
    """With its line, in both modes."""
    dry = await transfers.check(f"{A}: 1\n{B}: yes\n", reset_others=True)
    ((key, line, error),) = [(item.key, item.line, item.error) for item in dry.problems]
    assert (key, line, error.violations[0].field, dry.differences) == ("", 2, "yaml", ())
    with pytest.raises(InvalidArgument) as refused:
        await transfers.bring(f"{A}: 1\n{B}: yes\n", reset_others=True, author=ANA)
    assert refused.value.message == error.message


async def test_numbers_beyond_exact_integers_survive(transfers: TransferBook, book: SettingsBook) -> None:
    """The database answers 1e16 with an integer; storing the same again is no change, and neither is importing it."""
    wide = Definition("bot_manager.test.wide", {}, 0, "Anything.", "bot_manager")
    await book.register([wide], ANA)
    stored = await book.change(Wish(wide.key, Stored([1e16, {"x": 1e300}])), ANA)
    assert (await book.change(Wish(wide.key, Stored([1e16, {"x": 1e300}])), ANA)).revision == stored.revision
    done = await transfers.bring(
        await transfers.export(include_defaults=False), reset_others=True, author=ANA
    )
    assert done.revision == 0


async def test_a_wrong_file_is_cheap_to_refuse(transfers: TransferBook) -> None:
    """Somebody will import another program's YAML: the answer must fit into a message, and nobody may wait for it for minutes."""
    text = "".join(f"some.key_{number}: {'x' * 100}\n" for number in range(2000))
    async with asyncio.timeout(30):
        dry = await transfers.check(text, reset_others=False)
        with pytest.raises(NotFound) as refused:
            await transfers.bring(text, reset_others=False, author=ANA)
    assert len(dry.problems) == 2000
    assert len(refused.value.violations) == 10
    assert "1990 more" in refused.value.message
    too_many = await transfers.check(text + "a.b: 1\n", reset_others=False)
    assert "more than 2,000 keys" in too_many.problems[0].error.message
