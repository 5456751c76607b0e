"""The benchmark's contract, compiled: a descriptor set for ours and Envoy, two Go programs for grpc-gateway and the server behind.

Go's side comes from Debian alone: golang-go, golang-google-grpc-dev, golang-github-grpc-ecosystem-grpc-gateway-dev (1.6.4 in Debian 12),
golang-grpc-gateway and protoc-gen-go-1-3. Where a piece of it is missing, `go` says which and the rest is measured without.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import google.protobuf
from grpc_tools import protoc

HERE = Path(__file__).parent
GO_LIBRARIES = Path("/usr/share/gocode")  # where Debian's golang-…-dev packages put sources
GO_TOOLS = ("go", "protoc-gen-go", "protoc-gen-grpc-gateway")
GO_SOURCES = ("google.golang.org/grpc", "github.com/grpc-ecosystem/grpc-gateway/runtime")
BUILD_SECONDS = 600
# Debian's grpc-gateway is of the time before google.golang.org/protobuf had the well-known types.
_TIMESTAMP = "Mgoogle/protobuf/timestamp.proto=github.com/golang/protobuf/ptypes/timestamp"


class BuildError(RuntimeError):
    """A tool refused; the message is what it said."""


@dataclass(frozen=True, slots=True)
class GoPrograms:
    """Paths of what was built."""

    backend: Path
    rival: Path


def descriptors(folder: Path) -> Path:
    """Write the descriptor set with its imports into the folder and return its path."""
    made = folder / "bench.binpb"
    _protoc(["--include_imports", f"--descriptor_set_out={made}"])
    return made


def missing_for_go() -> list[str]:
    """Tools and sources that are not on this machine."""
    tools = [name for name in GO_TOOLS if shutil.which(name) is None]
    return tools + [name for name in GO_SOURCES if not (GO_LIBRARIES / "src" / name).is_dir()]


def go_programs(folder: Path) -> GoPrograms:
    """Build both; takes half a minute the first time. Raises BuildError."""
    path = folder / "go"
    (path / "src").mkdir(parents=True)
    _protoc(
        [
            f"--go_out=plugins=grpc,{_TIMESTAMP}:{path / 'src'}",
            f"--grpc-gateway_out={_TIMESTAMP}:{path / 'src'}",
        ]
    )
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOPATH": os.pathsep.join(map(str, (path, GO_LIBRARIES))),
    }
    for name in ("backend", "rival"):
        _run(["go", "build", "-o", str(folder / name), str(HERE / name / "main.go")], environment)
    return GoPrograms(folder / "backend", folder / "rival")


def _protoc(arguments: Sequence[str]) -> None:
    packages = Path(google.protobuf.__file__).parents[2]  # google/api comes with googleapis-common-protos
    own = Path(protoc.__file__).parent / "_proto"  # google/protobuf comes with grpcio-tools
    if protoc.main(["protoc", f"-I{HERE}", f"-I{packages}", f"-I{own}", *arguments, "bench.proto"]) != 0:
        raise BuildError("protoc refused the benchmark's contract")


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(  # noqa: S603 - our own sources, fixed arguments
        command, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    if done.returncode != 0:
        raise BuildError(done.stderr.strip())
