"""A second process of a service beside the one that an embedded mesh runs."""

from dataclasses import replace

from cli.child import ChildSpec
from cli.embedded import EmbeddedMesh
from cli.layout import make_private_directory
from cli.ports import LOOPBACK, free_port
from cli.probes import grpc_serves


def second(mesh: EmbeddedMesh, name: str) -> ChildSpec:
    """How to run it: on a port and in a folder of its own, as `<name>-2`."""
    spec, port = mesh.service_spec(name), free_port()
    tls = mesh.data.tls_files("gateway")
    folder = make_private_directory(mesh.data.service(name) / "second")

    async def ready() -> bool:
        return await grpc_serves(f"{LOOPBACK}:{port}", mesh.service(name).dashed, tls)

    env = {"VIVESPHERE_LISTEN": f"{LOOPBACK}:{port}", "VIVESPHERE_DATA_DIR": str(folder)}
    return replace(spec, name=f"{name}-2", env=dict(spec.env) | env, ready=ready, ports={})
