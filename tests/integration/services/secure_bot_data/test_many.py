"""Thousands of secrets of one bot: lists stay complete, filters right, memory small.

VIVESPHERE_TEST_SECRETS says how many; 10000 is the size that the service is made for, the default what a run of all tests has time for.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psutil

from mesh.ids import new_id
from mesh.secret import Secret
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import (
    Access,
    AccessKind,
    Draft,
    SecretKind,
    SecretMetadata,
    SecretRef,
)
from services.secure_bot_data.store.trail import AccessFilter
from tests.integration.services.secure_bot_data.conftest import CALLER, Parts, oauth1

COUNT = int(os.environ.get("VIVESPHERE_TEST_SECRETS", "1000"))
AT_ONCE = 12
PAGE = 200
DAY = timedelta(days=1)
START = datetime(2031, 1, 1, tzinfo=UTC)
MAX_GROWTH_BYTES = 96 * 1024 * 1024


def draft_of(number: int) -> Draft:
    """Every third is generic, every second has a day on which it is due, a different one each."""
    draft = oauth1() if number % 3 else Draft(SecretKind.GENERIC, {"value": Secret(f"value {number}")})
    return replace(draft, rotate_time=START + number * DAY if number % 2 else None)


async def test_thousands_of_secrets_are_listed_filtered_and_read(parts: Parts) -> None:
    """One test, since making them is what takes the time."""
    bot_id, names = new_id(), [f"secret-{number:05}" for number in range(COUNT)]
    before = psutil.Process().memory_info().rss
    await _in_turn(_put(parts, SecretRef(bot_id, name), number) for number, name in enumerate(names))
    assert [secret.ref.name for secret in await _all(parts, bot_id)] == names

    generic = await _all(parts, bot_id, kind=SecretKind.GENERIC)
    assert [secret.ref.name for secret in generic] == names[::3]
    due = await _all(parts, bot_id, rotate_before=START + COUNT // 2 * DAY)
    assert [secret.ref.name for secret in due] == names[1 : COUNT // 2 : 2]
    await parts.changer.change(SecretRef(bot_id, names[5]), Event.DELETE, [])
    assert len(await _all(parts, bot_id)) == COUNT - 1
    assert len(await _all(parts, bot_id, show_deleted=True)) == COUNT

    read = names[6::5]
    await _in_turn(_reveal(parts, SecretRef(bot_id, name), names.index(name)) for name in read)
    rows = [row async for row in _rows(parts, bot_id)]
    assert sorted((row.ref.name, row.kind, row.version) for row in rows) == [
        (name, AccessKind.REVEAL, 1) for name in read
    ]
    assert psutil.Process().memory_info().rss - before < MAX_GROWTH_BYTES
    assert bot_id not in {marker.ref.bot_id for marker in await parts.catalogue.announced(datetime.now(UTC))}


async def _put(parts: Parts, ref: SecretRef, number: int) -> None:
    await parts.writer.put(ref, draft_of(number), 0, CALLER)


async def _reveal(parts: Parts, ref: SecretRef, number: int) -> None:
    assert (await parts.reader.reveal(ref, 0, "look", CALLER)).fields == draft_of(number).fields


async def _in_turn(calls: Iterator[Coroutine[None, None, None]]) -> None:
    """A few at once, each begun when there is room: thousands of tasks would be a measure of asyncio."""

    async def work() -> None:
        for call in calls:
            await call

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(work())


async def _all(
    parts: Parts,
    bot_id: str,
    *,
    kind: SecretKind | None = None,
    show_deleted: bool = False,
    rotate_before: datetime | None = None,
) -> list[SecretMetadata]:
    """Every page of a list."""
    found: list[SecretMetadata] = []
    while True:
        page = await parts.catalogue.list_secrets(
            bot_id,
            kind=kind,
            show_deleted=show_deleted,
            rotate_before=rotate_before,
            after=found[-1].ref.name if found else "",
            limit=PAGE,
        )
        found += page
        if len(page) < PAGE:
            return found


async def _rows(parts: Parts, bot_id: str) -> AsyncIterator[Access]:
    before = None
    while True:
        page = await parts.trail.list_accesses(AccessFilter(bot_id), before=before, limit=PAGE)
        for row in page:
            yield row
        if len(page) < PAGE:
            return
        before = page[-1].id
