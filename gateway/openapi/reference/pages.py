"""Renders the pages of the reference, each when it is first asked for."""

import json
from pathlib import Path
from typing import Final

from gateway.openapi.document import About, Described
from gateway.openapi.reference.views import Views

_TEMPLATES: Final = Path(__file__).parent / "templates"


class ReferencePages:
    """The pages of one document as UTF-8 HTML."""

    def __init__(self, described: Described, about: About) -> None:
        import jinja2  # what a gateway whose reference nobody reads need not load

        self._document = described.json
        self._about = about
        self._views = Views(described)
        self._names = [tag["name"] for tag in described.json["tags"]]
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
        )

    def overview(self) -> bytes:
        """What there is."""
        views = self._views.services()
        count = sum(len(view.methods) for view in views)
        return self._render(
            "overview.html", current="", views=views, count=count, conventions=self._views.conventions()
        )

    def errors(self) -> bytes:
        """Why calls fail."""
        shared = self._document["components"]["responses"].get("BadRequest", {})
        example = shared.get("content", {}).get("application/json", {}).get("example", {})
        text = json.dumps(example, indent=2)
        return self._render("errors.html", current="", reasons=self._views.reasons(), example=text)

    def service(self, name: str) -> bytes | None:
        """The methods of a service; None for a name that has none."""
        view = self._views.service(name)
        return None if view is None else self._render("service.html", current=name, view=view)

    def _render(self, template: str, **values: object) -> bytes:
        made = self._environment.get_template(template)
        return made.render(about=self._about, services=self._names, **values).encode()
