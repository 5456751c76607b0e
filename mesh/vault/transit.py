"""Transit: encryption with keys that never leave the vault.

`context` derives the key of one owner from a derived key (a bot's id), so that one bot's ciphertext does not open as
another's; `associated_data` binds a ciphertext to its record. Both have to be given again to decrypt. Ciphertexts are text,
`vault:v<key version>:…`; rotating the key leaves old ones readable until their version of the key is retired, which is told apart from a
ciphertext that does not open. In a batch all items have a context or none has.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from hvac.api.secrets_engines import Transit as HvacTransit

from mesh.errors import FieldViolation, Internal, InvalidArgument, OutOfRange
from mesh.vault.paths import segment
from mesh.vault.verdicts import unavailable
from mesh.vault.wire import Answer, Call, Json

MiB: Final = 1024 * 1024
MAX_BATCH_ITEMS: Final = 1000
# Base64 makes a third more of it; the vault takes requests up to 32 MiB, our wire answers up to 16.
MAX_BATCH_BYTES: Final = 4 * MiB
_CIPHERTEXT: Final = re.compile(r"vault:v([1-9][0-9]{0,8}):")


@dataclass(frozen=True, slots=True)
class TransitItem:
    """Something to encrypt."""

    plaintext: bytes = field(repr=False)
    context: bytes | None = None
    associated_data: bytes | None = None


@dataclass(frozen=True, slots=True)
class SealedItem:
    """Something to decrypt, with what it was encrypted with."""

    ciphertext: str
    context: bytes | None = None
    associated_data: bytes | None = None


@dataclass(frozen=True, slots=True)
class TransitKey:
    """A key without its material. `create_times` by version, ascending: those that still decrypt, the newest last."""

    latest: int
    min_decryption_version: int
    create_times: Mapping[int, datetime]


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature and the version of the key that made it."""

    version: int
    signature: bytes


class KeyVersionRetired(InvalidArgument):
    """A ciphertext does not open because its version of the key was retired: nothing is wrong with it, but nobody gets at it any more."""

    def __init__(self) -> None:
        super().__init__("INVALID_FIELD", "ciphertext needs a version of the key that was retired")


def key_version(ciphertext: str) -> int:
    """The version of the key that a ciphertext says it needs; 0 when it says none. Trust it once the ciphertext has been opened."""
    found = _CIPHERTEXT.match(ciphertext)
    return int(found.group(1)) if found else 0


class Transit:
    """One Transit mount. Every method raises Unavailable and ResourceExhausted; Unavailable also when the key does not exist."""

    def __init__(self, call: Call, mount: str) -> None:
        self._call = call
        self._mount = segment(mount, "mount")

    async def encrypt(
        self,
        key: str,
        plaintext: bytes,
        *,
        context: bytes | None = None,
        associated_data: bytes | None = None,
    ) -> str:
        """The ciphertext of one plaintext; the same plaintext gives another one each time."""
        return (await self.encrypt_batch(key, [TransitItem(plaintext, context, associated_data)]))[0]

    async def decrypt(
        self, key: str, ciphertext: str, *, context: bytes | None = None, associated_data: bytes | None = None
    ) -> bytes:
        """The plaintext. InvalidArgument when ciphertext, context and associated data do not belong together.

        KeyVersionRetired when it needs a version of the key that does not decrypt any more.
        """
        return (await self.decrypt_batch(key, [SealedItem(ciphertext, context, associated_data)]))[0]

    async def encrypt_batch(self, key: str, items: Sequence[TransitItem]) -> list[str]:
        """Ciphertexts in the order of the items. All or nothing. OutOfRange above 1000 items or 4 MiB."""
        _check(items, [len(item.plaintext) for item in items])
        batch = [_entry("plaintext", _base64(item.plaintext), item) for item in items]
        results = await self._batch("encrypt_data", key, batch)
        return [_text(result.get("ciphertext")) for result in results]

    async def decrypt_batch(self, key: str, items: Sequence[SealedItem]) -> list[bytes]:
        """Plaintexts in the order of the items. All or nothing: InvalidArgument names each item that does not open.

        KeyVersionRetired when one of them needs a version of the key that does not decrypt any more.
        """
        _check(items, [len(item.ciphertext) for item in items])
        batch = [_entry("ciphertext", item.ciphertext, item) for item in items]
        results = await self._batch("decrypt_data", key, batch)
        return [_bytes(result.get("plaintext")) for result in results]

    async def key(self, key: str) -> TransitKey:
        """What is known of a key."""
        segment(key, "key")
        answer = await self._call(
            lambda wire: HvacTransit(wire).read_key(key, mount_point=self._mount), repeatable=True
        )
        return _key(_done(answer))

    async def sign(self, key: str, data: bytes) -> Signed:
        """A signature over the data by the newest version of an Ed25519 key."""
        segment(key, "key")
        answer = await self._call(
            # Signing changes nothing in the vault, so it may be repeated.
            lambda wire: HvacTransit(wire).sign_data(key, hash_input=_base64(data), mount_point=self._mount),
            repeatable=True,
        )
        if answer.status == HTTPStatus.BAD_REQUEST and any(_lacks_key(text) for text in answer.errors):
            raise unavailable(None)
        signature = _text(_done(answer).data.get("signature"))
        return Signed(key_version(signature), _bytes(signature.rpartition(":")[2]))

    async def public_keys(self, key: str) -> Mapping[int, bytes]:
        """The public halves of an Ed25519 key by version, ascending, 32 bytes each."""
        segment(key, "key")
        answer = await self._call(
            lambda wire: HvacTransit(wire).read_key(key, mount_point=self._mount), repeatable=True
        )
        versions = _done(answer).data.get("keys")
        if not isinstance(versions, dict) or not all(isinstance(item, dict) for item in versions.values()):
            raise Internal("INTERNAL", "the secret store gave an answer of another shape than Transit")
        return {
            int(version): _bytes(versions[version].get("public_key")) for version in sorted(versions, key=int)
        }

    async def rotate(self, key: str) -> None:
        """Makes a new version, which encrypts from now on. OutcomeUnknown when the confirmation was lost: `key` then tells."""
        segment(key, "key")
        answer = await self._call(
            lambda wire: HvacTransit(wire).rotate_key(key, mount_point=self._mount), repeatable=False
        )
        _done(answer)

    async def set_min_decryption(self, key: str, version: int) -> None:
        """Refuses to decrypt with versions below `version` from now on; a smaller number allows them again.

        InvalidArgument when there is no such version. May be repeated.
        """
        segment(key, "key")
        answer = await self._call(
            lambda wire: HvacTransit(wire).update_key_configuration(
                key, min_decryption_version=version, mount_point=self._mount
            ),
            repeatable=True,
        )
        if answer.status == HTTPStatus.BAD_REQUEST:
            raise InvalidArgument("INVALID_FIELD", "the key has no such version", field="version")
        _done(answer)

    async def _batch(self, method: str, key: str, batch: list[dict[str, str]]) -> list[Json]:
        segment(key, "key")
        if not batch:
            return []
        answer = await self._call(
            # Neither operation changes anything in the vault, so both may be repeated.
            lambda wire: getattr(HvacTransit(wire), method)(key, batch_input=batch, mount_point=self._mount),
            repeatable=True,
        )
        return _results(answer, len(batch))


