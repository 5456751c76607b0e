"""Roles of users' accounts: authentication knows them, and is asked with the credential of whoever asks us."""

from mesh.channels import invoke
from vivesphere.authentication.v1 import user_service_pb2, user_service_pb2_grpc


class AccountRoles:
    """Implements `explaining.AccountRoles` by UserService.GetUser."""

    def __init__(self, users: user_service_pb2_grpc.UserServiceStub) -> None:
        self._users = users

    async def __call__(self, user_id: str) -> tuple[str, ...]:
        """See there."""
        response = await invoke(self._users.GetUser, user_service_pb2.GetUserRequest(user_id=user_id))
        return tuple(response.user.roles)
