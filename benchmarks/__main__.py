"""Runs benchmarks: `python -m benchmarks [NAME …]`, all of them without a name; `ALL` is the list of names."""

import asyncio
import sys

from benchmarks import (
    authentication,
    configuration,
    gateway,
    gateway_memory,
    interceptor,
    logging_call,
    logging_ingest,
    logging_search,
    publishing,
    secrets,
    startup,
)
from benchmarks.report import print_machine

ALL = {
    "interceptor": interceptor.measure,
    "authentication": authentication.measure,
    "configuration": configuration.measure,
    "secrets": secrets.measure,
    "logging_search": logging_search.measure,
    "startup": startup.measure,
    "gateway": gateway.measure,
    "gateway_memory": gateway_memory.measure,
    "logging_ingest": logging_ingest.measure,
    "logging_call": logging_call.measure,
    "publishing": publishing.measure,
}


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; returns the exit status."""
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"unknown benchmark {unknown[0]!r}; there are: {', '.join(ALL)}", file=sys.stderr)
        return 2
    print_machine()
    for name in names or ALL:
        asyncio.run(ALL[name]())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
