"""What publishing counts. Labels are outcomes and states, never ids."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from mesh.telemetry.metrics import registry

attempts: Final = Counter(
    "vivesphere_publish_attempts",
    "Calls to X that create a post, by outcome.",
    ("outcome",),
    registry=registry,
)
call_seconds: Final = Histogram(
    "vivesphere_publish_call_seconds",
    "Time from before a call to X to its outcome.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=registry,
)
lateness_seconds: Final = Histogram(
    "vivesphere_publish_lateness_seconds",
    "How long after its time a post was taken by X.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
    registry=registry,
)
in_flight: Final = Gauge(
    "vivesphere_publish_in_flight", "Posts in the hands of this worker.", registry=registry
)
lost_leases: Final = Counter(
    "vivesphere_publish_lost_leases",
    "Leases that ended in a worker's hands, by the state after.",
    ("state",),
    registry=registry,
)
oldest_overdue_seconds: Final = Gauge(
    "vivesphere_publish_oldest_overdue_seconds",
    "How late the oldest waiting post of an active bot is; 0 when none is late.",
    registry=registry,
)
reconcile_reads: Final = Counter(
    "vivesphere_publish_reconcile_reads",
    "Looks at accounts to settle posts of unknown outcome; failed ones settle nothing.",
    ("result",),
    registry=registry,
)
reconciled: Final = Counter(
    "vivesphere_publish_reconciled",
    "Posts of unknown outcome that were settled by looks: adopted, sent again, or left to a person (asked).",
    ("result",),
    registry=registry,
)
