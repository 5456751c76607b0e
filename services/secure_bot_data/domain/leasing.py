"""What a lease is made of, once the trail says what time it is.

Leases, and claims to replace a secret (`rotating`), begin and end by the clock of the database that all replicas share: a replica whose
own clock is wrong can neither grant beyond a secret's end, nor count or revoke fewer leases than are in force. Stamps that only tell a
story (access trail, versions) are the replica's. Callers count `ttl` from the answer on and compare no clocks at all.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.secure_bot_data.domain.lifecycle import check_readable
from services.secure_bot_data.domain.model import Access, Description, Lease


@dataclass(frozen=True, slots=True)
class Grant:
    """A version that has been opened for a lease of `ttl`. `access` names it and is not yet on the trail."""

    id: str
    access: Access
    description: Description
    ttl: timedelta

    def at(self, now: datetime) -> tuple[Access, Lease]:
        """The lease that begins now, and its reading. Raises FailedPrecondition SECRET_EXPIRED."""
        check_readable(self.access.version, self.description, now)
        end = min(now + self.ttl, self.description.expire_time or now + self.ttl)
        lease = Lease(self.id, self.access.ref, self.access.version, now, end)
        return replace(self.access, lease_id=lease.id, lease_end_time=end), lease
