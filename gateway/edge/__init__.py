"""Life at the edge: what HTTP asks of a server that browsers, proxies and greedy clients talk to, whatever the call is about.

    admission.py    how much one client, and all together, may ask for at a time
    cors.py         which other origins' pages may call, with tokens and never with cookies
    front.py        what the connection or a trusted proxy says of a request: TLS, host; HSTS and CORS headers of every answer
    traits.py       what the contract says of a route's answer: an etag, secrets
    conditional.py  If-Match and If-None-Match over a resource's `etag`
    compression.py  answers in gzip or zstd
    inflate.py      bodies in gzip or zstd
    stall.py        clients that stop reading
    static.py       pages that never change while the gateway runs

Each costs nothing, or one test, where a request has nothing to do with it.
"""
