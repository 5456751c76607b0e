"""docs/adding-a-service.md is true: its files, its line, and nothing else make a service that works."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.startup import PASSWORD, Up, until_announced
from cli.layout import DataDir
from cli.rest import Api, ApiError
from cli.state import read_state

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("proto", "generated", "mesh", "services", "gateway", "sandbox", "cli", "tools", "deploy")
BLOCK = re.compile(r"^```\w+ (file|append)=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BOT = "0190c6a1-0000-7000-8000-0000000000aa"


def follow_the_page(project: Path) -> None:
    """Write every file of the page, append its lines, generate code."""
    page = (ROOT / "docs" / "adding-a-service.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(page)
    assert len(blocks) >= 8
    for kind, name, content in blocks:
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if kind == "append" else "w", encoding="utf-8") as file:
            file.write(content)
    subprocess.run(
        [sys.executable, "-m", "tools.generate"],
        cwd=project,
        env=environment(project),
        check=True,
        timeout=120,
    )


def environment(project: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": f"{project}:{project / 'generated'}",
        "VIVESPHERE_ADMIN_PASSWORD": PASSWORD,
    }


async def test_a_service_made_by_the_page_works(tmp_path: Path) -> None:
    """REST, access, validation, audit and reflection of the new service follow from its contract alone."""
    project = tmp_path / "project"
    for name in COPIED:
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    await asyncio.to_thread(follow_the_page, project)
    data = tmp_path / "data"
    command = [sys.executable, "-m", "cli.main", "up", "--data-dir", str(data)]
    process = await asyncio.create_subprocess_exec(
        *command,
        *("--http-port", "0", "--grpc-port", "0", "--sandbox-port", "0"),
        cwd=project,
        env=environment(project),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(90):
            await until_announced(process)
        up = Up(0.0, DataDir(data), read_state(DataDir(data)).addresses)
        await asyncio.to_thread(use_it, up.addresses["console"].rstrip("/"))
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def use_it(url: str) -> None:
    path = f"/api/v1/bots/{BOT}/notes"
    with Api(url) as api:
        for call in (lambda: api.get(path), lambda: api.post(path, {"text": "x"})):
            assert refused(call) == (401, "CREDENTIAL_MISSING")
        api.sign_in("admin", PASSWORD)
        assert refused(lambda: api.post(path, {"text": ""})) == (400, "INVALID_FIELD")
        made = api.post(path, {"text": "speaks Danish on Fridays"})
        assert [note["id"] for note in api.get(path)["notes"]] == [made["id"]]


def refused(call: object) -> tuple[int, str]:
    try:
        call()  # type: ignore[operator]  # a lambda of ours
    except ApiError as error:
        return error.status, error.reason
    raise AssertionError("not refused")
