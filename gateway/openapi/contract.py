"""What a contract's options say of methods and fields, for whoever describes it.

Options are found by name, as in `gateway.browser.contract`, so a descriptor set without them is described all the same: the
access rules and cookies of `vivesphere.mesh.v1`, the reasons of its errors, `google.api.field_behavior`, the rules of
`buf.validate`, and what descriptor.proto itself has (deprecated, debug_redact).
"""

from dataclasses import dataclass
from typing import Any, Final

from protobuf import DescEnum, DescField, DescMessage, DescMethod, DescOneof, DescService

from gateway.openapi import prose
from gateway.openapi.comments import Comments
from gateway.transcoding.schema import Method, Schema

REASONS: Final = "vivesphere.mesh.v1.ErrorReason"
_ACCESS: Final = "vivesphere.mesh.v1.access"
_COOKIE: Final = "vivesphere.mesh.v1.cookie"
_BEHAVIOR: Final = "google.api.field_behavior"
_RULES: Final = "buf.validate.field"
_MESSAGE_RULES: Final = "buf.validate.message"
_ONEOF_RULES: Final = "buf.validate.oneof"

REQUIRED, OUTPUT_ONLY, INPUT_ONLY, OPTIONAL = "Required", "Output only", "Input only", "Optional"
_BEHAVIORS: Final = {1: OPTIONAL, 2: REQUIRED, 3: OUTPUT_ONLY, 4: INPUT_ONLY}  # google.api.FieldBehavior


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a method, as vivesphere.mesh.v1.AccessRule says. `caller` is "public", "authenticated", "permission",
    "services", or "" where the contract says nothing."""

    caller: str = ""
    permission: str = ""
    bot_field: str = ""
    audit: bool = False
    step_up: bool = False
    high_risk: bool = False
    session: bool = False
    one_time_password: bool = False

    @property
    def signed_in(self) -> bool:
        """Whether a caller has to say who it is."""
        return self.caller in ("authenticated", "permission")


class Contract:
    """The options and comments of one descriptor set."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.comments = Comments(schema.registry)
        registry = schema.registry
        self._access = registry.extension(_ACCESS)
        self._cookie = registry.extension(_COOKIE)
        self._behavior = registry.extension(_BEHAVIOR)
        self._rules = registry.extension(_RULES)
        self._message_rules = registry.extension(_MESSAGE_RULES)
        self._oneof_rules = registry.extension(_ONEOF_RULES)
        self.reasons: DescEnum | None = registry.enum(REASONS)
        self.has_access_rules = self._access is not None

    def service(self, name: str) -> DescService | None:
        """The service of this full name."""
        return self.schema.registry.service(name)

    def method(self, method: Method) -> DescMethod | None:
        """The descriptor of a method."""
        service = self.service(method.service)
        return next((one for one in service.methods if one.name == method.name), None) if service else None

    def comment(self, method: Method) -> str:
        """The comment above a method."""
        return self.comments.of(f"{method.service}.{method.name}")

    def field_comment(self, field: DescField) -> str:
        """The comment above a field."""
        parent = field.parent
        return self.comments.of(f"{parent.type_name}.{field.name}") if parent is not None else ""

    def access(self, method: Method) -> Access:
        """The method's access rule."""
        desc = self.method(method)
        rule = _option(desc.proto.options, self._access) if desc is not None else None
        if rule is None or rule.caller is None:
            return Access()
        return Access(
            caller=rule.caller.field,
            permission=rule.caller.value if rule.caller.field == "permission" else "",
            bot_field=rule.bot_field,
            audit=rule.audit,
            step_up=rule.step_up,
            high_risk=rule.high_risk,
            session=rule.session,
            one_time_password=rule.one_time_password,
        )

    def cookie(self, field: DescField) -> str:
        """Name of the cookie in which a browser's gateway keeps the field; "" for most."""
        rule = _option(field.proto.options, self._cookie)
        return "" if rule is None else str(rule.name)

    def is_secret(self, field: DescField) -> bool:
        """Whether the field's value must not be seen by chance (`debug_redact`)."""
        return bool(field.proto.options is not None and field.proto.options.debug_redact)

    def behavior(self, field: DescField) -> str:
        """REQUIRED, OUTPUT_ONLY, INPUT_ONLY, OPTIONAL or "": from google.api.field_behavior, else from the comment."""
        for value in _option(field.proto.options, self._behavior) or ():
            if int(value) in _BEHAVIORS:
                return _BEHAVIORS[int(value)]
        return prose.of_field(self.field_comment(field)).behavior

    def rules(self, field: DescField) -> Any:
        """The buf.validate.FieldRules of a field, or None."""
        return _option(field.proto.options, self._rules)

    def message_rules(self, desc: DescMessage) -> Any:
        """The buf.validate.MessageRules of a message, or None."""
        return _option(desc.proto.options, self._message_rules)

    def oneof_required(self, oneof: DescOneof) -> bool:
        """Whether one member of a oneof has to be given."""
        rules = _option(oneof.proto.options, self._oneof_rules)
        return bool(rules is not None and rules.required)


def _option(options: Any, extension: Any) -> Any:
    """The value of an option; None where it, or the whole extension, is missing."""
    if options is None or extension is None or extension.type not in options:
        return None
    return options[extension.type]