def _results(answer: Answer, count: int) -> list[Json]:
    """One result an item; raises for the whole batch when any item failed."""
    results = answer.data.get("batch_results")
    if not isinstance(results, list) or len(results) != count:
        raise _refusal(answer)
    failed = [
        index for index, result in enumerate(results) if not isinstance(result, dict) or result.get("error")
    ]
    if failed:
        if any(_lacks_key(str(results[index])) for index in failed):
            raise unavailable(None)
        if any(_is_too_old(str(results[index])) for index in failed):
            raise KeyVersionRetired
        raise _mismatch(failed if count > 1 else [])
    return results


def _refusal(answer: Answer) -> Exception:
    if answer.status == HTTPStatus.NOT_FOUND or any(_lacks_key(text) for text in answer.errors):
        return unavailable(None)
    if any(_is_too_old(text) for text in answer.errors):
        return KeyVersionRetired()
    if answer.status == HTTPStatus.BAD_REQUEST:
        return _mismatch([])
    return Internal("INTERNAL", f"the secret store refused a well-formed request with status {answer.status}")


def _lacks_key(text: str) -> bool:
    return "key not found" in text


def _is_too_old(text: str) -> bool:
    return "disallowed by policy (too old)" in text


def _done(answer: Answer) -> Answer:
    """The answer when it is a success; the error that its status means for a key otherwise."""
    if answer.status == HTTPStatus.NOT_FOUND:
        raise unavailable(None)
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise Internal(
            "INTERNAL", f"the secret store refused a well-formed request with status {answer.status}"
        )
    return answer


def _key(answer: Answer) -> TransitKey:
    data = answer.data
    times, latest, least = (data.get(name) for name in ("keys", "latest_version", "min_decryption_version"))
    if isinstance(times, dict) and isinstance(latest, int) and isinstance(least, int):
        seconds = {int(version): times[version] for version in sorted(times, key=int)}
        if latest in seconds and all(isinstance(second, int) for second in seconds.values()):
            create_times = {
                version: datetime.fromtimestamp(second, UTC) for version, second in seconds.items()
            }
            return TransitKey(latest, least, create_times)
    raise Internal("INTERNAL", "the secret store gave an answer of another shape than Transit")


def _mismatch(failed: list[int]) -> InvalidArgument:
    sentence = "does not open with this key, context and associated data"
    violations = [FieldViolation(f"items[{index}].ciphertext", sentence) for index in failed]
    return InvalidArgument(
        "INVALID_FIELD",
        f"ciphertext {sentence}",
        field=None if violations else "ciphertext",
        violations=violations,
    )


def _check(items: Sequence[TransitItem] | Sequence[SealedItem], sizes: list[int]) -> None:
    if len(items) > MAX_BATCH_ITEMS or sum(sizes) > MAX_BATCH_BYTES:
        raise OutOfRange(
            "MESSAGE_TOO_LARGE",
            f"at most {MAX_BATCH_ITEMS} items and {MAX_BATCH_BYTES} bytes together",
            field="items",
        )
    if len({item.context is None for item in items}) > 1:
        raise InvalidArgument("INVALID_FIELD", "all items have a context or none has", field="items")


def _entry(name: str, value: str, item: TransitItem | SealedItem) -> dict[str, str]:
    entry = {name: value}
    if item.context is not None:
        entry["context"] = _base64(item.context)
    if item.associated_data is not None:
        entry["associated_data"] = _base64(item.associated_data)
    return entry


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise Internal("INTERNAL", "the secret store gave an answer of another shape than Transit")
    return value


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        # The error would show the value.
        pass
    raise Internal("INTERNAL", "the secret store gave an answer of another shape than Transit")
