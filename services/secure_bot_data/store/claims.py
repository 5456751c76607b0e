"""Claims of the rewrap job in PostgreSQL: implements `domain.key_ports.Claims`, in the table that all claims to replace a secret are in."""

from datetime import datetime
from typing import Final

from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import insert

from mesh.database import Database
from mesh.errors import Aborted
from services.secure_bot_data.domain.model import SecretRef
from services.secure_bot_data.store.tables import rotations

HOLDER: Final = "rewrap job"
"""One holder, whatever the replica: whoever takes the job over takes over what a dead one held."""


class RewrapClaims:
    """The claims of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, claim_id: str, ref: SecretRef, version: int, now: datetime, until: datetime) -> None:
        """See `Claims.take`. One statement decides, so it does not matter how others take theirs."""
        claim = {
            "id": claim_id,
            "version": version,
            "holder": HOLDER,
            "create_time": now,
            "expire_time": until,
            "in_force": True,
            # Nobody is asked for a successor, so a claim of ours that is left behind says nothing about the other side.
            "settled": True,
        }
        statement = insert(rotations).values(bot_id=ref.bot_id, name=ref.name, **claim)
        free = or_(~rotations.c.in_force, rotations.c.expire_time <= now, rotations.c.holder == HOLDER)
        certain = or_(rotations.c.settled, rotations.c.version != version)
        taken = statement.on_conflict_do_update(
            index_elements=["bot_id", "name"], set_=claim, where=free & certain
        ).returning(rotations.c.id)
        async with self._database.transaction(concludes=False) as connection:
            if (await connection.execute(taken)).one_or_none() is not None:
                return
            other = select(rotations.c.in_force, rotations.c.expire_time).where(
                rotations.c.bot_id == ref.bot_id, rotations.c.name == ref.name
            )
            in_force, expire_time = (await connection.execute(other)).one()
        left = expire_time - now
        raise Aborted(
            "ROTATION_CLAIMED",
            "somebody is replacing the secret",
            retry_after=left if in_force and expire_time > now else None,
        )

    async def give_back(self, claim_id: str) -> None:
        """See `Claims.give_back`."""
        async with self._database.transaction(concludes=False) as connection:
            await connection.execute(
                update(rotations).where(rotations.c.id == claim_id).values(in_force=False)
            )
