"""The parts every route works on, made once per sandbox."""

import asyncio
import random
from dataclasses import dataclass, field

from sandbox.clock import Clock, SkewedClock
from sandbox.faults import Faults
from sandbox.journal import Journal
from sandbox.limits import Limits
from sandbox.media import Library
from sandbox.oauth1 import Verifier
from sandbox.settings import Settings
from sandbox.store import Store


@dataclass(frozen=True, slots=True)
class World:
    """One X: its state, its moods and its clock."""

    settings: Settings
    clock: SkewedClock
    store: Store
    faults: Faults
    limits: Limits
    library: Library
    verifier: Verifier
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server stops: everything that waits on purpose ends."""


def make_world(settings: Settings, clock: Clock, chance: random.Random) -> World:
    """Put the parts together, with the state file's content if there is one.

    Raises:
        Damaged: the state file cannot be understood.
        OSError: it cannot be opened.
    """
    skewed = SkewedClock(clock)
    journal = Journal(settings.state_file) if settings.state_file else None
    store = Store(skewed, journal, settings.access_token_seconds)
    return World(
        settings=settings,
        clock=skewed,
        store=store,
        faults=Faults(skewed, chance),
        limits=Limits(skewed, enforced=settings.rate_limits),
        library=Library(store, skewed),
        verifier=Verifier(store.credentials_of_token, skewed),
    )
