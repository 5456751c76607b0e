"""Compiles contracts without a network: one place that knows where third-party protos come from.

protoc reads sources and descriptors together. The contracts are sources; `google/api` and `google/rpc` are sources that
the googleapis-common-protos wheel ships; the well-known types ship with grpcio-tools; `buf/validate/validate.proto` exists
on a machine without a registry only as a descriptor inside the protovalidate wheel, so it is handed over as one, and so are
OpenTelemetry's logs, which the opentelemetry-proto wheel ships as generated code. Paths given to protoc are relative to a
proto root, so nothing of the machine gets into what it writes.

Which files are written where is decided by `tools.generate`.
"""

import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import distribution
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from protovalidate._gen.buf.validate import validate_pb

VALIDATE = "buf/validate/validate.proto"
# What the gateway has to print although no contract imports it: errors and their details, raw bodies.
PRINTED_BY_GATEWAY = (
    "google/api/httpbody.proto",
    "google/rpc/code.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
)
TIMEOUT_SECONDS = 120


class CompileError(Exception):
    """protoc or one of its plugins refused; the message is what it printed."""


def contract_files(proto_root: Path) -> list[str]:
    """Names of all contracts under `proto_root` as imports spell them, sorted."""
    return sorted(path.relative_to(proto_root).as_posix() for path in proto_root.rglob("*.proto"))


def compile_image(proto_root: Path) -> bytes:
    """The FileDescriptorSet of all contracts with everything they import and with comments, as protoc serialises it."""
    files = [*contract_files(proto_root), VALIDATE, *PRINTED_BY_GATEWAY]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "image.binpb")
        arguments = ["--include_imports", "--include_source_info", f"--descriptor_set_out={target}"]
        _run(proto_root, arguments, files)
        return target.read_bytes()


def generate_messages(proto_root: Path, files: Sequence[str], out: Path) -> None:
    """Writes `*_pb2.py` and its types `*_pb2.pyi` for `files` under `out`."""
    _run(proto_root, [f"--python_out={out}", *_plugin("mypy", "quiet", out)], files)


def generate_services(proto_root: Path, files: Sequence[str], out: Path) -> None:
    """Writes `*_pb2_grpc.py` and its types `*_pb2_grpc.pyi` for `files` under `out`.

    The types know grpc.aio only, the one API this product uses. A servicer is typed as it behaves: methods that it does
    not override exist and answer UNIMPLEMENTED.
    """
    options = "quiet,only_async,generate_concrete_servicer_stubs"
    _run(proto_root, [f"--grpc_python_out={out}", *_plugin("mypy_grpc", options, out)], files)


def _plugin(name: str, options: str, out: Path) -> list[str]:
    """Arguments for a plugin that is installed beside the running interpreter, whatever PATH says."""
    program = Path(sysconfig.get_path("scripts"), f"protoc-gen-{name}")
    return [f"--plugin=protoc-gen-{name}={program}", f"--{name}_out={options}:{out}"]


def _run(proto_root: Path, arguments: Sequence[str], files: Sequence[str]) -> None:
    google_sources = distribution("googleapis-common-protos").locate_file("")
    with tempfile.TemporaryDirectory() as folder:
        descriptors = Path(folder, "shipped.binpb")
        descriptors.write_bytes(_shipped_descriptors().SerializeToString(deterministic=True))
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={descriptors}"]
        command += [f"-I{proto_root}", f"-I{google_sources}", *arguments, *files]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)  # noqa: S603 - our own argv
    if done.returncode:
        raise CompileError(done.stderr.strip() or done.stdout.strip())


def _shipped_descriptors() -> FileDescriptorSet:
    """What wheels ship without sources; the well-known types it imports come from grpcio-tools as sources."""
    validate = FileDescriptorProto.FromString(validate_pb.FieldRules.desc().file.proto.to_binary())
    logs = {file.name: file for file in _with_imports(logs_service_pb2.DESCRIPTOR)}
    return FileDescriptorSet(file=[validate, *logs.values()])


def _with_imports(file: FileDescriptor) -> Iterator[FileDescriptorProto]:
    """The file behind those it imports, which may come several times."""
    for imported in file.dependencies:
        yield from _with_imports(imported)
    copy = FileDescriptorProto()
    file.CopyToProto(copy)
    yield copy
