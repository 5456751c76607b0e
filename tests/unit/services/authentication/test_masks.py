"""What an update of a user may touch, and what it cannot (ASVS 8.2.3)."""

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from mesh.errors import InvalidArgument
from mesh.ids import new_id
from mesh.interceptors.stages import validate
from services.authentication.convert import user_change_from_proto
from services.authentication.domain.accounts import UserChange
from vivesphere.authentication.v1.user_pb2 import User
from vivesphere.authentication.v1.user_service_pb2 import UpdateUserRequest

OPEN = {"display_name", "email", "roles", "state"}


def request(*paths: str, **fields: object) -> UpdateUserRequest:
    return UpdateUserRequest(
        user_id=new_id(),
        user=User(**fields),  # type: ignore[arg-type]
        update_mask=FieldMask(paths=paths),
    )


@pytest.mark.parametrize("path", sorted(field.name for field in User.DESCRIPTOR.fields))
def test_an_update_touches_only_what_administrators_may_change(path: str) -> None:
    """Every other field is refused by name, also those that are added one day."""
    if path in OPEN:
        validate(request(path))
        return
    with pytest.raises(InvalidArgument) as refused:
        validate(request("display_name", path))
    assert refused.value.violations[0].field.startswith("update_mask")


def test_what_the_server_keeps_is_not_taken_from_an_update() -> None:
    """Without a mask, output-only fields of a user that was read before come back; they change nothing."""
    sent = request(
        id=new_id(),
        username="root",
        totp_enrolled=False,
        password_change_required=True,
        permissions=["*"],
        display_name="Ann",
    )
    validate(sent)
    assert user_change_from_proto(sent) == UserChange(display_name="Ann")
