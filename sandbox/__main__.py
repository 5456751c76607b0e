"""`python -m sandbox`: serve until SIGINT or SIGTERM. Prints one line when ready.

Exit status: 0 stopped, 1 could not start (port taken, state file damaged), 2 a setting is wrong.
"""

import asyncio
import os
import signal
import sys

from sandbox.app import running
from sandbox.journal import Damaged
from sandbox.settings import BadSetting, Settings, from_environment


async def serve(settings: Settings) -> None:
    """Serve until a signal asks to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for asked in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(asked, stop.set)
    async with running(settings) as url:
        print(f"X sandbox ready at {url}", flush=True)
        await stop.wait()


def main() -> int:
    """Run; returns the exit status."""
    try:
        asyncio.run(serve(from_environment(os.environ)))
    except BadSetting as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 2
    except (OSError, Damaged) as error:
        print(f"sandbox: cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
