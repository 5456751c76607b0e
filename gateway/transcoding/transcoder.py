"""All routes of a descriptor set, compiled once at the start.

Whatever is wrong with the contract (a template out of grammar, a variable without a field, two methods on one route)
raises here, before a port is open.
"""

from dataclasses import dataclass

from gateway.transcoding import template, urls
from gateway.transcoding.binding import RequestBinder, RequestParts
from gateway.transcoding.codec import Codec, ProtobufPyCodec
from gateway.transcoding.errors import NOT_FOUND, UNIMPLEMENTED, GatewayError, StatusRenderer, malformed
from gateway.transcoding.rendering import ResponseRenderer
from gateway.transcoding.router import NoRouteError, Route, Router, WrongMethodError
from gateway.transcoding.schema import Method, Schema, SchemaError


@dataclass(frozen=True, slots=True, eq=False)  # one object a binding, so tables may be kept by endpoint
class Endpoint:
    """One HTTP binding of one method. `label` is the template as written, for metrics."""

    method: Method
    http_method: str
    label: str
    binder: RequestBinder
    renderer: ResponseRenderer

    def bind(self, values: list[str], parts: RequestParts) -> bytes:
        """The request message's wire bytes; raises GatewayError."""
        return self.binder.bind(values, parts)


class Transcoder:
    """Routes requests to endpoints; immutable once made."""

    def __init__(
        self,
        schema: Schema,
        codec: Codec | None = None,
        ignored_query_parameters: frozenset[str] = frozenset(),
        kept_encoded: frozenset[int] = urls.RESERVED,
    ) -> None:
        """Compile every binding; raises SchemaError, TemplateError or RouteConflictError.

        `ignored_query_parameters` may be in any query and mean nothing; `kept_encoded` are the bytes that stay encoded in path
        variables of several segments (`urls.RESERVED`, `urls.SLASH`, `urls.NOTHING`).
        """
        self.schema = schema
        self.codec = codec or ProtobufPyCodec(schema.registry)
        self._kept = kept_encoded
        self._router: Router[Endpoint] = Router()
        self.statuses = StatusRenderer(schema.details)
        self.endpoints: list[Endpoint] = []
        for method in schema.methods.values():
            self._add(method, ignored_query_parameters)

    def _add(self, method: Method, ignored: frozenset[str]) -> None:
        for binding in method.bindings:
            parsed = template.parse(binding.template)
            if not binding.http_method:
                raise SchemaError(f"{method.path}: custom HTTP rule without a kind")
            binder = RequestBinder(method, binding, parsed, self.codec, ignored, self.schema.registry)
            renderer = ResponseRenderer(method, binding, self.codec)
            endpoint = Endpoint(method, binding.http_method, binding.template, binder, renderer)
            self._router.add(Route(binding.http_method, parsed, method.path, endpoint))
            self.endpoints.append(endpoint)

    def takes(self, http_method: str, raw_path: str) -> bool:
        """Whether some template matches, with this HTTP method or another."""
        try:
            self._router.match(http_method, raw_path)
        except NoRouteError:
            return False
        except WrongMethodError:
            return True
        return True

    def route(self, http_method: str, raw_path: str) -> tuple[Endpoint, list[str]]:
        """The endpoint and the decoded path variables; raises GatewayError 404, 405 or 400."""
        try:
            route, segments = self._router.match(http_method, raw_path)
        except NoRouteError:
            raise GatewayError(NOT_FOUND, "ROUTE_NOT_FOUND", "no method at this path") from None
        except WrongMethodError as error:
            raise wrong_method(error.allow) from None
        try:
            return route.target, route.template.extract(segments, self._kept)
        except ValueError:
            raise malformed("the path is not UTF-8 in percent encoding") from None


def wrong_method(allow: list[str]) -> GatewayError:
    """405 with the Allow header."""
    names = ", ".join(allow)
    return GatewayError(
        UNIMPLEMENTED, "METHOD_NOT_ALLOWED", f"this path takes {names}",
        http_status=405, headers=[(b"allow", names.encode())],
    )  # fmt: skip
