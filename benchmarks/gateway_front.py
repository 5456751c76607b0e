"""The gateway beside Go's grpc-gateway and Envoy's grpc_json_transcoder: CPU of a request, requests a second, waits, memory, fan-out.

`python -m benchmarks gateway_front [--rounds N] [--seconds S] [--fronts ours,grpc-gateway,Envoy] [--only one,twenty,thousand,rate,fanout]`

One gRPC server of Go stands behind all three (`benchmarks/front/`), all in plain text on loopback. A front has one core and one worker,
the server behind and the load have the other core; rounds alternate between the fronts. Ours is `python -m gateway --descriptors …`, as
anybody can run it, with metrics and every limit on. What a machine lacks is said and left out.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.front.fanout import NDJSON, SSE, fan_out
from benchmarks.front.fronts import ENVOY, GO, ONE_THING, OTHER_CORE, OURS, Front, all_fronts
from benchmarks.front.load import CONNECTIONS, at_rate, saturate
from benchmarks.report import Figure, console, print_figures

MICRO = 1e6
RATE, RATE_SECONDS = 1000, 5  # below what every front can take
STREAMS, TICK_MS = 1000, 250
CASES = {
    "one": ("one thing, 119 bytes", ONE_THING),
    "twenty": ("a list of 20, 2.5 KiB", "/v1/things?page_size=20"),
    "thousand": ("a list of 1,000, 123 KiB", "/v1/things?page_size=1000"),
}
PARTS = (*CASES, "rate", "fanout")

Samples = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Choice:
    """What the command line asks for."""

    rounds: int
    seconds: float
    fronts: tuple[str, ...]
    only: tuple[str, ...]


async def measure(options: Sequence[str] = ()) -> None:
    """Run and print."""
    choice = _choice(options)
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as name, _beside_the_server():
        folder = Path(name)
        async with all_fronts(folder, choice.fronts, notes) as fronts:
            for note in notes:
                console.print(f"note     {note}")
            memory = {f"{front.name}, started": front.resident_mib() for front in fronts}
            for key, (title, path) in CASES.items():
                if key in choice.only:
                    await _case(title, path, fronts, choice)
            memory |= {f"{front.name}, after requests": front.resident_mib() for front in fronts}
            if "rate" in choice.only:
                await _at_rate(fronts, choice, folder)
            if "fanout" in choice.only:
                memory |= await _fan_out(fronts, choice)
            print_figures("Resident memory", [Figure(name, "MiB", [memory[name]]) for name in sorted(memory)])


def _choice(options: Sequence[str]) -> Choice:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gateway_front")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round; wrk takes whole ones")
    parser.add_argument("--fronts", default=",".join((OURS, GO, ENVOY)), help="in this order")
    parser.add_argument("--only", default=",".join(PARTS), help="parts of the measurement")
    given = parser.parse_args(options)
    return Choice(given.rounds, given.seconds, tuple(given.fronts.split(",")), tuple(given.only.split(",")))


@contextmanager
def _beside_the_server() -> Iterator[None]:
    """Keep this process, which is part of the load, off the front's core."""
    before = os.sched_getaffinity(0)
    if OTHER_CORE in before:
        os.sched_setaffinity(0, {OTHER_CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def _case(title: str, path: str, fronts: Sequence[Front], choice: Choice) -> None:
    cpu, rates = _samples(fronts), _samples(fronts)
    for front in fronts:
        await saturate(front.url + path, 1)
    for _ in range(choice.rounds):
        for front in fronts:
            before = front.cpu_seconds()
            answered = await saturate(front.url + path, choice.seconds)
            if answered.failed:
                raise RuntimeError(f"{front.name} failed {answered.failed} of {answered.requests} requests")
            cpu[front.name].append((front.cpu_seconds() - before) / answered.requests * MICRO)
            rates[front.name].append(answered.requests / answered.seconds)
    print_figures(
        f"{title}: {CONNECTIONS} connections, {choice.seconds:g} s a round",
        [
            *(Figure(f"CPU of a request, {name}", "µs", samples) for name, samples in cpu.items()),
            *(Figure(f"requests, {name}", "/s", samples) for name, samples in rates.items()),
            *_ratios("CPU", cpu),
        ],
    )


async def _at_rate(fronts: Sequence[Front], choice: Choice, folder: Path) -> None:
    p50, p99 = _samples(fronts), _samples(fronts)
    for _ in range(choice.rounds):
        for front in fronts:
            waits = await at_rate(front.url + ONE_THING, RATE, RATE_SECONDS, folder)
            if waits is None:
                console.print("note     no waits at a fixed rate; missing: h2load")
                return
            p50[front.name].append(waits.p50)
            p99[front.name].append(waits.p99)
    print_figures(
        f"one thing, {RATE:,} requests a second whatever happens, {RATE_SECONDS} s a round",
        [
            *(Figure(f"p50, {name}", "ms", samples) for name, samples in p50.items()),
            *(Figure(f"p99, {name}", "ms", samples) for name, samples in p99.items()),
        ],
    )


async def _fan_out(fronts: Sequence[Front], choice: Choice) -> dict[str, float]:
    """Print, and return resident memory with all streams open."""
    cpu: Samples = {}
    rates: Samples = {}
    memory: dict[str, float] = {}
    unserved: set[str] = set()
    kinds = {f"{front.name}, NDJSON": (front, NDJSON) for front in fronts}
    kinds |= {f"{front.name}, SSE": (front, SSE) for front in fronts if front.name == OURS}
    for _ in range(choice.rounds):
        for name, (front, accept) in kinds.items():
            delivered = await fan_out(front, STREAMS, TICK_MS, choice.seconds, accept)
            if delivered is None or not delivered.messages:
                unserved.add(name)
                continue
            cpu.setdefault(name, []).append(delivered.cpu_seconds / delivered.messages * MICRO)
            rates.setdefault(name, []).append(delivered.messages / delivered.seconds)
            memory[f"{front.name}, {STREAMS:,} streams"] = delivered.resident_mib
    for name in sorted(unserved):
        console.print(f"note     nothing was delivered by {name}")
    print_figures(
        f"fan-out: {STREAMS:,} streams, each a message every {TICK_MS} ms, {choice.seconds:g} s a round",
        [
            *(Figure(f"CPU of a message, {name}", "µs", samples) for name, samples in cpu.items()),
            *(Figure(f"delivered, {name}", "/s", samples) for name, samples in rates.items()),
        ],
    )
    return memory


def _samples(fronts: Sequence[Front]) -> Samples:
    return {front.name: [] for front in fronts}


def _ratios(what: str, samples: Samples) -> list[Figure]:
    """Ours to each other, round by round."""
    if OURS not in samples:
        return []
    return [
        Figure(f"{what}, ours to {name}", "×", [a / b for a, b in zip(samples[OURS], others, strict=True)])
        for name, others in samples.items()
        if name != OURS
    ]
