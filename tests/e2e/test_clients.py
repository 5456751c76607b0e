"""The programs of docs/clients.md do the main job as they are written: each signs in, connects a bot, publishes, and sees it out.

Go is built from Debian's packages, for there are no modules without a network: where they are missing, its test is skipped.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from cli.rest import Api
from tests.e2e.conftest import Running
from tests.e2e.node import PATIENCE_SECONDS as COMPILER_PATIENCE_SECONDS
from tests.e2e.node import lend_packages
from tests.e2e.pages import section, text_of, typed

PAGE = "docs/clients.md"
DEBIAN_GO = Path("/usr/share/gocode")
GO_PACKAGES = (
    "golang-go golang-google-grpc-dev golang-github-golang-protobuf-1-5-dev protoc-gen-go protoc-gen-go-grpc"
)


def did(
    heading: str,
    running: Running,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    patience: int = 90,
) -> str:
    """What is shown when a section is done after what stands above the first one."""
    page = text_of(PAGE)
    text = section(page, "") + section(page, heading)
    return typed(text, running, folder, environment=environment, patience_seconds=patience)


def once_on_x(sandbox: Api, handle: str) -> bool:
    """Whether X holds exactly one post of the account; asked of X, not of the program."""
    account = sandbox.post("/sandbox/accounts", {"handle": handle})  # the one that exists
    return len(sandbox.get("/sandbox/posts", user_id=account["user_id"])["posts"]) == 1


@pytest.mark.parametrize(
    ("heading", "handle"),
    [
        ("curl", "curl_bot"),
        ("grpcurl", "grpcurl_bot"),
        ("Python over REST", "httpx_bot"),
        ("Python over gRPC", "grpc_bot"),
    ],
)
def test_the_main_job_is_done_with(
    running: Running, sandbox: Api, tmp_path: Path, heading: str, handle: str
) -> None:
    """What is copied from the page works, and X has the post once."""
    shown = did(heading, running, tmp_path)
    assert "POST_STATE_PUBLISHED" in shown
    assert "1 on X" in shown
    assert once_on_x(sandbox, handle)
    if heading == "Python over gRPC":
        assert "refused: INVALID_FIELD bot_id" in shown
    if heading == "curl":
        for told in ("the same post", "nothing missed", '"reason":"UNKNOWN_FIELD"', '"nextPageToken"'):
            assert told in shown, shown


def test_the_main_job_is_done_with_typescript(running: Running, sandbox: Api, tmp_path: Path) -> None:
    """By generated clients that nobody wrote for us: REST from the OpenAPI document, Connect and gRPC-Web from the contracts; all types hold."""
    lend_packages(tmp_path)
    shown = did("TypeScript", running, tmp_path, patience=COMPILER_PATIENCE_SECONDS)
    for text in ("openapi-fetch", "connect_bot", "grpc_web_bot"):
        assert f"1 on X: By {text}" in shown
    assert shown.count("refused: LOGIN_FAILED") == len(("Connect", "gRPC-Web"))
    assert all(once_on_x(sandbox, handle) for handle in ("fetch_bot", "connect_bot", "grpc_web_bot"))


def go_path() -> list[str] | None:
    """Where Go finds the packages that the example imports; None if something is missing, or of a kind that is too old."""
    generator = shutil.which("protoc-gen-go")
    if generator is None or not (shutil.which("go") and shutil.which("protoc-gen-go-grpc")):
        return None
    asked = subprocess.run([generator, "--version"], capture_output=True, timeout=30, check=False)  # noqa: S603 - its version
    paths = [*filter(None, os.environ.get("GOPATH", "").split(os.pathsep)), str(DEBIAN_GO)]
    imported = ("google.golang.org/grpc", "google.golang.org/genproto", "github.com/golang/protobuf/internal")
    found = all(any(Path(path, "src", name).is_dir() for path in paths) for name in imported)
    return paths if found and asked.returncode == 0 else None


def test_the_main_job_is_done_with_go(running: Running, sandbox: Api, tmp_path: Path) -> None:
    """The contracts are enough to generate a client in a language that we do not use ourselves."""
    paths = go_path()
    if paths is None:
        pytest.skip(f"needs Debian's {GO_PACKAGES}")
    folder = tmp_path / "src" / "example.org" / "bots"
    folder.mkdir(parents=True)
    environment = {"GO111MODULE": "off", "GOPATH": os.pathsep.join([str(tmp_path), *paths])}
    shown = did("Go", running, folder, environment, COMPILER_PATIENCE_SECONDS)
    assert "1 on X: By Go" in shown
    assert once_on_x(sandbox, "go_bot")
