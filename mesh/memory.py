"""Keeps what a process holds in memory out of files and away from other processes of the same user.

A process of the mesh holds passwords, tokens and bots' credentials for moments. Python cannot wipe them, so nobody else may get at the
memory: no core dump is written (also none through a pipe to a collector, which the core limit alone does not prevent), other processes
of the same user cannot attach or read /proc/<pid>/mem, environ and maps, and no library writes TLS session keys to a file. What
`ps` and `vivesphere status` show stays readable. Does not keep memory from being swapped: that is the machine's to encrypt.
"""

import ctypes
import os
import resource
from typing import Final

_PR_SET_DUMPABLE: Final = 4
KEY_LOG: Final = "SSLKEYLOGFILE"
"""Names a file for TLS session keys; Python's `ssl` and urllib3 follow it, and with it a recorded connection can be read."""


def shield() -> None:
    """Call first in a process. Raises OSError where the kernel refuses: then the process must not go on."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_DUMPABLE): {os.strerror(code)}")
    os.environ.pop(KEY_LOG, None)
