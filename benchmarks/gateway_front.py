"""The gateway beside Go's grpc-gateway and Envoy's grpc_json_transcoder: CPU of a request, requests a second, waits, memory, fan-out.

`python -m benchmarks gateway_front [--rounds N] [--seconds S] [--fronts ours,grpc-gateway,Envoy] [--only one,twenty,thousand,rate,fanout]`

One gRPC server of Go stands behind all three (`benchmarks/front/`), all in plain text on loopback. A front has one core and one worker,
the server behind and wrk have the other core; rounds alternate between the fronts. Ours is `python -m gateway --descriptors …`, as anybody
can run it, with metrics and every limit on. What a machine lacks is said and left out.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.front.fronts import ENVOY, GO, ONE_THING, OURS, Front, all_fronts
from benchmarks.front.load import CONNECTIONS, saturate
from benchmarks.report import Figure, console, print_figures

MICRO = 1e6
CASES = {
    "one": ("one thing, 119 bytes", ONE_THING),
    "twenty": ("a list of 20, 2.5 KiB", "/v1/things?page_size=20"),
    "thousand": ("a list of 1,000, 123 KiB", "/v1/things?page_size=1000"),
}


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
    with tempfile.TemporaryDirectory() as name:
        async with all_fronts(Path(name), choice.fronts, notes) as fronts:
            for note in notes:
                console.print(f"note     {note}")
            idle = {front.name: front.resident_mib() for front in fronts}
            for key, (title, path) in CASES.items():
                if key in choice.only:
                    await _case(title, path, fronts, choice)
            _print_memory(fronts, idle)


def _choice(options: Sequence[str]) -> Choice:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gateway_front")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--fronts", default=",".join((OURS, GO, ENVOY)))
    parser.add_argument("--only", default=",".join(CASES))
    given = parser.parse_args(options)
    return Choice(given.rounds, given.seconds, tuple(given.fronts.split(",")), tuple(given.only.split(",")))


async def _case(title: str, path: str, fronts: Sequence[Front], choice: Choice) -> None:
    cpu: dict[str, list[float]] = {front.name: [] for front in fronts}
    rates: dict[str, list[float]] = {front.name: [] for front in fronts}
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
    figures = [Figure(f"CPU of a request, {name}", "µs", samples) for name, samples in cpu.items()]
    figures += [Figure(f"requests, {name}", "/s", samples) for name, samples in rates.items()]
    figures += [
        Figure(f"CPU, ours to {name}", "×", [a / b for a, b in zip(cpu[OURS], cpu[name], strict=True)])
        for name in cpu
        if OURS in cpu and name != OURS
    ]
    print_figures(f"{title}: {CONNECTIONS} connections, {choice.seconds:g} s a round", figures)


def _print_memory(fronts: Sequence[Front], idle: dict[str, float]) -> None:
    figures = []
    for front in fronts:
        figures.append(Figure(f"{front.name} when started", "MiB", [idle[front.name]]))
        figures.append(Figure(f"{front.name} after the load", "MiB", [front.resident_mib()]))
    print_figures("Resident memory", figures)
