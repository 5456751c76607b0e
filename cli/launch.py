"""The first program of every child: ties its life to the supervisor's, then becomes the real program.

Run as `python -I -S launch.py PARENT SIGNAL IDENTITY PROGRAM [ARGUMENT ...]` (standard library only, some ten milliseconds),
instead of a `preexec_fn`, which is unsafe once threads exist. It

1. takes the identity asked for (below),
2. asks the kernel for SIGNAL when its parent dies (PR_SET_PDEATHSIG; a change of identity would clear it, so it comes
   second) and leaves at once if the parent PARENT is gone already,
3. forbids core dumps, since each of the programs holds secrets,
4. replaces itself by PROGRAM.

IDENTITY is `same`, or one of the two ways in which root can run PostgreSQL, which refuses to run with effective uid 0:

`namespace`  A user namespace that shows the one real user 0 as `nobody`. The kernel still sees uid 0 as owner, so a data
             directory of mode 0700 below /root works as it is, and all capabilities are gone. The first choice.
`capability` Where a container forbids namespaces: becomes the real user `nobody` and keeps one ambient capability that lets
             it search root's directories. The caller gives that user the data directory.

It does not fork, wait or log: what the child prints and how it ends is the supervisor's business.
"""

import ctypes
import os
import resource
import sys

NOBODY = 65534  # `nobody` and `nogroup` on every common distribution; initdb wants a name for its uid
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def enter_namespace() -> None:
    """Moves this process into a user namespace where uid and gid 0 outside appear as `nobody`."""
    _check(_libc.unshare(_CLONE_NEWUSER), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{NOBODY} 0 1"), ("gid_map", f"{NOBODY} 0 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs start-up time
            file.write(text)


def _permitted_capabilities() -> int:
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs start-up time
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm:"))


def become_nobody() -> None:
    """Becomes the user `nobody` with a single ambient capability for reaching root's directories, if one is to be had."""
    permitted = _permitted_capabilities()
    kept = next((c for c in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE) if permitted & (1 << c)), None)
    _check(_libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl(PR_SET_KEEPCAPS)")
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    bits = 0 if kept is None else 1 << kept
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(
        bits, bits, bits, 0, 0, 0
    )  # effective, permitted, inheritable; low and high words
    _check(_libc.capset(header, sets), "capset")
    if kept is not None:
        _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, kept, 0, 0), "prctl(PR_CAP_AMBIENT)")


def main(parent: str, signal: str, identity: str, *program: str) -> None:
    """Takes the identity, ties the process to its parent and executes the program; returns only by an exception."""
    if identity == "namespace":
        enter_namespace()
    elif identity == "capability":
        become_nobody()
    elif identity != "same":
        raise SystemExit(f"unknown identity {identity!r}")
    _check(_libc.prctl(_PR_SET_PDEATHSIG, int(signal), 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(parent):
        raise SystemExit("the supervisor has ended")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.execv(program[0], program)  # noqa: S606 - no shell is wanted; the arguments come from our own process list


if __name__ == "__main__":
    main(*sys.argv[1:])
