"""HTTP/JSON to gRPC and back, from descriptors alone.

The rules are those of google/api/http.proto and the ProtoJSON specification, read strictly: path, query and body fill
disjoint sets of fields, what is unknown or given twice is refused by name, and a path is routed raw and decoded once
afterwards. Nothing in this package opens a socket or knows a service; `gateway.relay` joins it to channels.

    schema.py → template.py → router.py    which method a request means
    urls.py, fields.py, path_fields.py, query.py, mask.py → binding.py    the request message
    depth.py, strict.py, locate.py    what is refused, and which fields are to blame
    codec.py, google_codec.py (google_guard.py), odd_masks.py, rendering.py    wire bytes ⇄ JSON
    errors.py    what failed, as google.rpc.Status and an HTTP status
    transcoder.py    the whole, compiled once at the start
"""
