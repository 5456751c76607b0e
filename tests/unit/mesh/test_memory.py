"""The memory of a process stays in the process. Each test looks at a process of its own, since a shield is for life."""

import os
import subprocess
import sys

import pytest

from cli.registry import PROJECT_ROOT

NOBODY = 65534
SHIELDED = """
import os, resource, ssl
{early}
from mesh.memory import shield
shield()
{then}
"""


def run(then: str, early: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    code = SHIELDED.format(early=early, then=then)
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_no_core_is_written() -> None:
    """Neither into a file nor through a pipe, which asks for dumpable and not for the limit."""
    libc = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    done = run(f"print(resource.getrlimit(resource.RLIMIT_CORE)); {libc}")
    assert done.stdout.split("\n")[:2] == ["(0, 0)", "0"], done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="another user has to be taken, which only root can")
def test_others_of_the_same_user_cannot_read_it_and_still_see_its_size() -> None:
    """An attacker who runs as the service's user must not read credentials out of it; `status` must still work."""
    early = f"os.setgroups([]); os.setresgid({NOBODY}, {NOBODY}, {NOBODY}); os.setresuid({NOBODY}, {NOBODY}, {NOBODY})"
    then = """
if os.fork() == 0:
    for name in ("mem", "environ", "maps", "statm", "stat"):
        try:
            open(f"/proc/{os.getppid()}/{name}", "rb").close()
        except PermissionError:
            print(name, flush=True)
    os._exit(0)
os.wait()
"""
    done = run(then, early="import mesh.memory; " + early)
    assert done.stdout.split() == ["mem", "environ", "maps"], done.stderr


def test_no_library_writes_keys_of_tls_sessions(tmp_path: object) -> None:
    """With them a recorded connection to the vault is plain text."""
    file = f"{tmp_path}/keys"
    done = run("print(ssl.create_default_context().keylog_filename)", SSLKEYLOGFILE=file)
    assert done.stdout == "None\n", done.stderr
