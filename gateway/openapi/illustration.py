"""Puts examples where readers look for them: at parameters and bodies, and one of each answer among the components."""

from collections.abc import Iterable
from typing import Any

from protobuf import DescMessage

from gateway.openapi.contract import Contract
from gateway.openapi.examples import EXTRAS, Examples, Tree
from gateway.openapi.operations import Operation
from gateway.openapi.paths import json_names
from gateway.openapi.schemas import Schemas
from gateway.openapi.well_known import Json, message
from gateway.transcoding import fields

JSON = "application/json"
NDJSON = "application/x-ndjson"


def illustrate(operations: Iterable[Operation], contract: Contract, schemas: Schemas) -> dict[str, Json]:
    """Add examples to operations; returns the shared ones of answers, by the name of their schema."""
    examples = Examples(contract)
    shared: dict[str, Json] = {}
    for one in operations:
        _request(one, examples)
        _answer(one, examples, schemas, shared)
    return dict(sorted(shared.items()))


def _request(one: Operation, examples: Examples) -> None:
    needed = {parameter.field_path[0] for parameter in one.parameters if parameter.field_path}
    body = one.body
    if body is not None and body.field is not None and not body.is_file:
        needed.add(body.field.name)
    whole = body is not None and body.field is None
    tree = examples.request(
        one.method.input,
        frozenset(needed),
        extras=EXTRAS if whole else 0,
        partial=one.binding.http_method == "PATCH",
    )
    if tree is None:
        return
    for parameter in one.json.get("parameters", ()):
        _parameter(parameter, one, tree, examples)
    if body is not None and not body.is_file:
        _body(one, tree)


def _parameter(parameter: Json, one: Operation, tree: Tree, examples: Examples) -> None:
    if parameter["in"] == "query":
        if parameter.get("required") and parameter["name"] in tree:
            parameter["example"] = tree[parameter["name"]]
        return
    for wild in one.parameters:
        if parameter["in"] == "path" and wild.name == parameter["name"] and wild.field is not None:
            found = _at(tree, wild.field_path, one.method.input)
            found = examples.single(wild.field, request=True) if found is None else found
            if found is not None:
                parameter["example"] = found if wild.whole else "a"


def _at(tree: Any, path: tuple[str, ...], desc: DescMessage) -> Any:
    below: DescMessage | None = desc
    for name in path:
        field = fields.find(below, name) if below is not None else None
        if field is None or not isinstance(tree, dict):
            return None
        tree, below = tree.get(field.json_name), fields.submessage(field)
    return tree


def _body(one: Operation, tree: Tree) -> None:
    """The body is what the path does not give."""
    for parameter in one.parameters:
        if parameter.field_path:
            tree = _without(tree, json_names(one.method.input, parameter.field_path))
    body, content = one.body, one.json["requestBody"]["content"]
    shown = tree.get(body.field.json_name) if body is not None and body.field is not None else tree
    if NDJSON in content:
        content[NDJSON]["example"], content[JSON]["example"] = shown, [shown]
    else:
        content[JSON]["example"] = shown


def _without(tree: Tree, path: list[str]) -> Tree:
    head, *rest = path
    if head not in tree:
        return tree
    if rest and isinstance(tree[head], dict):
        return tree | {head: _without(tree[head], rest)}
    return {name: value for name, value in tree.items() if name != head}


def _answer(one: Operation, examples: Examples, schemas: Schemas, shared: dict[str, Json]) -> None:
    content = one.json["responses"]["200"]["content"]
    name = one.binding.response_body
    field = fields.find(one.method.output, name) if name else None
    desc = one.method.output if field is None else fields.submessage(field)
    if JSON not in content or (field is None and message(one.method.output) is not None):
        return
    if desc is None:
        if field is not None and (value := examples.single(field, request=False)) is not None:
            content[JSON]["example"] = value
        return
    if desc.type_name == fields.HTTP_BODY:
        return
    shown = examples.answer(desc)
    if NDJSON in content:
        content[NDJSON]["example"], content[JSON]["example"] = {"result": shown}, [shown]
        return
    shared[schemas.name(desc)] = {"value": shown}
    content[JSON]["examples"] = {"example": {"$ref": f"#/components/examples/{schemas.name(desc)}"}}
