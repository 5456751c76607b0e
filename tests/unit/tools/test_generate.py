"""What the code generator promises about the folder it writes."""

from pathlib import Path

import pytest

from tools import generate, protoc

CONTRACT = """
syntax = "proto3";
package vivesphere.probe.v1;
import "buf/validate/validate.proto";
// Holds a name.
message Probe {
  // The name.
  string name = 1 [(buf.validate.field).string.min_len = 1];
}
// Answers.
service ProbeService {
  // Echoes.
  rpc Echo(Probe) returns (Probe);
}
"""


@pytest.fixture
def proto_root(tmp_path: Path) -> Path:
    """A proto root with one contract that imports what only a descriptor provides."""
    file = tmp_path / "proto/vivesphere/probe/v1/probe_service.proto"
    file.parent.mkdir(parents=True)
    file.write_text(CONTRACT)
    return tmp_path / "proto"


def test_the_same_contracts_give_the_same_bytes_without_machine_paths(proto_root: Path) -> None:
    """Otherwise --check would fail on every other machine, and commits would leak where they were made."""
    tree = generate.render(proto_root)
    assert tree == generate.render(proto_root)
    assert not [path for path, content in tree.items() if str(proto_root.parent).encode() in content]


def test_only_contracts_with_services_get_service_code(proto_root: Path) -> None:
    """A module without content would be noise in every review."""
    (proto_root / "vivesphere/probe/v1/noun.proto").write_text(
        'syntax = "proto3";\npackage vivesphere.probe.v1;\n'
    )
    service_code = {path for path in generate.render(proto_root) if path.endswith("_pb2_grpc.py")}
    assert service_code == {"vivesphere/probe/v1/probe_service_pb2_grpc.py"}


def test_a_wrong_contract_is_refused_in_the_words_of_protoc(proto_root: Path) -> None:
    """Whoever broke a contract needs file and line."""
    (proto_root / "vivesphere/probe/v1/broken.proto").write_text('syntax = "proto3";\nmessage {}\n')
    with pytest.raises(protoc.CompileError, match=r"vivesphere/probe/v1/broken\.proto:2"):
        generate.render(proto_root)


def test_every_folder_on_the_way_to_a_module_is_a_package() -> None:
    """A namespace package could be mixed with a folder of the same name elsewhere on the path."""
    assert generate.package_files(["a/b/c_pb2.py", "a/d_pb2.py"]) == {"a/__init__.py", "a/b/__init__.py"}


def test_writing_makes_the_owned_part_equal_and_leaves_the_rest(tmp_path: Path) -> None:
    """Code of a removed contract must not stay importable, and a wrong --out must not empty a folder."""
    wanted = {"vivesphere.binpb": b"image", "vivesphere/a_pb2.py": b"new", "vivesphere/same_pb2.py": b"same"}
    for path in ("vivesphere/a_pb2.py", "vivesphere/same_pb2.py", "vivesphere/gone_pb2.py", "mine/keep.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"same")
    assert generate.differences(wanted, generate.read(tmp_path)) == [
        "missing: vivesphere.binpb",
        "differs: vivesphere/a_pb2.py",
        "stale: vivesphere/gone_pb2.py",
    ]
    generate.write(wanted, tmp_path)
    assert generate.read(tmp_path) == wanted
    assert (tmp_path / "mine/keep.txt").exists()
