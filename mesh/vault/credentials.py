"""Ways to say who we are to a vault. What becomes of the token is `mesh.vault.login`'s business.

    AppRole             role id and secret id from their files, read at every login
    WrappedAppRole      the same with a secret id that comes in a wrapping token, which opens once
    Kubernetes          the token of the pod's service account, which the cluster rotates, read at every login

A wrapping token that does not open any more is an alarm: either it is old, or somebody else has opened it and holds our secret id. One
that was made anywhere but at the AppRole is one too: whoever made it would know the secrets that we write under their login. In both
cases we stay out until the file has another token.
"""

import re
from http import HTTPStatus
from pathlib import Path
from typing import Final, Protocol

from hvac.api.auth_methods import AppRole as HvacAppRole
from hvac.api.auth_methods import Kubernetes as HvacKubernetes
from loguru import logger

from mesh.secret import Secret
from mesh.vault.paths import segment
from mesh.vault.wire import Answer, Wire

APPROLE: Final = "approle"
KUBERNETES: Final = "kubernetes"
LOOKUP: Final = "/v1/sys/wrapping/lookup"
UNWRAP: Final = "/v1/sys/wrapping/unwrap"
REFUSED: Final = Answer(HTTPStatus.FORBIDDEN)
# How a vault says that a wrapping token is spent, expired or none.
SPENT: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN})


class Credentials(Protocol):
    """One way to log in."""

    @property
    def alarm(self) -> bool:
        """Whether there are signs that somebody else may hold our credentials."""
        ...

    def log_in(self, wire: Wire) -> Answer:
        """The vault's answer to a login. On a worker thread, one at a time. Raises Lost; OSError or ValueError when a file is not to be
        had."""
        ...

    def replaced(self) -> bool:
        """Whether there are other credentials than the last ones tried, which must not wait until the token ends."""
        ...


class AppRole:
    """Role id and secret id, each in a file of its own."""

    alarm = False

    def __init__(self, role_id_file: Path, secret_id_file: Path, mount: str = APPROLE) -> None:
        self._files = (role_id_file, secret_id_file)
        self._mount = segment(mount, "mount")

    def log_in(self, wire: Wire) -> Answer:
        """See `Credentials.log_in`."""
        role_id, secret_id = (Secret.from_file(path) for path in self._files)
        return _log_in(wire, role_id, secret_id, self._mount)

    def replaced(self) -> bool:
        """A new secret id may wait: the old one has done its work."""
        return False


class WrappedAppRole:
    """Role id in a file, secret id in a wrapping token in a file. The secret id stays in this process's memory."""

    def __init__(self, role_id_file: Path, wrapped_file: Path, mount: str = APPROLE) -> None:
        self._role_id_file = role_id_file
        self._wrapped_file = wrapped_file
        self._mount = segment(mount, "mount")
        self._origin = re.compile(rf"auth/{self._mount}/role/[^/]+/secret-id")
        self._wrapping: Secret | None = None
        """The wrapping token that was tried last, and worth nothing now."""
        self._secret_id: Secret | None = None
        self.alarm = False

    def log_in(self, wire: Wire) -> Answer:
        """See `Credentials.log_in`."""
        role_id, wrapping = Secret.from_file(self._role_id_file), self._current()
        if wrapping is not None and (wrapping != self._wrapping or self._secret_id is None):
            refusal = self._unwrap(wire, wrapping)
            if refusal is not None:
                return refusal
        if self._secret_id is None:
            return REFUSED
        return _log_in(wire, role_id, self._secret_id, self._mount)

    def replaced(self) -> bool:
        """A new wrapping token lives for minutes only."""
        current = self._current()
        return current is not None and current != self._wrapping

    def _current(self) -> Secret | None:
        """The wrapping token in the file; it may be gone once it has done its work."""
        try:
            return Secret.from_file(self._wrapped_file)
        except (OSError, ValueError):
            return None

    def _unwrap(self, wire: Wire, wrapping: Secret) -> Answer | None:
        """Takes the secret id out; the answer that says why not otherwise."""
        found: Answer = wire.post(LOOKUP, json={"token": wrapping.reveal()})
        if found.status in SPENT:
            return self._spent(wrapping)
        if found.status != HTTPStatus.OK:
            return found
        if self._origin.fullmatch(str(found.data.get("creation_path"))) is None:
            return self._foreign(wrapping)
        return self._opened(wrapping, wire.under(wrapping).post(UNWRAP))

    def _opened(self, wrapping: Secret, answer: Answer) -> Answer | None:
        if answer.status in SPENT:
            return self._spent(wrapping)
        if answer.status != HTTPStatus.OK:
            return answer
        secret_id = answer.data.get("secret_id")
        if not isinstance(secret_id, str) or not secret_id:
            return REFUSED
        self._wrapping, self._secret_id, self.alarm = wrapping, Secret(secret_id), False
        logger.info("wrapped secret id unwrapped")
        return None

    def _spent(self, wrapping: Secret) -> Answer:
        if self._raise_alarm(wrapping):
            logger.error(
                "wrapped secret id was already unwrapped or has expired: somebody else may hold the service's secret id"
            )
        return REFUSED

    def _foreign(self, wrapping: Secret) -> Answer:
        if self._raise_alarm(wrapping):
            logger.error(
                "wrapped secret id was not made by the AppRole: somebody may have put their own there"
            )
        return REFUSED

    def _raise_alarm(self, wrapping: Secret) -> bool:
        """Whether it is news: a token is tried again and again, and told of once."""
        news = not self.alarm or wrapping != self._wrapping
        self._wrapping, self._secret_id, self.alarm = wrapping, None, True
        return news


class Kubernetes:
    """The service account of the pod."""

    alarm = False

    def __init__(self, role: str, token_file: Path, mount: str = KUBERNETES) -> None:
        self._role = role
        self._token_file = token_file
        self._mount = segment(mount, "mount")

    def log_in(self, wire: Wire) -> Answer:
        """See `Credentials.log_in`."""
        token = Secret.from_file(self._token_file)
        answer: Answer = HvacKubernetes(wire).login(
            self._role, token.reveal(), use_token=False, mount_point=self._mount
        )
        return answer

    def replaced(self) -> bool:
        """The cluster rotates tokens long before they end."""
        return False


def _log_in(wire: Wire, role_id: Secret, secret_id: Secret, mount: str) -> Answer:
    answer: Answer = HvacAppRole(wire).login(
        role_id.reveal(), secret_id.reveal(), use_token=False, mount_point=mount
    )
    return answer
