"""PostgreSQL's pg_snapshot: which transactions had ended at a moment. Written `xmin:xmax:xip,xip,…`, numbers without wraparound."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Transactions from `next_id` on had not begun, those in `running` had not ended, all others had; so had all below `oldest`."""

    oldest: int
    next_id: int
    running: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """Of PostgreSQL's own words."""
        oldest, next_id, running = text.split(":")
        return cls(int(oldest), int(next_id), tuple(int(one) for one in running.split(",") if one))
