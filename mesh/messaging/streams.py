"""The JetStream streams of the mesh as data, and `ensure`, which makes a server look like that data.

    LOGS     logs.<service>       batches of log records; a full stream refuses, producers spool
    AUDIT    audit.<service>      one audit record a message; a full stream refuses, outboxes wait
    ACTIONS  actions.<service>.>  a work queue: a message is gone once its worker has acknowledged it
    EVENTS   events.<service>.>   what has happened; the oldest go first
    CHECKPOINTS  checkpoints.<service>  signed statements about a chain; nobody can delete one, they go after a year

Streams are transport, never the record: each can be rebuilt from the services' databases. CHECKPOINTS alone is evidence, and kept here
because it must lie outside of the database that it tells of. The set-up job runs `ensure` with an
identity that may create; services may not. Knows no service: which service consumes what is an argument.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError

MiB = 1024 * 1024
FOREVER = timedelta()
"""JetStream's own spelling of "no age limit"."""
UNLIMITED = -1


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One stream. `duplicate_window` is how late a producer may repeat a message id and still be recognised (~150 B of RAM an id)."""

    name: str
    subjects: tuple[str, ...]
    max_bytes: int
    max_age: timedelta
    duplicate_window: timedelta
    discard: DiscardPolicy
    retention: RetentionPolicy = RetentionPolicy.LIMITS
    evidence: bool = False
    """Messages can be read by number and deleted by nobody, not even by who may administer streams."""

    def config(self, replicas: int = 1) -> StreamConfig:
        """What the server is asked for. `replicas`: 1 on one machine, 3 in a cluster."""
        return StreamConfig(
            name=self.name,
            subjects=list(self.subjects),
            retention=self.retention,
            discard=self.discard,
            max_bytes=self.max_bytes,
            max_age=self.max_age.total_seconds(),
            duplicate_window=self.duplicate_window.total_seconds(),
            storage=StorageType.FILE,
            num_replicas=replicas,
            allow_direct=self.evidence,
            deny_delete=self.evidence,
            deny_purge=self.evidence,
        )


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """One durable pull consumer with explicit acknowledgement."""

    stream: str
    durable: str
    subjects: tuple[str, ...]
    ack_wait: timedelta = timedelta(seconds=30)
    """How long a delivered message may stay silent before it goes to another worker; `in_progress()` starts it anew."""
    max_deliver: int = UNLIMITED
    """A message past the limit would silently stay undelivered; handlers reject what can never work instead."""
    max_ack_pending: int = 1000
    """Messages delivered and not acknowledged, over all replicas of the service."""
    backoff: tuple[timedelta, ...] = ()
    """Waits after the first, second, … silence, instead of `ack_wait`. Applies to silence only, never to a negative answer."""

    def config(self) -> ConsumerConfig:
        """What the server is asked for."""
        single = self.subjects[0] if len(self.subjects) == 1 else None
        return ConsumerConfig(
            durable_name=self.durable,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self.ack_wait.total_seconds(),
            max_deliver=self.max_deliver,
            max_ack_pending=self.max_ack_pending,
            backoff=[wait.total_seconds() for wait in self.backoff] or None,
            filter_subject=single,
            filter_subjects=None if single else list(self.subjects),
        )


STREAMS: tuple[StreamSpec, ...] = (
    StreamSpec("LOGS", ("logs.*",), 1024 * MiB, timedelta(days=3), timedelta(minutes=10), DiscardPolicy.NEW),
    StreamSpec("AUDIT", ("audit.*",), 512 * MiB, timedelta(days=14), timedelta(hours=1), DiscardPolicy.NEW),
    StreamSpec(
        "ACTIONS",
        ("actions.*.>",),
        256 * MiB,
        FOREVER,
        timedelta(hours=1),
        DiscardPolicy.NEW,
        RetentionPolicy.WORK_QUEUE,
    ),
    StreamSpec(
        "EVENTS", ("events.*.>",), 256 * MiB, timedelta(days=1), timedelta(minutes=10), DiscardPolicy.OLD
    ),
    StreamSpec(
        "CHECKPOINTS",
        ("checkpoints.*",),
        512 * MiB,
        timedelta(days=365),
        timedelta(hours=1),
        DiscardPolicy.NEW,
        evidence=True,
    ),
)

STREAM_OF: dict[str, str] = {spec.subjects[0].partition(".")[0]: spec.name for spec in STREAMS}
"""First token of a subject -> the stream that stores it."""


def consumers_of(service: str, subjects: Iterable[str]) -> tuple[ConsumerSpec, ...]:
    """The durable consumers of a service, one a stream, named like the service. Raises ValueError for a subject stored nowhere."""
    streams: dict[str, list[str]] = {}
    for subject in subjects:
        stream = STREAM_OF.get(subject.partition(".")[0])
        if stream is None:
            raise ValueError(f"{service}: {subject!r} is stored in no stream")
        streams.setdefault(stream, []).append(subject)
    return tuple(ConsumerSpec(stream, service, tuple(names)) for stream, names in streams.items())


async def ensure(
    js: JetStreamContext,
    streams: Sequence[StreamSpec] = STREAMS,
    consumers: Sequence[ConsumerSpec] = (),
    *,
    replicas: int = 1,
) -> None:
    """Make what is missing, update what differs, remove nothing. Raises nats.errors.Error if the server refuses or is silent."""
    for stream in streams:
        await _ensure_stream(js, stream.config(replicas))
    for consumer in consumers:
        # Creating a durable consumer that exists updates it, so there is nothing to look up first.
        await js.add_consumer(consumer.stream, consumer.config())


async def _ensure_stream(js: JetStreamContext, config: StreamConfig) -> None:
    try:
        await js.stream_info(str(config.name))
    except NotFoundError:
        await js.add_stream(config)
    else:
        await js.update_stream(config)
