"""The last copy on the disk, so that a process that starts while configuration is away still knows roles and settings.

One file per instance, mode 0600, replaced atomically (written beside, fsync, rename), at most once a second. Its first line is an
HMAC-SHA-256 of the rest with a key that only this service has; a file that was altered, belongs to somebody else, is too old or cannot
be read is as good as none. Whoever can write to the directory can still put back an older file of the same instance; the bound on its age
limits what that gives.

Values of sensitive settings are not written, only their keys. A copy that lacks them cannot be continued, so its process takes a new
snapshot as soon as configuration answers.
"""

import asyncio
import hashlib
import hmac
import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from loguru import logger

from mesh.authorization import Binding
from mesh.clock import Clock
from mesh.configuration.copy import Copy, Offer, Staged

WRITE_INTERVAL = timedelta(seconds=1)
REFRESH_INTERVAL = timedelta(minutes=10)
"""A file whose copy is still the newest is written again this often, so that its age says when configuration was last heard of."""
CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far in the future a file may have been written, by a clock that was set since."""
MAX_FILE_BYTES = 256 * 1024 * 1024
"""More than any history holds; bounds the memory that a foreign file may take."""
FORM = "vivesphere.configuration.copy.v1"


@dataclass(frozen=True, slots=True)
class Kept:
    """What a file holds."""

    copy: Copy
    complete_time: datetime
    """When the copy was last known to be the newest."""
    in_force: Mapping[str, Any]
    """Values that were in force in the process where it had refused newer ones, by key."""
    omitted: frozenset[str] = frozenset()
    """Settings that are missing in the copy since they are sensitive."""


class Unusable(Exception):
    """The file is not to be used. The text says why."""


class CopyFile:
    """The file of one instance of one service."""

    def __init__(
        self,
        folder: Path,
        service: str,
        instance: str,
        key: bytes,
        max_age: timedelta,
        clock: Clock,
    ) -> None:
        self.path = folder / f"configuration-{instance}.copy"
        self._owner = {"service": service, "instance": instance}
        self._key = key
        self._max_age = max_age
        self._clock = clock
        self._wanted = asyncio.Event()
        self._written = 0.0
        self._failing = False
        self._saving = threading.Lock()

    def load(self) -> Kept | None:
        """What the file holds, or None: there is none, or it is unusable, which is logged."""
        try:
            return self._read()
        except FileNotFoundError:
            return None
        except (Unusable, OSError) as error:
            why = str(error) if isinstance(error, Unusable) else type(error).__name__
            logger.bind(reason=why).warning("last known configuration is ignored")
            return None

    def changed(self) -> None:
        """There is something new to write."""
        self._wanted.set()

    def confirmed(self) -> None:
        """What was written is still the newest."""
        if self._clock.monotonic() - self._written >= REFRESH_INTERVAL.total_seconds():
            self._wanted.set()

    async def run(self, newest: Callable[[], Kept | None]) -> None:
        """Write what is new until cancelled, and what is left when it is. `newest` is asked for it; None: nothing yet."""
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                self._written = self._clock.monotonic()
                try:
                    await asyncio.to_thread(self._save, newest())
                except asyncio.CancelledError:
                    self._wanted.set()  # the thread may never have begun
                    raise
                await self._clock.sleep(WRITE_INTERVAL)
        finally:
            if self._wanted.is_set():
                self._save(newest())

    def _save(self, kept: Kept | None) -> None:
        if kept is None:
            return
        try:
            with self._saving:
                _replace(self.path, self._seal(encode(kept) | self._owner))
        except OSError as error:
            if not self._failing:
                logger.bind(reason=type(error).__name__).warning("configuration is not kept on the disk")
            self._failing = True
        else:
            self._failing = False

    def _seal(self, document: Mapping[str, Any]) -> bytes:
        body = json.dumps(document, separators=(",", ":")).encode()
        return self._mac(body).encode() + b"\n" + body

    def _mac(self, body: bytes) -> str:
        return hmac.new(self._key, FORM.encode() + b"\x00" + body, hashlib.sha256).hexdigest()

    def _read(self) -> Kept:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise Unusable("it is larger than any copy")
        seal, _, body = content.partition(b"\n")
        # Nothing of it is looked at before the seal holds.
        if not hmac.compare_digest(seal, self._mac(body).encode()):
            raise Unusable("its seal does not hold")
        document = json.loads(body)
        if {name: document.get(name) for name in self._owner} != self._owner:
            raise Unusable("it belongs to another process")
        try:
            kept = decode(document)
        except (KeyError, TypeError, ValueError):
            raise Unusable("it has another form") from None
        age = self._clock.now() - kept.complete_time
        if age > self._max_age:
            raise Unusable("it is too old")
        if age < -CLOCK_TOLERANCE:
            raise Unusable("it was written in the future")
        return kept


def encode(kept: Kept) -> dict[str, Any]:
    """As JSON, without values of sensitive settings."""
    copy = kept.copy
    hidden = {key for key, offer in copy.settings.items() if offer.sensitive} | kept.omitted
    return {
        "history_id": copy.history_id,
        "revision": copy.revision,
        "time": kept.complete_time.isoformat(),
        "settings": {
            key: {"value": offer.value, "staged": _staged_document(offer.staged)}
            for key, offer in copy.settings.items()
            if key not in hidden
        },
        "omitted": sorted(hidden),
        "in_force": {key: value for key, value in kept.in_force.items() if key not in hidden},
        "roles": {role: sorted(permissions) for role, permissions in copy.roles.items()},
        "bindings": {
            binding_id: [binding.subject, binding.role_id, binding.bot_id]
            for binding_id, binding in copy.bindings.items()
        },
    }


def decode(document: Mapping[str, Any]) -> Kept:
    """What `encode` made a document of."""
    copy = Copy(
        history_id=document["history_id"],
        revision=document["revision"],
        settings={
            key: Offer(tuple(stored["value"]), staged=_staged_from(stored["staged"]))
            for key, stored in document["settings"].items()
        },
        roles={role: frozenset(permissions) for role, permissions in document["roles"].items()},
        bindings={binding_id: Binding(*parts) for binding_id, parts in document["bindings"].items()},
    )
    return Kept(
        copy,
        datetime.fromisoformat(document["time"]),
        document["in_force"],
        frozenset(document["omitted"]),
    )


def _staged_document(staged: Staged | None) -> list[Any] | None:
    return None if staged is None else [staged.change_id, staged.share_percent, list(staged.value)]


def _staged_from(document: list[Any] | None) -> Staged | None:
    return None if document is None else Staged(document[0], document[1], tuple(document[2]))


def _replace(path: Path, content: bytes) -> None:
    """The whole content or what was there before, whenever the power fails."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        beside.unlink()  # left by a process that was killed while it wrote
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name is durable too
    finally:
        os.close(folder)
