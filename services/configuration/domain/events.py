"""What becomes of changes without anybody calling: it is put on the audit trail in the transaction that does it."""

from dataclasses import dataclass
from typing import Final

ADVANCED: Final = "setting_change.advanced"
"""A roll-out has reached its next share of instances."""
COMPLETED: Final = "setting_change.completed"
"""A roll-out has reached all instances; the values are stored."""
REVERTED: Final = "setting_change.reverted"
"""A roll-out was reverted: its guard tripped, an instance refused a value, or a value breaks its definition by now."""
EXPIRED: Final = "setting_change.expired"
"""Nobody decided about a change in time."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the trail. `resource` is a path such as `settingChanges/0190…`."""

    action: str
    resource: str
    warning: bool = False
    """True for what somebody should look at."""
