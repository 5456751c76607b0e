"""`python -m services.authentication.recover USERNAME [--disable-totp]`: the way back in for whoever sits at the machine itself.

Replaces a user's password by a one-time password, as ResetPassword does, with nothing but the service's own database: for an
administrator who is locked out, so no permission is asked for. What allows it is the file with the database password. The running
service puts the event on the trail, where it names the system's user, and tells the others that the user's tokens are revoked.

Prints the one-time password and nothing else to standard output; what there is to say goes to standard error. Ends with 0, or with 1 if it
could not be done. Run it with the environment of the service; `vivesphere users reset-password` does.
"""

import argparse
import asyncio
import os
import pwd
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from loguru import logger

from mesh.audit import AuditTrail
from mesh.clock import Clock, SystemClock
from mesh.database import Database, open_database
from mesh.errors import FailedPrecondition, MeshError, NotFound, Unavailable
from mesh.memory import shield
from mesh.outbox import PUBLISH_TIMEOUT, Outbox
from mesh.settings import ProcessSettings
from services.authentication.domain.hashing import HashingPool
from services.authentication.domain.interventions import Interventions, OneTimePassword
from services.authentication.domain.passwords import HashParameters, PasswordPolicy
from services.authentication.store.postgres import PostgresStore

SERVICE: Final = "authentication"
TIME_FORMAT: Final = "%Y-%m-%d %H:%M UTC"


class _LeftToTheService:
    """Publishes nothing: the running service finds the event in the outbox."""

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = PUBLISH_TIMEOUT,
    ) -> None:
        raise Unavailable("MESSAGING_UNAVAILABLE", "events are published by the service")


class _NoCall:
    """No call is served, so there is none to describe."""

    def about(self, resource: str) -> None:
        return


def _interventions(database: Database, hashing: HashingPool, clock: Clock) -> Interventions:
    instance = f"{SERVICE}-recover-{socket.gethostname()}"
    audit = AuditTrail(SERVICE, instance, database, Outbox(database, _LeftToTheService()), clock)
    return Interventions(PostgresStore(database, audit), hashing, PasswordPolicy, _NoCall(), clock)


async def recover(
    settings: ProcessSettings, username: str, actor: str, *, disable_totp: bool
) -> OneTimePassword:
    """Reset the password. Raises ValueError without a database in the settings, and what the domain raises."""
    database = open_database(settings, SERVICE)
    # Settings in force are not known here: the defaults do, and the next sign-in hashes anew if they differ.
    hashing = HashingPool(1, 0, HashParameters)
    try:
        interventions = _interventions(database, hashing, SystemClock())
        return await interventions.reset_password_locally(username, actor, disable_totp=disable_totp)
    finally:
        hashing.close()
        await database.close()


def actor() -> str:
    """Who runs this, as the trail names it; from the system, since the environment can say anything."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return f"local:{name}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Reset the password of the user who is named. The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m services.authentication.recover",
        description="Replace a user's password by a one-time password.",
    )
    parser.add_argument("username")
    parser.add_argument("--disable-totp", action="store_true", help="forget the second factor too")
    given = parser.parse_args(arguments)
    shield()
    logger.remove()
    try:
        made = asyncio.run(
            recover(ProcessSettings(), given.username, actor(), disable_totp=given.disable_totp)
        )
    except (MeshError, OSError, ValueError) as error:
        print(f"error: {_explained(error, given.username)}", file=sys.stderr)
        return 1
    print(made.password.reveal())
    print(
        f"Good until {made.expire_time.strftime(TIME_FORMAT)}; it has to be changed after signing in. All sessions have ended.",
        file=sys.stderr,
    )
    return 0


def _explained(error: Exception, username: str) -> str:
    match error:
        case NotFound():
            return f"there is no user {username}"
        case FailedPrecondition():
            return f"the account {username} is disabled, and a password would not open it: an administrator has to enable it"
        case Unavailable():
            return "the database does not answer: start it with `vivesphere up` first"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
