"""Laws of what the contract says of a route."""

from pathlib import Path
from typing import Any

from gateway.edge.traits import Traits, traits_of
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder
from tests.unit.gateway.support import guest_set, shelf_set

PRODUCT = Path(__file__).parents[3] / "generated" / "vivesphere.binpb"


def traits(raw: bytes) -> dict[str, Traits]:
    """Traits of the first route of each method."""
    schema = Schema(raw)
    found: dict[str, Traits] = {}
    for endpoint, one in traits_of(schema, Transcoder(schema).endpoints).items():
        found.setdefault(endpoint.method.name, one)
    return found


def test_what_can_hold_a_secret_is_found_however_deep() -> None:
    """In a map here; in a message in a list in the product."""
    shelf, guest = traits(shelf_set()), traits(guest_set())
    assert {name for name, one in shelf.items() if not one.compressible} == {
        "GetKey",
        "Pages",
        "Print",
        "Scan",
    }
    assert {name for name, one in guest.items() if not one.compressible} == {"Enter", "Renew", "Watch"}


def test_the_products_secrets_are_never_compressed() -> None:
    """Every answer that gives a token or password, by the options of the contract."""
    product = traits(PRODUCT.read_bytes())
    for name in ("Login", "RefreshToken", "CreateApiKey"):
        assert not product[name].compressible
    for name in ("ListPosts", "ListBots", "ListRoles", "QueryLogs", "GetPost"):
        assert product[name].compressible


def test_etags_are_found_where_the_resource_is() -> None:
    """The resource is the answer, or what response_body names; in requests beside the id, or in the body's resource."""
    product = traits(PRODUCT.read_bytes())

    def names(one: Any) -> list[str]:
        return [field.name for field in one]

    assert names(product["GetBot"].answer_etag)[-1] == "etag"
    assert names(product["UpdateBot"].request_etag) == ["bot", "etag"]
    assert names(product["DeleteBot"].request_etag) == ["etag"]
    assert names(product["UpdateSetting"].request_etag) == ["etag"]
    assert product["ListBots"].answer_etag == product["ListBots"].request_etag == ()
