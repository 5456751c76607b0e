"""Transit on a real OpenBao."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mesh.errors import InvalidArgument, Unavailable
from mesh.vault import KeyVersionRetired, SealedItem, Transit, TransitItem, VaultClient, key_version
from tests.integration.mesh.vault.bao import Bao

KEY = "bot-secrets"
ROTATING = "rotating"
SIGNING = "signing"


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


@pytest.fixture
def rotating(bao: Bao, transit: Transit) -> Transit:
    """A mount with a key that only the tests about versions of keys use."""
    bao.admin("POST", f"vivesphere-transit/keys/{ROTATING}", {"derived": True})
    return transit


async def test_a_new_version_of_the_key_encrypts_and_the_old_one_still_decrypts(rotating: Transit) -> None:
    """Rotating must not cost anybody a value."""
    before = await rotating.key(ROTATING)
    sealed = await rotating.encrypt(ROTATING, b"token", context=b"bot")
    await rotating.rotate(ROTATING)
    after = await rotating.key(ROTATING)
    anew = await rotating.encrypt(ROTATING, b"token", context=b"bot")
    assert (key_version(sealed), key_version(anew)) == (before.latest, before.latest + 1)
    assert (after.latest, after.min_decryption_version) == (before.latest + 1, before.min_decryption_version)
    assert list(after.create_times) == [*before.create_times, after.latest]
    assert after.create_times[after.latest] >= before.create_times[before.latest]
    assert await rotating.decrypt(ROTATING, sealed, context=b"bot") == b"token"


async def test_a_retired_version_of_the_key_is_told_apart_from_a_bad_ciphertext(rotating: Transit) -> None:
    """Who reads an old value has to learn that it is gone, and not to look for somebody who tampered with it."""
    sealed = await rotating.encrypt(ROTATING, b"token", context=b"bot")
    await rotating.rotate(ROTATING)
    latest = (await rotating.key(ROTATING)).latest
    await rotating.set_min_decryption(ROTATING, latest)
    key = await rotating.key(ROTATING)
    assert (key.min_decryption_version, list(key.create_times)) == (latest, [latest])
    anew = await rotating.encrypt(ROTATING, b"token", context=b"bot")
    for items in ([sealed], [anew, sealed]):
        with pytest.raises(KeyVersionRetired):
            await rotating.decrypt_batch(ROTATING, [SealedItem(text, b"bot") for text in items])
    await rotating.set_min_decryption(ROTATING, latest - 1)
    assert await rotating.decrypt(ROTATING, sealed, context=b"bot") == b"token"


async def test_a_version_that_does_not_exist_cannot_be_the_oldest(rotating: Transit) -> None:
    """Retiring every version would make every value unreadable."""
    latest = (await rotating.key(ROTATING)).latest
    with pytest.raises(InvalidArgument):
        await rotating.set_min_decryption(ROTATING, latest + 1)


async def test_what_is_known_of_a_missing_key_is_the_vaults_fault(transit: Transit) -> None:
    """As for encrypting."""
    with pytest.raises(Unavailable):
        await transit.key("absent")


@pytest.mark.parametrize("text", ["", "vault:v0:x", "vault:vx:", "vault:v", "v2:x", " vault:v2:x"])
def test_text_that_names_no_version_of_a_key(text: str) -> None:
    """Whoever asks must not take nonsense for a version."""
    assert key_version(text) == 0


async def test_signatures_verify_with_the_public_half_of_the_version_that_made_them(
    transit: Transit, bao: Bao
) -> None:
    """A rotated key signs anew; what it signed before stays valid."""
    bao.admin("POST", f"vivesphere-transit/keys/{SIGNING}", {"type": "ed25519"})
    first = await transit.sign(SIGNING, b"end of the chain")
    bao.admin("POST", f"vivesphere-transit/keys/{SIGNING}/rotate")
    second = await transit.sign(SIGNING, b"end of the chain")
    keys = await transit.public_keys(SIGNING)
    assert (second.version, max(keys)) == (first.version + 1, second.version)
    for made in (first, second):
        key = Ed25519PublicKey.from_public_bytes(keys[made.version])
        key.verify(made.signature, b"end of the chain")
        with pytest.raises(InvalidSignature):
            key.verify(made.signature, b"another end")


async def test_a_missing_signing_key_is_the_vaults_fault(transit: Transit) -> None:
    """Whoever signs waits until the vault has been set up."""
    with pytest.raises(Unavailable):
        await transit.sign("absent", b"x")
    with pytest.raises(Unavailable):
        await transit.public_keys("absent")
