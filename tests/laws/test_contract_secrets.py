"""Laws of the contracts about secrets: marked, never in an address, and nobody's but their owner's to choose."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from mesh.contract import services_of

ROOT = Path(__file__).resolve().parents[2]
SERVICES = tuple(tomllib.loads((ROOT / "services" / "registry.toml").read_text()))
SOUNDS_SECRET = re.compile(
    r"(^|_)(password|passphrase|otp|totp|secret|token|recovery_codes|private_key|api_key_value|otpauth_uri|qr_png)$"
)
POSITIONS = {"page_token", "next_page_token", "resume_token"}
"""Tokens that tell a place in a list: signed, and worth nothing to anybody else."""

ASKED_FOR_BY_X = {
    "vivesphere.bot_manager.v1.BotService.CompleteConnect.state",
    "vivesphere.bot_manager.v1.BotService.CompleteConnect.code",
}
"""A callback of OAuth 2 (RFC 6749 section 4.1.2) comes as an address; both values are good once and for minutes."""


def methods(service: str) -> Iterator[MethodDescriptor]:
    pool: Any = descriptor_pool.Default()
    for name in services_of(service):
        yield from pool.FindServiceByName(name).methods


def messages(service: str) -> Iterator[Descriptor]:
    """Every message that a method of the service takes or gives, with those inside."""
    yield from inside(m for method in methods(service) for m in (method.input_type, method.output_type))


def inside(outer: Iterable[Descriptor]) -> Iterator[Descriptor]:
    """These messages of ours and those inside them, each once."""
    seen: dict[str, Descriptor] = {}
    waiting = list(outer)
    while waiting:
        message = waiting.pop()
        if message.full_name in seen or not message.full_name.startswith("vivesphere."):
            continue
        seen[message.full_name] = message
        waiting += [field.message_type for field in message.fields if field.message_type is not None]
    yield from seen.values()


def is_marked(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().debug_redact)


def secret_fields(service: str) -> set[tuple[str, str]]:
    """Message and field of everything that is marked as a secret."""
    return {
        (message.name, field.name)
        for message in messages(service)
        for field in message.fields
        if is_marked(field)
    }


def test_what_sounds_like_a_secret_is_marked() -> None:
    """ASVS 14.2.4: redaction goes by the mark, so a secret without it would be in every log."""
    bare = [
        f"{message.full_name}.{field.name}"
        for service in SERVICES
        for message in messages(service)
        for field in message.fields
        if SOUNDS_SECRET.search(field.name)
        and field.name not in POSITIONS
        and field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
        and not is_marked(field)
    ]
    assert bare == []


def test_values_of_settings_are_not_recorded_with_the_call() -> None:
    """A setting may be sensitive, which its definition knows and its request does not: the change itself is told with that in mind."""
    taken = [
        (f"{message.name}.{field.name}", is_marked(field))
        for message in inside(method.input_type for method in methods("configuration"))
        for field in message.fields
        if field.message_type is not None and field.message_type.full_name == "google.protobuf.Value"
    ]
    marked = {name for name, is_secret in taken if is_secret}
    assert marked == {"UpdateSettingRequest.value", "SettingUpdate.value"}
    # Made by the product's own services, and the same in every installation.
    assert {name for name, _ in taken} - marked == {"SettingDefinition.default_value"}


def test_no_secret_travels_in_an_address() -> None:
    """ASVS 14.2.1: what is in a path or a query ends up in logs and histories."""
    exposed = []
    for service in SERVICES:
        for method in methods(service):
            rule = method.GetOptions().Extensions[annotations_pb2.http]
            for binding in (rule, *rule.additional_bindings):
                path = getattr(binding, binding.WhichOneof("pattern") or "get")
                in_path = set(re.findall(r"{([a-z_.]+)", path)) if isinstance(path, str) else set()
                in_query = (
                    set()
                    if binding.body == "*"
                    else {f.name for f in method.input_type.fields} - {binding.body}
                )
                exposed += [
                    f"{method.full_name}.{field.name}"
                    for field in method.input_type.fields
                    if is_marked(field) and (field.name in in_path | in_query)
                    if binding.WhichOneof("pattern")
                ]
    assert set(exposed) == ASKED_FOR_BY_X


def test_administrators_do_not_choose_the_password_of_others() -> None:
    """ASVS 6.4.6: a reset takes no password, and no update does; a new account gets its first one by whoever makes it."""
    takers = {
        message
        for message, field in secret_fields("authentication")
        if "password" in field and message.endswith("Request")
    }
    assert takers == {
        "LoginRequest",
        "ChangePasswordRequest",
        "EnrollTotpRequest",
        "DisableTotpRequest",
        "CreateUserRequest",
    }


def test_there_are_no_hints_and_no_questions() -> None:
    """ASVS 6.4.2: an answer that friends know is a password that friends know."""
    names = [field.name for message in messages("authentication") for field in message.fields]
    assert len(names) > 100
    assert [name for name in names if re.search(r"hint|question|answer|maiden|pet", name)] == []
