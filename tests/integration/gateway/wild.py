"""What arrives at a door that anybody may knock at: pieces of paths, queries, bodies and headers that mean little or nothing.

Here nothing is known of the contract but the names of its fields. `aiming` puts such pieces where they get furthest.
"""

import json
from collections.abc import Sequence

from hypothesis import strategies as st

CANARY = "sesame-7f3a9c"
"""A value that no refusal may repeat: it may have been a password."""

METHODS = st.sampled_from(
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "get", "CONNECTED", "PROPFIND"]
)
PIECES = [
    "v1", "messages", "users", "projects", "p", "things", "query", "path", "int32", "string", "body", "star", "none", "items", "orders", "7:cancel", "subs", "resp", "fail", "5",
    "", ".", "..", "%2F", "%2f", "%3A", "%", "%zz", "%ff", "%00", "%E4", "%C3%A4", "%ED%A0%80", "%F4%90%80%80", ":", ":cancel", "*", "**", "{name}", "a", "~!$&'()*+,;=:@", "%25", "%0D%0A", "+",
    CANARY,
]  # fmt: skip
PRINTABLE = st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#/")
PIECE = st.sampled_from(PIECES) | st.text(PRINTABLE, max_size=4)
PATHS = st.lists(PIECE, max_size=7).map(lambda pieces: "/" + "/".join(pieces)) | st.just("*")
VALUES = [
    "", "1", "x", "true", "%", "%ff", "%00", "1e999", "9" * 400, "-" * 50, "%C3%A4", "{}", "null", "2030-01-01T00:00:00Z", "1s", "a,b", "=", "%3D", "+", "%ED%A0%80", "%0D%0A", CANARY,
]  # fmt: skip
_NAMES = [
    "nope",
    "",
    "[",
    "]",
    "[]",
    ".",
    "..",
    "sub.",
    ".sub",
    "a" * 300,
    "sub." * 40,
    "%ff",
    "%5B",
    "sub%2Etext",
]


def queries(names: Sequence[str]) -> st.SearchStrategy[str]:
    """Parameters of these names and of none, with values of any kind."""
    named = st.builds("{}={}".format, st.sampled_from([*names, *_NAMES]), st.sampled_from(VALUES))
    loose = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=12)
    return st.lists(named | loose, max_size=5).map("&".join)


def texts(keys: Sequence[str]) -> st.SearchStrategy[bytes]:
    """JSON texts with these keys, as deep as chance goes."""
    leaves = (
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5)
        | st.sampled_from(["1s", "type.googleapis.com/probe.v1.Sub", "type.googleapis.com/google.protobuf.Any", "AQ==", "\ud800", CANARY])
    )  # fmt: skip
    names = st.sampled_from([*keys, "@type", "value", "nope", ""]) | st.text(max_size=3)
    trees = st.recursive(
        leaves,
        lambda below: st.lists(below, max_size=3) | st.dictionaries(names, below, max_size=4),
        max_leaves=10,
    )
    return trees.map(lambda tree: json.dumps(tree).encode())


_OPENINGS = [
    b"[", b'{"sub":', b'{"structValue":{"a":', b'{"subMap":{"k":', b'{"value":[', b'{"anyValue":{"@type":"type.googleapis.com/google.protobuf.Any","value":',
]  # fmt: skip
_unclosed = st.builds(
    lambda opening, times, middle: opening * times + middle,
    st.sampled_from(_OPENINGS), st.integers(1, 3000), st.sampled_from([b"", b"1", b"{}", b'"']),
)  # fmt: skip
_whole = st.builds(
    lambda times: b'{"structValue":{"a":' * times + b"1" + b"}}" * times, st.integers(1, 600)
) | st.builds(lambda times: b'{"sub":' * times + b"{}" + b"}" * times, st.integers(1, 990))
DEEP = _unclosed | _whole
"""JSON that is nested too deeply, or nearly so; closed or not."""


@st.composite
def spoilt(draw: st.DrawFn, texts: st.SearchStrategy[bytes]) -> bytes:
    """A text with some bytes changed."""
    text = bytearray(draw(texts))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(text)


def bodies(keys: Sequence[str]) -> st.SearchStrategy[bytes]:
    """Bodies of any kind."""
    json_texts = texts(keys)
    return st.one_of(json_texts, spoilt(json_texts), DEEP, st.binary(max_size=60))


