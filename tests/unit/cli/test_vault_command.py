"""`vivesphere vault setup` against a vault that is not ready: what it says, and that the token stays here."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from cli.main import app


class Standin:
    """Answers every request with one status and remembers what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.asked: list[tuple[str, str | None]] = []
        standin = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # name of the base class
                standin.asked.append((self.path, self.headers.get("X-Vault-Token")))
                self.send_response(standin.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def standin() -> Iterator[Standin]:
    server = Standin()
    yield server
    server.close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("canary-token\n")
    return file


def refused(address: str, token_file: Path, data_dir: Path) -> str:
    """The one line that a failing set-up says."""
    arguments = ["--address", address, "--token-file", str(token_file), "--data-dir", str(data_dir)]
    result = CliRunner().invoke(app, ["vault", "setup", *arguments])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "canary" not in result.stderr
    assert not data_dir.exists()
    return result.stderr.removeprefix("error: ").strip()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (429, "active node"),
        (472, "active node"),
        (473, "active node"),
        (501, "not initialised"),
        (503, "sealed"),
        (500, "health is 500"),
        (307, "health is 307"),
    ],
)
def test_a_vault_that_is_not_ready_is_told_as_what_it_is(
    standin: Standin, token_file: Path, tmp_path: Path, status: int, words: str
) -> None:
    """A person has to do something else first, and the administrator's token has no business there until then."""
    standin.status = status
    assert words in refused(standin.address, token_file, tmp_path / "data")
    assert standin.asked == [("/v1/sys/health", None)]


@pytest.mark.parametrize(
    "address", ["http://vault.example:8200", "vault:8200", "https://a:b@vault", "https://v/x"]
)
def test_an_address_without_protection_is_not_talked_to(
    token_file: Path, tmp_path: Path, address: str
) -> None:
    """The token opens everything."""
    assert "a vault address is" in refused(address, token_file, tmp_path / "data")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"x" * 100_000])
def test_a_file_that_holds_no_token_is_named(
    standin: Standin, token_file: Path, tmp_path: Path, content: bytes
) -> None:
    """Not shown: it may be another secret."""
    token_file.write_bytes(content)
    assert str(token_file) in refused(standin.address, token_file, tmp_path / "data")
    assert standin.asked == []
