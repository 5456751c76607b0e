"""The two forms in which X takes bytes: multipart/form-data, and JSON with Base64. Both are read whole; bodies are small."""

import base64
import binascii
import json
import re

from sandbox.problems import Invalid

_BOUNDARY = re.compile(r'boundary="?([^";]{1,70})"?', re.ASCII)
_NAME = re.compile(rb'[;\s]name="([^"]*)"')


def fields(raw: bytes, content_type: str, binary: str) -> dict[str, bytes]:
    """The fields of a body by name; `binary` is the one that JSON carries as Base64. Raises Invalid."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return _multipart(raw, content_type)
    if kind == "application/json":
        return _json(raw, binary)
    raise Invalid("Content-Type", "must be multipart/form-data or application/json", content_type)


def _multipart(raw: bytes, content_type: str) -> dict[str, bytes]:
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise Invalid("Content-Type", "has no boundary", content_type)
    delimiter = b"\r\n--" + found.group(1).encode()
    _, *parts = (b"\r\n" + raw).split(delimiter)
    if not parts or not parts[-1].startswith(b"--"):
        raise Invalid("$", "the body is not complete multipart/form-data")
    given: dict[str, bytes] = {}
    for part in parts[:-1]:
        head, separator, content = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if not separator or name is None:
            raise Invalid("$", "a part of the body has no name")
        given[name.group(1).decode(errors="replace")] = content
    return given


def _json(raw: bytes, binary: str) -> dict[str, bytes]:
    try:
        document = json.loads(raw)
        given = {name: str(value).encode() for name, value in document.items()}
        if binary in given:
            given[binary] = base64.b64decode(given[binary], validate=True)
    except (ValueError, AttributeError, RecursionError, binascii.Error) as error:
        raise Invalid("$", f"the body must be a JSON object with {binary} in Base64") from error
    return given