_FORMS = [
    "application/json", "APPLICATION/JSON; charset=utf-8", "application/json;charset=\"", "text/plain", "application/x-ndjson", "multipart/form-data; boundary=x", "multipart/form-data", "",
    "application/x-www-form-urlencoded", "application/proto", "application/connect+json", "application/connect+proto", "application/grpc-web", "application/grpc-web-text", "application/grpc",
    ";", "*/*", "application/json, application/json",
]  # fmt: skip
_TIMES = ["10", "1", "0", "0.000000001", "99999999", "100000000", "-1", "1e3", "nan", "", "1.", "10S", "1n", "0n", "99999999H", "1s", "S", " 10S"]  # fmt: skip
_TAGS = ['"7"', "*", 'W/"7"', '""', '"', "7", '"7", "8"', ",,", '"7" "8"', 'W/"7",W/"8",', "w/\"7\"", '"\xe4"', '"7",' * 50]  # fmt: skip
_CODINGS = [
    "gzip", "zstd", "br", "identity", "", "x-gzip", "gzip, gzip", "gzip;q=0", "*;q=0, identity;q=0", "gzip;q=1.0001", ";;;", "*", "a" * 600, ",gzip",
]  # fmt: skip
_HEADERS: dict[str, list[str]] = {
    "Content-Type": _FORMS,
    "Accept": [*_FORMS, "text/event-stream", "text/html", "application/json;q=0, */*;q=0.001", "a/b;" * 100],
    "Accept-Encoding": _CODINGS,
    "Content-Encoding": _CODINGS,
    "Grpc-Encoding": _CODINGS,
    "Connect-Content-Encoding": _CODINGS,
    "If-Match": _TAGS,
    "If-None-Match": _TAGS,
    "If-Modified-Since": ["Thu, 01 Jan 1970 00:00:00 GMT", "0"],
    "If-Range": _TAGS,
    "Range": ["bytes=0-0", "bytes=9-", "lines=1", "bytes=" + "0-0," * 200],
    "Idempotency-Key": ["k", '"k"', '""', "", '"', "a b", "x" * 129, CANARY],
    "Grpc-Timeout": _TIMES,
    "X-Server-Timeout": _TIMES,
    "Connect-Timeout-Ms": _TIMES,
    "Connect-Protocol-Version": ["1", "2", ""],
    "Traceparent": ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "ff", "", "00-" * 300],
    "Tracestate": ["a=b", "a=b,a=b", "=", "", "a=" + "b" * 600],
    "Last-Event-ID": ["1", "-1", "9223372036854775808", "", "x", "x" * 2000],
    "X-HTTP-Method-Override": ["DELETE", "TRACE", ""],
    "X-Request-Id": ["01a2172b-c7ae-75ae-b838-c0b051f02cb7", "", "x" * 300, "a b", "\xe4"],
    "X-Forwarded-For": ["6.6.6.6", "::1, ", "unknown", ","],
    "X-Forwarded-Proto": ["https", "HTTPS,http", ""],
    "X-Forwarded-Host": ["a.test", "[::1", "@", ""],
    "Forwarded": ["for=6.6.6.6;proto=https", ";"],
    "Origin": ["https://a.test", "null", "", "https://[", "\xe4"],
    "Access-Control-Request-Method": ["PUT", "", "nope"],
    "Access-Control-Request-Headers": ["x", ",", ""],
    "Sec-Fetch-Site": ["same-origin", "cross-site", ""],
    "Cookie": ["a=b", "=", ";;", "a=b; a=c", "x" * 5000],
    "Authorization": ["Bearer x", "Basic =", "", "Bearer " + "x" * 7000, "\xe4", f"Bearer {CANARY}"],
    "User-Agent": ["curl", "", "\xe4", "\x01", "x" * 7000],
    "Expect": ["100-continue", "nope", ""],
    "TE": ["trailers", "chunked;q=0", ""],
    "Connection": ["upgrade", "te", "close, x-y"],
    "Upgrade": ["websocket", "h2c", ""],
    "HTTP2-Settings": ["AAMAAABkAAQAAP__", "="],
    "Sec-WebSocket-Key": ["dGhlIHNhbXBsZSBub25jZQ=="],
    "Sec-WebSocket-Version": ["13"],
    "X-Grpc-Web": ["1", ""],
    "X-Data-Bin": ["AAE", "AAE=", "=", "*", "\xe4"],
    "X-\xe4": ["1"],
    "Host": ["probe.test", "", "a b", "[::1", "a:99999", "@a", "\xe4"],
    "Transfer-Encoding": ["chunked", "gzip, chunked", "identity", "chunked, chunked", "Chunked ", "\x0bchunked"],
    "Content-Length": ["0", "1", "5", "00", "-1", "+1", "1, 1", "18446744073709551616", "9" * 30, "0x1", ""],
}  # fmt: skip
FRAMING = ("Transfer-Encoding", "Content-Length", "Host")
"""Headers that the two ends of a connection understand each other by; what is wrong with one mostly ends the request there."""


def headers(names: Sequence[str] = tuple(_HEADERS)) -> st.SearchStrategy[list[list[str]]]:
    """Some headers of these names, each well formed, odd or broken, some of them twice."""
    odd = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=12)
    line = st.sampled_from(names).flatmap(
        lambda name: st.tuples(
            st.sampled_from([name, name, name.lower(), name.upper()]), st.sampled_from(_HEADERS[name]) | odd
        ).map(list)
    )
    lines = st.lists(line, min_size=1, max_size=4)
    return lines | lines.map(lambda given: [*given, given[0]])


MEANT = tuple(name for name in _HEADERS if name not in FRAMING)
"""Headers that do not decide where a request ends."""
