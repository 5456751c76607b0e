"""The first administrator, made when there is nobody yet.

Until that user has signed in for the first time, each start that brings a first password makes the user anew with it: a start that
failed half-way may have left a user whose password nobody ever saw.

The password comes from whoever installs the mesh. Several replicas may start at once; the accounts' lock lets one of them make the user.
While it is not known whether somebody exists, because the database is away, health says so and the loop goes on asking.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError, Unavailable
from mesh.ids import new_id
from mesh.secret import Secret
from services.authentication.domain.events import FIRST_USER_MADE, Event
from services.authentication.domain.hashing import HashingPool
from services.authentication.domain.passwords import MAX_PASSWORD_CHARS, MIN_PASSWORD_CHARS, guessable
from services.authentication.domain.user import ADMIN_ROLE, FIRST_USERNAME, Credentials, User, UserState
from services.authentication.store.ports import Store, Unit

FIRST_DISPLAY_NAME: Final = "Administrator"
RETRY_INTERVAL: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class FirstPassword:
    """The first administrator's password, and whether it is good for one sign-in only."""

    password: Secret
    one_time: bool


class FirstUser:
    """Makes the first administrator."""

    def __init__(
        self, store: Store, hashing: HashingPool, read: Callable[[], FirstPassword | None], clock: Clock
    ) -> None:
        """`read` gives the password, from a file perhaps; called only when there is nobody. May raise OSError and ValueError."""
        self._store = store
        self._hashing = hashing
        self._read = read
        self._clock = clock
        self._settled = False

    async def check(self) -> None:
        """Raises Unavailable until it is settled whether there is somebody."""
        if not self._settled:
            raise Unavailable("DATABASE_UNAVAILABLE", "it is not known yet whether there is a user")

    async def ensure(self) -> None:
        """Make the user if there is nobody. Raises Unavailable, and what `read` raises."""
        if not self._settled:
            await self._make_if_nobody()
            self._settled = True

    async def run(self) -> None:
        """`ensure`, again and again while the database is away."""
        while not self._settled:
            try:
                await self.ensure()
            except MeshError as error:
                logger.bind(reason=error.reason).warning("first user not settled")
                await self._clock.sleep(RETRY_INTERVAL)

    async def _make_if_nobody(self) -> None:
        somebody, unused = await self._look()
        if somebody and unused is None:
            return
        first = self._read()
        if first is None:
            if not somebody:
                logger.warning(
                    "there is no user: start with VIVESPHERE_ADMIN_PASSWORD_FILE set to make the user admin"
                )
            return
        if not MIN_PASSWORD_CHARS <= len(first.password.reveal()) <= MAX_PASSWORD_CHARS:
            raise ValueError(
                f"the first administrator's password must be {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters"
            )
        if guessable(first.password, (FIRST_USERNAME, FIRST_DISPLAY_NAME)) is not None:
            # Refusing to start would leave an installation without anybody who could set another one.
            logger.warning("the first administrator's password is easy to guess: sign in and change it")
        with self._hashing.place() as place:
            if unused is not None and await place.verify(first.password, unused.password_hash):
                return  # another replica, or an earlier start, was given the same
            password_hash = await place.hash(first.password)
        user = self._first(first.one_time)
        async with self._store.transaction() as unit:
            await unit.lock_accounts()
            left = await self._unused(unit)
            if left is not None and unused is not None and left.user.id == unused.user.id:
                await unit.users.delete(left.user.id)
            elif await unit.users.any():
                return
            await unit.users.insert(user, password_hash)
            await unit.note(Event(FIRST_USER_MADE, f"users/{user.id}"))
        logger.bind(user_id=user.id, one_time=first.one_time).info("first user made")

    async def _look(self) -> tuple[bool, Credentials | None]:
        """Whether there is anybody, and the first user if that is all there is and has never signed in."""
        async with self._store.read() as unit:
            return await unit.users.any(), await self._unused(unit)

    async def _unused(self, unit: Unit) -> Credentials | None:
        found = await unit.users.credentials_by_name(FIRST_USERNAME)
        if found is None or found.user.last_sign_in_time is not None:
            return None
        alone = len(await unit.users.list((), None, 2)) == 1
        return found if alone else None

    def _first(self, one_time: bool) -> User:
        now = self._clock.now()
        return User(
            id=new_id(),
            username=FIRST_USERNAME,
            display_name=FIRST_DISPLAY_NAME,
            email="",
            roles=(ADMIN_ROLE,),
            state=UserState.ACTIVE,
            password_change_required=one_time,
            version=1,
            create_time=now,
            update_time=now,
        )
