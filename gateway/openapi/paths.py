"""Path templates of google.api.http → paths of OpenAPI.

Each wildcard becomes a parameter of its own: `{name=projects/*/things/*}` is `/projects/{name_1}/things/{name_2}`, and
`{name}` stays `{name}`. `**` stands for any number of segments, which OpenAPI cannot say: its parameter is marked
`x-multi-segment`, and its value goes into the path with its slashes as they are. Two templates of one shape (`/users/{id}` and
`/users/{user.id}`) are one path to OpenAPI; the first one's names are taken.
"""

from dataclasses import dataclass, replace

from protobuf import DescField, DescMessage

from gateway.transcoding import fields
from gateway.transcoding.template import REST, STAR, Template


@dataclass(frozen=True, slots=True)
class PathParameter:
    """One wildcard of a template. `field` is None where no variable takes it; `part` counts the wildcards of a variable
    that has more than one, from 1."""

    name: str
    field_path: tuple[str, ...]  # proto names
    field: DescField | None
    whole: bool  # the variable is this wildcard and nothing else
    many: bool  # `**`


class Paths:
    """Gives every template of one shape the same path."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}

    def expand(self, template: Template, desc: DescMessage) -> tuple[str, list[PathParameter]]:
        """The path, and its parameters from left to right."""
        segments, parameters = _expand(template, desc)
        shape = (*template.segments, template.verb)
        names = self._names.setdefault(shape, tuple(one.name for one in parameters))
        parameters = [replace(one, name=name) for one, name in zip(parameters, names, strict=True)]
        left = iter(names)
        path = "/".join("{" + next(left) + "}" if wild else text for text, wild in segments)
        return f"/{path}" + (f":{template.verb}" if template.verb else ""), parameters


def _expand(template: Template, desc: DescMessage) -> tuple[list[tuple[str, bool]], list[PathParameter]]:
    segments: list[tuple[str, bool]] = []
    parameters: list[PathParameter] = []
    for at, segment in enumerate(template.segments):
        wild = segment in (STAR, REST)
        segments.append((segment, wild))
        if wild:
            parameters.append(_parameter(template, at, desc, len(parameters)))
    return segments, parameters


def _parameter(template: Template, at: int, desc: DescMessage, count: int) -> PathParameter:
    many = template.segments[at] == REST
    for variable in template.variables:
        if variable.start <= at < variable.end:
            names = tuple(variable.field_path.split("."))
            wilds = [i for i in range(variable.start, variable.end) if template.segments[i] in (STAR, REST)]
            name = ".".join(json_names(desc, names))
            if len(wilds) > 1:
                name += f"_{wilds.index(at) + 1}"
            whole = variable.end == variable.start + 1
            return PathParameter(name, names, leaf(desc, names), whole, many)
    return PathParameter(f"wildcard_{count + 1}", (), None, whole=False, many=many)


def leaf(desc: DescMessage, names: tuple[str, ...]) -> DescField | None:
    """The field at a path of proto names."""
    below: DescMessage | None = desc
    field: DescField | None = None
    for name in names:
        field = fields.find(below, name) if below is not None else None
        below = fields.submessage(field) if field is not None else None
    return field


def json_names(desc: DescMessage, names: tuple[str, ...]) -> list[str]:
    """A path of proto names in JSON names."""
    made = []
    below: DescMessage | None = desc
    for name in names:
        field = fields.find(below, name) if below is not None else None
        made.append(field.json_name if field is not None else name)
        below = fields.submessage(field) if field is not None else None
    return made
