"""How figures are told: the machine, the command, then a table of medians with the range they were taken from."""

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """Several measurements of one thing. `unit` is that of the samples."""

    name: str
    unit: str
    samples: Sequence[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    def cells(self) -> tuple[str, str, str]:
        """Name, median with unit, and least to most."""
        return (
            self.name,
            f"{_number(self.median)} {self.unit}",
            f"{_number(min(self.samples))} – {_number(max(self.samples))} (n={len(self.samples)})",
        )


def _number(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def print_machine() -> None:
    """What the figures were measured on, and with which command."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    console.print(f"machine  {model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}")
    console.print(f"python   {platform.python_version()}    load before {load}")
    console.print(f"command  python -m benchmarks {' '.join(sys.argv[1:])}".rstrip())


def print_figures(title: str, figures: Sequence[Figure]) -> None:
    """One table."""
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    table.add_column("median", justify="right")
    table.add_column("range", justify="right")
    for figure in figures:
        table.add_row(*figure.cells())
    console.print()
    console.print(table)
