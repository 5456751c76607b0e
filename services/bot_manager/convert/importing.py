"""Files of posts as ImportPosts takes them: CSV or JSON → drafts, one for each post, or what is wrong with a row.

A row is held against the same contract as the body of CreatePost. Which columns there are, and what a cell may be, follows from the
fields of Post.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from io import StringIO
from typing import Any, Final
from zoneinfo import ZoneInfo

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.errors import InvalidArgument, MeshError
from mesh.interceptors.stages import refuse_nul, validate
from services.bot_manager.convert.posts import CHANGEABLE, to_draft
from services.bot_manager.domain.importing import Candidate, File, RowError, row_errors
from services.bot_manager.domain.recurrence.wallclock import resolve, zone_of
from vivesphere.bot_manager.v1 import post_pb2
from vivesphere.bot_manager.v1 import post_service_pb2 as pb

MAX_ROWS: Final = 10_000
THREAD: Final = "thread"
PER_PART: Final = ("text", "media_ids")
"""Columns that every row of a thread has for itself."""
COLUMNS: Final = (THREAD, *(name for name in CHANGEABLE if name != "parts"))
_FIELDS: Final = post_pb2.Post.DESCRIPTOR.fields_by_name
_TIME: Final = Timestamp.DESCRIPTOR.full_name
_HAS_ZONE = re.compile(r"(?:[Zz]|[+-]\d\d:?\d\d)$")

Row = Mapping[str, str]


def reader(request: pb.ImportPostsRequest, bot_id: str) -> Callable[[str], File]:
    """Reads the request's file by the name of the bot's zone, which holds where the request names none.

    Raises InvalidArgument (INVALID_FIELD).
    """
    read = read_csv if request.format == pb.IMPORT_FORMAT_CSV else read_json
    return lambda bots_zone: read(
        request.content, zone_of(request.time_zone or bots_zone, "time_zone"), bot_id
    )


def read_csv(content: str, zone: ZoneInfo, bot_id: str) -> File:
    """Raises InvalidArgument (INVALID_FIELD) for what is not CSV, has columns that Post has not, or too many rows."""
    try:
        lines = [
            line for line in csv.reader(StringIO(content.removeprefix("\ufeff"), ""), strict=True) if line
        ]
    except csv.Error as error:
        raise _no_file(f"it is not CSV: {error}") from None
    if not lines:
        raise _no_file("it has no header line")
    header, rows = [name.strip() for name in lines[0]], lines[1:]
    _check_header(header)
    _check_count(len(rows))
    return File(len(rows), _from_csv(header, rows, zone, bot_id))


def read_json(content: str, zone: ZoneInfo, bot_id: str) -> File:
    """Raises InvalidArgument (INVALID_FIELD) for what is not a JSON array, or has too many rows."""
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError):
        raise _no_file("it is not JSON") from None
    if not isinstance(rows, list):
        raise _no_file("it is not a JSON array of posts")
    _check_count(len(rows))
    return File(len(rows), (_from_json(number, row, zone, bot_id) for number, row in enumerate(rows, 1)))


def _from_csv(
    header: Sequence[str], lines: Sequence[Sequence[str]], zone: ZoneInfo, bot_id: str
) -> Iterator[Candidate | Sequence[RowError]]:
    threads: dict[str, list[tuple[int, Row]]] = {}
    for number, line in enumerate(lines, 1):
        if len(line) != len(header):
            told = f"it has {len(line)} cells and the header {len(header)}"
            yield [RowError(number, "", "INVALID_FIELD", told)]
            continue
        row = {name: cell for name, cell in zip(header, line, strict=True) if cell}
        # A row outside of any thread is a post of its own; no thread can be named like it.
        threads.setdefault(row.get(THREAD) or f"\0{number}", []).append((number, row))
    for rows in threads.values():
        yield _of_rows(rows, zone, bot_id)


def _of_rows(rows: Sequence[tuple[int, Row]], zone: ZoneInfo, bot_id: str) -> Candidate | Sequence[RowError]:
    numbers, (_, first) = tuple(number for number, _ in rows), rows[0]
    for number, row in rows[1:]:
        for name, cell in row.items():
            if name not in (*PER_PART, THREAD) and cell != first.get(name):
                told = "the first row of the thread says otherwise; say it there"
                return [RowError(number, name, "CONFLICTING_FIELD", told)]
    try:
        fields = {name: _cell(name, cell, zone) for name, cell in first.items() if name != THREAD}
        if len(rows) > 1:
            for name in PER_PART:
                fields.pop(name, None)
            fields["parts"] = [
                {name: _cell(name, row[name], zone) for name in PER_PART if name in row} for _, row in rows
            ]
        return Candidate(numbers, to_draft(_message(fields, bot_id)))
    except MeshError as error:
        return row_errors(numbers, error)


def _from_json(number: int, row: Any, zone: ZoneInfo, bot_id: str) -> Candidate | Sequence[RowError]:
    if not isinstance(row, dict):
        return [RowError(number, "", "INVALID_FIELD", "it is not a JSON object")]
    try:
        fields = {name: _zoned_field(name, value, zone) for name, value in row.items()}
        return Candidate((number,), to_draft(_message(fields, bot_id)))
    except MeshError as error:
        return row_errors((number,), error)


def _message(fields: Mapping[str, Any], bot_id: str) -> post_pb2.Post:
    """Raises InvalidArgument naming the field, as CreatePost would."""
    message = post_pb2.Post()
    try:
        ParseDict(dict(fields), message)
    except (ParseError, RecursionError):
        for name, value in fields.items():
            _check_field(name, value)
        raise InvalidArgument("INVALID_FIELD", "names a field twice") from None
    validate(message)
    refuse_nul(message)
    if message.bot_id and message.bot_id.lower() != bot_id:
        raise InvalidArgument("CONFLICTING_FIELD", "is not the bot of the request", field="bot_id")
    return message


def _check_field(name: str, value: Any) -> None:
    try:
        ParseDict({name: value}, post_pb2.Post())
    except (ParseError, RecursionError):
        known = name in _FIELDS or name in {field.json_name for field in _FIELDS.values()}
        reason, told = (
            ("INVALID_FIELD", "is not what the field takes")
            if known
            else ("UNKNOWN_FIELD", "is not a field of a post")
        )
        raise InvalidArgument(reason, told, field=name) from None


def _cell(name: str, cell: str, zone: ZoneInfo) -> Any:
    """A cell as ProtoJSON."""
    field = _FIELDS[name]
    if field.is_repeated:
        return cell.split()
    if field.type == field.TYPE_BOOL:
        return {"true": True, "false": False}.get(cell.strip().lower(), cell)
    if field.message_type is not None and field.message_type.full_name != _TIME:
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            raise InvalidArgument("INVALID_FIELD", "is not JSON", field=name) from None
    return _zoned_field(name, cell, zone)


def _zoned_field(name: str, value: Any, zone: ZoneInfo) -> Any:
    """The value; a time without a zone as the instant that it is in `zone`."""
    field = _FIELDS.get(name) or next((one for one in _FIELDS.values() if one.json_name == name), None)
    if field is None or field.message_type is None or field.message_type.full_name != _TIME:
        return value
    if not isinstance(value, str) or _HAS_ZONE.search(value):
        return value
    try:
        local = datetime.fromisoformat(value.strip())
    except ValueError:
        raise InvalidArgument("INVALID_FIELD", "is not a time as 2027-01-31T09:30:00", field=name) from None
    return resolve(local, zone).instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _check_header(header: Sequence[str]) -> None:
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        raise _no_file(f"there is no column {unknown[0]!r}; there are {', '.join(COLUMNS)}")
    if len(set(header)) < len(header):
        raise _no_file("it names a column twice")
    if not set(PER_PART) & set(header):
        raise _no_file("it has no column text")


def _check_count(count: int) -> None:
    if count > MAX_ROWS:
        raise _no_file(f"it has {count} rows and may have {MAX_ROWS}; split it")


def _no_file(message: str) -> InvalidArgument:
    return InvalidArgument("INVALID_FIELD", message, field="content")
