"""Identifiers: RFC 9562 version 7, growing within a process."""

import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.ids import RANDOM_BITS, IdFactory, is_uuid, new_id, time_of


def test_the_example_of_the_rfc_is_reproduced() -> None:
    """RFC 9562 appendix A.6: 2022-02-22 14:22:22 EST, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F."""
    random = 0xCC3 << 62 | 0x18C4DC0C0C07398F
    factory = IdFactory(lambda: 0x017F22E279B0, lambda _: random)
    assert factory.new_id() == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


def test_version_variant_and_time_are_readable_by_others() -> None:
    """Databases and clients parse our ids with their own libraries."""
    before = time.time_ns() // 1_000_000
    text = new_id()
    parsed = uuid.UUID(text)
    assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)
    assert before <= parsed.int >> 80 <= time.time_ns() // 1_000_000
    assert abs(time_of(text) - datetime.now(UTC)) < timedelta(seconds=10)


@given(st.lists(st.integers(min_value=-5, max_value=5), max_size=60), st.randoms(use_true_random=False))
def test_ids_only_grow_whatever_the_clock_does(steps: list[int], random: object) -> None:
    """Keyset pages and outbox order lean on it; clocks stand still and step back."""
    now = [1_700_000_000_000]
    factory = IdFactory(lambda: now[0], random.getrandbits)  # type: ignore[attr-defined]  # hypothesis' Random
    made = [factory.new_id()]
    for step in steps:
        now[0] += step
        made.append(factory.new_id())
    assert made == sorted(set(made))


def test_a_full_millisecond_borrows_from_the_next() -> None:
    """Running out of random bits must neither repeat an id nor go back."""
    factory = IdFactory(lambda: 1000, lambda _: (1 << RANDOM_BITS) - 1)
    first, second = factory.new_id(), factory.new_id()
    assert first < second
    assert time_of(second) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=1001)


def test_threads_never_share_an_id() -> None:
    """Workers make ids at the same time."""
    made: list[list[str]] = [[] for _ in range(4)]

    def work(mine: list[str]) -> None:
        mine.extend(new_id() for _ in range(2000))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({text for mine in made for text in mine}) == 8000
    assert all(mine == sorted(mine) for mine in made)


def test_a_forked_child_makes_ids_of_its_own() -> None:
    """Several workers fork from one process, perhaps while another thread makes an id."""
    program = """
import os
from mesh import ids
ids.new_id()
ids._process._lock.acquire()
read, write = os.pipe()
for _ in range(2):
    if os.fork() == 0:
        os.write(write, "".join(ids.new_id() + "\\n" for _ in range(20)).encode())
        os._exit(0)
for _ in range(2):
    os.wait()
print(os.read(read, 65536).decode())
"""
    run = subprocess.run(  # noqa: S603  # our own interpreter and program
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert len(set(run.stdout.split())) == 40


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0193c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5",
        "0193C9A1-7B4E-7D2C-9A55-0C1D2E3F4A5B",
        "{0193c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5b}",
        "0193c9a17b4e7d2c9a550c1d2e3f4a5b",
        "0193c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5b\n",
        "0193c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5٣",
        "urn:uuid:0193c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5b",
    ],
)
def test_only_the_canonical_form_is_a_uuid(text: str) -> None:
    """Two spellings of one id would be two keys."""
    assert not is_uuid(text)
    with pytest.raises(ValueError, match="version 7"):
        time_of(text)


def test_other_versions_are_uuids_without_a_time() -> None:
    """Clients send random UUIDs as request ids."""
    text = str(uuid.uuid4())
    assert is_uuid(text)
    with pytest.raises(ValueError, match="version 7"):
        time_of(text)
