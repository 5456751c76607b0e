"""Transit on a real OpenBao."""

import pytest

from mesh.errors import InvalidArgument, Unavailable
from mesh.vault import SealedItem, Transit, TransitItem, VaultClient

KEY = "bot-secrets"


@pytest.fixture
def transit(client: VaultClient) -> Transit:
    return client.transit()


@pytest.mark.parametrize("plaintext", [b"", b"token", bytes(range(256)), b"x" * 1_000_000])
async def test_decrypt_undoes_encrypt(transit: Transit, plaintext: bytes) -> None:
    """Whatever the bytes and however many."""
    ciphertext = await transit.encrypt(KEY, plaintext, context=b"bot", associated_data=b"bot|x|1")
    assert ciphertext.startswith("vault:v1:")
    assert await transit.decrypt(KEY, ciphertext, context=b"bot", associated_data=b"bot|x|1") == plaintext


@pytest.mark.parametrize(
    ("context", "associated_data"),
    [(b"other", b"record"), (b"bot", b"other"), (b"bot", None), (None, b"record")],
)
async def test_a_ciphertext_moved_to_another_owner_does_not_open(
    transit: Transit, context: bytes | None, associated_data: bytes | None
) -> None:
    """Swapping two bots' rows in the database must not swap their accounts."""
    ciphertext = await transit.encrypt(KEY, b"token", context=b"bot", associated_data=b"record")
    with pytest.raises(InvalidArgument) as caught:
        await transit.decrypt(KEY, ciphertext, context=context, associated_data=associated_data)
    assert caught.value.violations[0].field == "ciphertext"


@pytest.mark.parametrize("ciphertext", ["", "vault:v1:", "vault:v9:AAAA", "nonsense", "vault:v1:!!!"])
async def test_garbage_is_an_invalid_argument(transit: Transit, ciphertext: str) -> None:
    """Bad input is the caller's, never an internal error."""
    with pytest.raises(InvalidArgument):
        await transit.decrypt(KEY, ciphertext, context=b"bot")


async def test_a_batch_keeps_its_order(transit: Transit) -> None:
    """One round trip for a page of rows."""
    plain = [TransitItem(f"value {n}".encode(), f"bot {n}".encode()) for n in range(40)]
    sealed = await transit.encrypt_batch(KEY, plain)
    items = [SealedItem(text, item.context) for text, item in zip(sealed, plain, strict=True)]
    assert await transit.decrypt_batch(KEY, items) == [item.plaintext for item in plain]
    assert await transit.encrypt_batch(KEY, []) == []


async def test_a_bad_item_is_named_and_nothing_else_is_given(transit: Transit) -> None:
    """The vault answers with the other items' plaintexts; they must not leave through the error."""
    good = await transit.encrypt(KEY, b"canary", context=b"bot")
    with pytest.raises(InvalidArgument) as caught:
        await transit.decrypt_batch(KEY, [SealedItem(good, b"bot"), SealedItem(good, b"other")])
    assert [violation.field for violation in caught.value.violations] == ["items[1].ciphertext"]
    assert "Y2FuYXJ5" not in repr(vars(caught.value))
    assert caught.value.__context__ is None


async def test_a_missing_key_is_the_vaults_fault(transit: Transit) -> None:
    """A caller can do nothing about a deployment without its key."""
    ciphertext = await transit.encrypt(KEY, b"token", context=b"bot")
    with pytest.raises(Unavailable):
        await transit.decrypt("absent", ciphertext, context=b"bot")
