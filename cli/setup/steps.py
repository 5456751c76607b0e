"""What a set-up found and did, step by step, for people to read; and the choice to do nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that has to be so. `right`: it was so before."""

    what: str
    right: bool


@dataclass(slots=True)
class Steps:
    """Makes what is not right yet and remembers both. With `dry_run` nothing is made."""

    dry_run: bool = False
    taken: list[Step] = field(default_factory=list)

    def ensure(self, what: str, right: bool, make: Callable[[], object]) -> None:
        """`make` puts right what is not; what it raises goes on to the caller."""
        if not right and not self.dry_run:
            make()
        self.taken.append(Step(what, right))
