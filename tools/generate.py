"""Writes generated/ from proto/: `python -m tools.generate [--out DIR] [--check]`.

What is written, relative to the output folder, which is a source root:

- `vivesphere.binpb`: one FileDescriptorSet of all contracts, their imports and comments. The gateway, reflection and the
  documentation read it.
- `vivesphere/<service>/v1/<file>_pb2.py` with types in `.pyi`; `_pb2_grpc.py` with types for files that hold services.
- `buf/validate/validate_pb2.py`, which the former import. google/api and google/rpc come from their own wheel.
- an empty `__init__.py` in every folder.

The same input and the same locked wheels give the same bytes. Files of an earlier run that are no longer generated are
removed; nothing outside `vivesphere/`, `buf/` and the image is touched. `--check` writes nothing: it compares and exits
with 1 when the committed tree is not what the contracts say.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
GENERATED = ROOT / "generated"
IMAGE = "vivesphere.binpb"
OWNED_FOLDERS = ("buf", "vivesphere")

Tree = Mapping[str, bytes]  # path relative to the output folder, with slashes → content


def render(proto_root: Path) -> dict[str, bytes]:
    """Everything that generated/ has to hold for the contracts under `proto_root`.

    Raises tools.protoc.CompileError with protoc's own words when a contract is wrong.
    """
    image = protoc.compile_image(proto_root)
    contracts = protoc.contract_files(proto_root)
    with_services = [file.name for file in FileDescriptorSet.FromString(image).file if file.service]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        protoc.generate_messages(proto_root, [*contracts, protoc.VALIDATE], out)
        if services := sorted(set(with_services) & set(contracts)):
            protoc.generate_services(proto_root, services, out)
        modules = read(out)
    packages = dict.fromkeys(package_files(modules), b"")
    return {**modules, **packages, IMAGE: image}


def package_files(modules: Iterable[str]) -> set[str]:
    """The `__init__.py` of every folder on the way to a module, so that none of them is a namespace package."""
    folders = {folder for module in modules for folder in PurePosixPath(module).parents if folder.name}
    return {str(folder / "__init__.py") for folder in folders}


def read(out: Path) -> dict[str, bytes]:
    """The part of a folder that the generator owns, without caches of the interpreter."""
    owned = [out / IMAGE, *(path for folder in OWNED_FOLDERS for path in (out / folder).rglob("*"))]
    files = (path for path in owned if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def differences(wanted: Tree, found: Tree) -> list[str]:
    """One line for each file that is missing, differs or is stale; sorted by path."""
    verdicts = dict.fromkeys(wanted.keys() - found.keys(), "missing")
    verdicts |= dict.fromkeys(found.keys() - wanted.keys(), "stale")
    verdicts |= {path: "differs" for path in wanted.keys() & found.keys() if wanted[path] != found[path]}
    return [f"{verdicts[path]}: {path}" for path in sorted(verdicts)]


def write(wanted: Tree, out: Path) -> None:
    """Makes the owned part of `out` equal to `wanted`; files that are right keep their time of change."""
    found = read(out)
    for path in found.keys() - wanted.keys():
        (out / path).unlink()
    for path, content in wanted.items():
        if found.get(path) != content:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_bytes(content)


def main(arguments: list[str] | None = None) -> int:
    """Generates or checks; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.generate", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=GENERATED, help="folder to write or check (generated/)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if out of date")
    options = parser.parse_args(arguments)
    try:
        wanted = render(PROTO)
    except protoc.CompileError as error:
        print(error, file=sys.stderr)
        return 1
    lines = differences(wanted, read(options.out))
    if options.check:
        print("\n".join(lines) if lines else "generated code matches the contracts")
        if lines:
            print("run: python -m tools.generate", file=sys.stderr)
        return int(bool(lines))
    write(wanted, options.out)
    print(f"{len(wanted)} files, {len(lines)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
