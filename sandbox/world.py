"""The parts every route works on, made once per sandbox."""

import asyncio
import random
from dataclasses import dataclass, field

from sandbox.clock import Clock
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
    clock: Clock
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
    store = Store(clock, Journal(settings.state_file) if settings.state_file else None)
    return World(
        settings=settings,
        clock=clock,
        store=store,
        faults=Faults(clock, chance),
        limits=Limits(clock, enforced=settings.rate_limits),
        library=Library(store, clock),
        verifier=Verifier(store.credentials_of_token, clock),
    )
