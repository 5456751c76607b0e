"""The embedded engines: PostgreSQL, NATS with JetStream and OpenBao from their wheels, each as a `ChildSpec`.

Each module makes its engine's files, says how to start it and how to tell that it is ready. What is put inside an engine
(databases, streams, policies) is done by `cli.setup`, which works on any PostgreSQL, NATS and Vault.
"""

import os

from cli.errors import CliError

# Engines get a short environment: variables such as PGOPTIONS or VAULT_TOKEN of the caller must not steer them.
_PASSED_ON = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "TZ",
    "LD_LIBRARY_PATH",
)  # the last: the launcher is Python, which may need it


class EngineMissing(CliError):
    """A wheel of the extra `embedded` is not installed."""


class EngineUnusable(CliError):
    """An engine's data cannot be served; the message says why."""


def engine_environment() -> dict[str, str]:
    """What an engine sees of the caller's environment."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
