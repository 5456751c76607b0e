"""Nothing a caller sends can leave the place of its secrets."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.clock import SystemClock
from mesh.errors import InvalidArgument
from mesh.ids import new_id
from mesh.secret import Secret
from mesh.vault import AppRole, KvStore, VaultClient
from mesh.vault.paths import folder_path, secret_path, segment
from tests.unit.mesh.vault.scripted import ScriptedVault

INSIDE = re.compile(
    r"/v1/vivesphere-kv/(data|metadata|delete|undelete|destroy)/bots/([a-z0-9][a-z0-9_-]{0,62}/?)*(\?version=[1-9][0-9]*)?"
)
HOSTILE = [
    "..",
    ".",
    "",
    "/",
    "a/b",
    "%2e%2e",
    "..%2f",
    "a\n",
    "a\x00",
    "A",
    "ä",
    "٣",
    " a",
    "a?b",
    "a#b",
    "-a",
    "_a",
    "a" * 64,
]
SEGMENTS = (
    st.sampled_from(HOSTILE)
    | st.text(max_size=12)
    | st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True)
)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_segments_are_refused_and_the_field_is_named(text: str) -> None:
    """`..` goes through hvac as it is and reaches sys/mounts with our token."""
    with pytest.raises(InvalidArgument) as caught:
        segment(text, "bot_id")
    assert caught.value.violations[0].field == "bot_id"


@pytest.mark.parametrize("text", ["a", "0", "x_oauth1", "a-b", "a" * 63, new_id()])
def test_names_and_ids_pass(text: str) -> None:
    """The allow-list is no narrower than what the contract allows."""
    assert secret_path("bots", (text,)) == f"bots/{text}"


def test_depth_is_bounded_and_folders_end_with_a_slash() -> None:
    """Only a folder may be the prefix itself."""
    assert folder_path("bots", ()) == "bots/"
    assert folder_path("bots", ("a",)) == "bots/a/"
    for segments in ((), ("a",) * 9):
        with pytest.raises(InvalidArgument):
            secret_path("bots", segments)


async def every_operation(store: KvStore, path: tuple[str, ...], version: int) -> int:
    """Calls all of them; returns how many were refused before anything was sent."""
    operations = [
        store.get(path),
        store.get(path, version),
        store.put(path, {"a": Secret("1")}, cas=0),
        store.metadata(path),
        store.label(path, {"a": "b"}),
        store.delete(path, [version]),
        store.undelete(path, [version]),
        store.destroy(path, [version]),
        store.list(path),
    ]
    outcomes = await asyncio.gather(*operations, return_exceptions=True)
    return sum(isinstance(outcome, InvalidArgument) for outcome in outcomes)


@pytest.fixture(scope="module")
def login_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Arguments of a client: CA, role id, secret id."""
    directory = tmp_path_factory.mktemp("login")
    files = [directory / name for name in ("ca.pem", "role-id", "secret-id")]
    for file in files:
        file.write_text("x")
    return files


@pytest.fixture(scope="module")
def one_vault() -> Iterator[ScriptedVault]:
    """The same for all examples."""
    vault = ScriptedVault()
    yield vault
    vault.close()


@settings(deadline=None)
@given(
    path=st.lists(SEGMENTS, min_size=1, max_size=3).map(tuple), version=st.integers(min_value=1, max_value=99)
)
async def test_the_path_on_the_wire_stays_inside(
    path: tuple[str, ...], version: int, one_vault: ScriptedVault, login_files: list[Path]
) -> None:
    """Measured where it counts: in the request line that arrives, after hvac, requests and urllib3."""
    one_vault.seen.clear()
    ca_file, role_id_file, secret_id_file = login_files
    client = VaultClient(
        one_vault.address, ca_file, AppRole(role_id_file, secret_id_file), clock=SystemClock()
    )
    try:
        refused = await every_operation(client.kv("bots"), path, version)
        seen = [request.path for request in one_vault.requests()]
    finally:
        await client.close()
    assert all(INSIDE.fullmatch(line) for line in seen)
    assert (refused, len(seen)) in {(9, 0), (0, 9)}
