"""The only door of the mesh: REST/JSON and gRPC on the outside, gRPC over mutual TLS on the inside.

Owns: transcoding between HTTP/JSON and gRPC (driven by descriptors alone), the raw gRPC relay with merged reflection and
health, readiness by service, the limits at the edge. Never decides who may do what, never keeps state, never sees a secret
apart from the moment it passes through. Called by browsers, scripts and gRPC clients; calls the services. Stores nothing.

    __main__.py     command line: the mesh's gateway, or `--descriptors` for any other descriptor set
    settings.py     environment → frozen settings
    assembly.py     the one place where concrete classes meet
    http.py         the HTTP door: limits, own pages, dispatch
    relay.py        one REST call to one gRPC method and back
    streams.py      streams of answers; framing.py their forms, accept.py who wants which, resume.py how they go on after a break
    client_streams.py   streams of requests; items.py JSON values, uploads.py files
    answers.py      what the answer of one message looks like
    door.py         the gRPC door
    backends.py     channels to the services
    browser/        browsers' tokens in cookies, and the refusal of what other sites ask for
    openapi/        what is served, described: OpenAPI 3.1 and pages to read
    transcoding/    templates, router, binding, codec, errors: knows nothing of this product
"""
