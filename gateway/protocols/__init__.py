"""Remote procedure calls on the HTTP port: gRPC-Web and Connect, for browsers and for clients without HTTP/2 trailers.

Owns `POST /package.Service/Method` in the two protocols that generated web clients speak, and Connect's GET of what changes nothing.
A method is reached here when the gRPC door would relay it: the same services, the same metadata, the same limits. What the door does for
gRPC is done here for HTTP/1.1: messages pass as the bytes they came as, unless the client speaks JSON, which the transcoder's codec reads.
Client streams are gRPC's alone: a browser cannot send one.

    procedures.py      which methods there are, found by path
    door.py            one call: dialect, cookies, metadata, deadline, the service's answer
    choice.py          which dialect a request is in
    dialect.py         what a protocol has to know how to do
    grpc_web.py        gRPC-Web (grpc/grpc, doc/PROTOCOL-WEB.md)
    connect.py         Connect, unary and streaming (connectrpc.com/docs/protocol)
    connect_error.py   errors as Connect writes them
    forms.py           messages as protobuf or JSON
    envelopes.py       the five bytes before a message, and base64 in pieces
    compression.py     requests that come compressed
    calls.py           a service's call on behalf of an HTTP client
    failure.py         what went wrong, before a dialect says it
    headers.py         headers ⇄ metadata, where names stay as they are

REST knows nothing of this: a path that a REST template matches is REST's.
"""
