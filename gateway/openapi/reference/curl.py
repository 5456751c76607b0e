"""An operation as a command to try: `$URL` and `$TOKEN` are the reader's."""

import json
import shlex
from typing import Any, Final
from urllib.parse import quote, urlencode

from gateway.openapi.operations import Operation

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
FORM: Final = "multipart/form-data"
_CONTINUED: Final = " \\\n  "
_NARROW: Final = 76


def command(one: Operation) -> str:
    """The command, in lines that can be pasted into a shell."""
    parts = [
        "curl -N" if one.method.kind == "server_streaming" else "curl",
        *_method(one),
        f'"$URL{_path(one)}"',
    ]
    if one.access.signed_in:
        parts.append('-H "Authorization: Bearer $TOKEN"')
    parts += _body(one)
    line = " ".join(parts)
    if len(line) <= _NARROW and "\n" not in line:
        return line
    return _CONTINUED.join([" ".join(parts[:-1]), parts[-1]])


def _method(one: Operation) -> list[str]:
    verb = one.binding.http_method
    implied = "POST" if one.body is not None else "GET"
    return [] if verb == implied else [f"-X {verb}"]


def _path(one: Operation) -> str:
    path = one.path
    query = []
    for parameter in one.json.get("parameters", ()):
        if "example" not in parameter:
            continue
        if parameter["in"] == "path":
            safe = "/" if parameter.get("x-multi-segment") else ""
            path = path.replace("{" + parameter["name"] + "}", quote(str(parameter["example"]), safe=safe))
        elif parameter["in"] == "query":
            query.append((parameter["name"], parameter["example"]))
    return path + (f"?{urlencode(query, doseq=True)}" if query else "")


def _body(one: Operation) -> list[str]:
    if one.body is None:
        return []
    content: dict[str, Any] = one.json["requestBody"]["content"]
    if FORM in content and one.body.field is not None:
        return [f"-F {one.body.field.name}=@file"]
    if one.body.is_file:
        return ["-H 'Content-Type: application/octet-stream' --data-binary @file"]
    if NDJSON in content:
        line = json.dumps(content[NDJSON].get("example", {}), ensure_ascii=False)
        return [f"-H 'Content-Type: {NDJSON}' --data {shlex.quote(line)}"]
    example = content[JSON].get("example", {})
    short = json.dumps(example, ensure_ascii=False)
    text = short if len(short) <= _NARROW else json.dumps(example, ensure_ascii=False, indent=2)
    return [f"--json {shlex.quote(text)}"]
