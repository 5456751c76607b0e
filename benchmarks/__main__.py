"""Runs benchmarks: `python -m benchmarks [NAME …]`, all of them without a name; `ALL` is the list of names.

Options (`--rounds 3`) stand behind the name of a benchmark that has some, which then is the only one.
"""

import asyncio
import sys

from benchmarks import (
    authentication,
    configuration,
    gateway,
    gateway_front,
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
    "gateway_front": gateway_front.measure,
    "logging_ingest": logging_ingest.measure,
    "logging_call": logging_call.measure,
    "publishing": publishing.measure,
}


WITH_OPTIONS = {"gateway_front": gateway_front.measure}


def main(arguments: list[str]) -> int:
    """Run the named benchmarks, or all; returns the exit status."""
    first = next((at for at, one in enumerate(arguments) if one.startswith("-")), len(arguments))
    names, options = arguments[:first], arguments[first:]
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"unknown benchmark {unknown[0]!r}; there are: {', '.join(ALL)}", file=sys.stderr)
        return 2
    if options and not (len(names) == 1 and names[0] in WITH_OPTIONS):
        print(f"options stand behind one of: {', '.join(WITH_OPTIONS)}", file=sys.stderr)
        return 2
    print_machine()
    if options:
        asyncio.run(WITH_OPTIONS[names[0]](options))
        return 0
    for name in names or ALL:
        asyncio.run(ALL[name]())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
