"""Laws of the source tree that no type checker knows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vivesphere.mesh.v1 import error_reason_pb2

ROOT = Path(__file__).resolve().parents[2]
OURS = ("mesh", "services", "gateway", "cli", "sandbox", "tools")
ERRORS = {
    "InvalidArgument",
    "OutOfRange",
    "Unauthenticated",
    "PermissionDenied",
    "NotFound",
    "AlreadyExists",
    "Aborted",
    "FailedPrecondition",
    "ResourceExhausted",
    "Unavailable",
    "DeadlineExceeded",
    "OutcomeUnknown",
    "Unimplemented",
    "Internal",
}


def modules(*packages: str) -> Iterator[tuple[Path, ast.Module]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def test_every_reason_that_is_raised_is_in_the_contract() -> None:
    """Clients switch on reasons; one that is not in the enum cannot be switched on."""
    known = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118 - not a dict
    unknown = []
    for path, tree in modules("mesh", "services", "gateway"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args and getattr(node.func, "id", None) in ERRORS:
                reason = node.args[0]
                if isinstance(reason, ast.Constant) and reason.value not in known:
                    unknown.append(f"{path}:{node.lineno} {reason.value}")
    assert unknown == []


def test_every_module_tells_its_story() -> None:
    """A reader learns what a module owns before its first line of code."""
    mute = [str(path) for path, tree in modules(*OURS) if not ast.get_docstring(tree) and tree.body]
    assert mute == []


def test_log_events_are_constant_strings() -> None:
    """Data in the text of an event cannot be searched for, and may be a secret."""
    levels = {"trace", "debug", "info", "success", "warning", "error", "critical", "exception"}
    wrong = []
    for path, tree in modules("mesh", "services", "gateway"):
        wrong += [
            f"{path}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in levels
            and "log" in ast.unparse(node.func.value)
            and node.args
            and not is_constant(node.args[0])
        ]
    assert wrong == []


def is_constant(node: ast.expr) -> bool:
    """A literal, or a choice between literals."""
    if isinstance(node, ast.IfExp):
        return is_constant(node.body) and is_constant(node.orelse)
    return isinstance(node, ast.Constant)


def test_background_tasks_are_made_in_one_place() -> None:
    """A task nobody holds disappears without a word; `mesh.tasks` holds and guards them."""
    wrong = []
    for path, tree in modules("mesh", "services"):
        if path == Path("mesh/tasks.py"):
            continue
        wrong += [
            f"{path}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith(("create_task", "ensure_future"))
        ]
    assert wrong == []


@pytest.mark.parametrize("name", ["requirements/run.txt", "requirements/dev.txt", "requirements/uv.txt"])
def test_locks_have_hashes_and_no_address(name: str) -> None:
    """They must work behind any mirror, and install exactly what was reviewed."""
    text = (ROOT / name).read_text()
    assert "://" not in text
    pinned = re.findall(r"^[a-z0-9._-]+(?:\[[a-z,-]+\])?==\S+", text, re.MULTILINE | re.IGNORECASE)
    assert len(pinned) >= 1
    for block in re.split(r"\n(?=\S)", text.strip()):
        if not block.startswith("#"):
            assert "--hash=sha256:" in block, block[:60]


def test_pages_link_to_what_exists() -> None:
    """A dead link in the documentation is a broken promise."""
    dead = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        dead += [
            f"{page.relative_to(ROOT)} → {target}"
            for target in targets
            if "://" not in target and not (page.parent / target).exists()
        ]
    assert dead == []
