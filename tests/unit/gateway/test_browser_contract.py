"""Laws of the cookie options: what is found, and what refuses the start."""

from pathlib import Path

import pytest

from gateway.browser.contract import CookieContract
from gateway.browser.sessions import Browsers
from gateway.transcoding.schema import Schema, SchemaError
from gateway.transcoding.transcoder import Transcoder
from tests.unit.gateway.support import compile_text, echo_set, guest_set

PRODUCT = Path(__file__).parents[3] / "generated" / "vivesphere.binpb"
NAME = '"c"'
COOKIE = f"[(vivesphere.mesh.v1.cookie) = {{ name: {NAME} max_age_seconds: 60 }}]"


def uses(raw: bytes) -> dict[str, tuple[list[str], list[str], list[str]]]:
    """By method name: fields filled, fields moved, cookies cleared; only methods that have any."""
    schema = Schema(raw)
    contract = CookieContract(schema)
    made = {method.name: contract.use_of(method) for method in schema.methods.values() if method.bindings}
    return {
        name: ([p.path for p in use.request], [p.path for p in use.response], list(use.clears))
        for name, use in made.items()
        if use
    }


def start(
    messages: str, rule: str = 'post: "/a" body: "*"', method: str = "rpc Call(M) returns (N)", more: str = ""
) -> None:
    """Compile a contract of one method as at the start of the gateway."""
    text = f"""syntax = "proto3"; package p.v1;
        import "google/api/annotations.proto"; import "vivesphere/mesh/v1/browser.proto";
        {messages}
        service S {{ {method} {{ option (google.api.http) = {{ {rule} }}; {more} }} }}"""
    schema = Schema(compile_text(text))
    Browsers(schema, Transcoder(schema).endpoints)


def test_the_products_tokens_and_its_logout_are_found() -> None:
    """The contract and the gateway agree on how the options are called; a rename would put tokens within reach of scripts."""
    raw = PRODUCT.read_bytes()
    moved = ["token_pair.refresh_token", "token_pair.device_token"]
    assert uses(raw) == {
        "Login": (["device_token"], moved, []),
        "RefreshToken": (["refresh_token"], moved, []),
        "ChangePassword": ([], moved, []),
        "Logout": ([], [], ["vivesphere-refresh"]),
    }
    schema = Schema(raw)
    contract = CookieContract(schema)
    login = contract.use_of(schema.methods["/vivesphere.authentication.v1.AuthenticationService/Login"])
    assert {(place.name, place.max_age_seconds) for place in (*login.request, *login.response)} == {
        ("vivesphere-device", 31_536_000),
        ("vivesphere-refresh", 31_536_000),
    }
    Browsers(schema, Transcoder(schema).endpoints)


def test_fields_are_found_in_nested_messages() -> None:
    """`response_body` may name the message that holds them, or nothing."""
    assert uses(guest_set()) == {
        "Enter": (["device_token"], ["pass.refresh_token", "pass.device_token"], []),
        "Renew": (["proof.refresh_token"], ["pass.refresh_token", "pass.device_token"], []),
        "Prove": (["refresh_token"], [], []),
        "Leave": ([], [], ["guest-refresh"]),
    }


def test_a_contract_without_the_options_has_no_cookies() -> None:
    """The gateway serves any descriptor set."""
    assert uses(echo_set()) == {}


def test_a_contract_that_can_be_served_starts() -> None:
    """The refusals below are about what they say and nothing else."""
    start(f"message M {{ string a = 1 {COOKIE}; }} message N {{ M m = 1; }}")
    start(f"message M {{ string a = 1 {COOKIE}; }} message N {{ N below = 1; }}")


@pytest.mark.parametrize(
    ("messages", "options", "why"),
    [
        (f"message M {{ string a = 1 {COOKIE}; }}", {"rule": 'get: "/a"'}, "a is a cookie"),
        (f"message M {{ string a = 1 {COOKIE}; }}", {"rule": 'get: "/{a}"'}, "a is a cookie"),
        (
            f"message M {{ string a = 1 {COOKIE}; }}",
            {"rule": 'post: "/a" body: "*" additional_bindings { get: "/b" }'},
            "GET /b: a is a cookie",
        ),
        (f"message M {{ string a = 1 {COOKIE}; }}", {"rule": 'custom { kind: "*" path: "/a" }'}, "a is a cookie"),
        (f"message M {{ string a = 1 {COOKIE}; }}", {"rule": 'custom { kind: "HEAD" path: "/a" }'}, "a is a cookie"),
        (
            f"message M {{}} message N {{ M m = 1; string a = 2 {COOKIE}; }}",
            {"rule": 'get: "/a"', "method": "rpc Call(M) returns (N)"},
            "a is a cookie",
        ),
        (f"message M {{ string a = 1 {COOKIE}; }}", {"method": "rpc Call(M) returns (stream N)"}, "streams"),
        (f"message M {{ string a = 1 {COOKIE}; }}", {"method": "rpc Call(stream M) returns (N)"}, "streams"),
        (
            "message M { string a = 1; }",
            {"rule": 'get: "/a"', "more": 'option (vivesphere.mesh.v1.clears_cookies) = "c";'},
            "c is a cookie",
        ),
        (
            f"message M {{ string a = 1 {COOKIE}; }}",
            {"more": 'option (vivesphere.mesh.v1.clears_cookies) = "other";'},
            "clears .'other'.",
        ),
        (f"message M {{ repeated string a = 1 {COOKIE}; }}", {}, "a is no text"),
        (f"message M {{ bytes a = 1 {COOKIE}; }}", {}, "a is no text"),
        (f"message M {{ N a = 1 {COOKIE}; }}", {}, "a is no text"),
        (f"message M {{ oneof x {{ string a = 1 {COOKIE}; }} }}", {}, "a is in a oneof"),
        (f"message M {{ repeated O o = 1; }} message O {{ string a = 1 {COOKIE}; }}", {}, "o holds a cookie"),
        (f"message M {{ map<string, O> o = 1; }} message O {{ string a = 1 {COOKIE}; }}", {}, "o holds a cookie"),
        (f"message M {{ oneof x {{ O o = 1; }} }} message O {{ string a = 1 {COOKIE}; }}", {}, "o holds a cookie"),
        (f"message M {{ O o = 1; }} message O {{ M m = 1; string a = 2 {COOKIE}; }}", {}, r"o\.m holds a cookie"),
        (f"message M {{ string a = 1 {COOKIE}; string b = 2 {COOKIE}; }}", {}, "two fields in one cookie"),
        (f"message M {{ string a = 1 {COOKIE.replace(NAME, NAME.upper())}; }}", {}, "the name"),
        (f"message M {{ string a = 1 {COOKIE.replace('60', '0')}; }}", {}, "the age"),
        (f"message M {{ string a = 1 {COOKIE.replace('60', '34560001')}; }}", {}, "the age"),
    ],
)  # fmt: skip
def test_what_is_not_safe_or_not_built_refuses_the_start(
    messages: str, options: dict[str, str], why: str
) -> None:
    """A token that stays in an answer, or a call with a cookie that any site can cause, must not be found out in production."""
    if "message N" not in messages:
        messages += " message N {}"
    with pytest.raises(SchemaError, match=why) as caught:
        start(messages, **options)
    assert "/p.v1.S/Call" in str(caught.value)
