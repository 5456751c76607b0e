"""What `benchmarks.gateway_front` stands on: three JSON fronts before one gRPC server, and the load on them.

bench.proto      the contract that all of them serve
backend/, rival/ Go: the gRPC server behind, and grpc-gateway
envoy.yaml       Envoy with grpc_json_transcoder
build.py         contract → descriptor set and Go programs, or what is missing for them
echo.py          the same gRPC server in Python, for machines without Go
fronts.py        starts and stops the processes, each on its core
load.py          wrk and h2load, or a small client where they are missing
fanout.py        many clients with a stream each
"""
