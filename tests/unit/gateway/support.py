"""Compiles the tests' own contracts into descriptor sets."""

import functools
import tempfile
from pathlib import Path

import grpc_tools
from google.api import http_pb2
from grpc_tools import protoc

PROTOS = Path(__file__).parent / "protos"
CONTRACTS = Path(__file__).parents[3] / "proto"
ECHO = "vivesphere/echo/v1/echo.proto"
FLOW = "vivesphere/flow/v1/flow.proto"
GUEST = "vivesphere/guest/v1/guest.proto"
SHELF = "vivesphere/shelf/v1/shelf.proto"


def compile_set(root: Path, *files: str) -> bytes:
    """A FileDescriptorSet with imports and source info for proto files below `root`, which may import the product's options."""
    google_api = Path(str(http_pb2.__file__)).parents[2]
    well_known = Path(str(grpc_tools.__file__)).parent / "_proto"
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "set.binpb"
        arguments = ["protoc", "-I", str(root), "-I", str(google_api), "-I", str(well_known)]
        arguments += ["-I", str(CONTRACTS)]
        arguments += ["--include_imports", "--include_source_info", f"--descriptor_set_out={out}", *files]
        if protoc.main(arguments) != 0:
            raise RuntimeError("protoc failed")
        return out.read_bytes()


def compile_text(text: str) -> bytes:
    """The descriptor set of one proto file given as text."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "text.proto").write_text(text, encoding="utf-8")
        return compile_set(Path(directory), "text.proto")


@functools.cache
def echo_set() -> bytes:
    """The descriptor set of echo.proto."""
    return compile_set(PROTOS, ECHO)


@functools.cache
def guest_set() -> bytes:
    """The descriptor set of guest.proto."""
    return compile_set(PROTOS, GUEST)


@functools.cache
def shelf_set() -> bytes:
    """The descriptor set of shelf.proto."""
    return compile_set(PROTOS, SHELF)


@functools.cache
def flow_set() -> bytes:
    """The descriptor set of flow.proto."""
    return compile_set(PROTOS, FLOW)
