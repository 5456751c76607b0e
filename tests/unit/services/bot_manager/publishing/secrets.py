"""A lender of secrets: the two methods of secure_bot_data that publishing calls, with failures on demand."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration

from mesh.errors import MeshError, NotFound
from mesh.ids import new_id
from vivesphere.secure_bot_data.v1 import bot_secret_pb2, bot_secret_service_pb2


class FakeSecrets:
    """`fields` by bot id; `fail_next` makes the next calls fail."""

    def __init__(self) -> None:
        self.fields: dict[str, Mapping[str, str]] = {}
        self.versions: Counter[str] = Counter()
        self.kind = bot_secret_pb2.SECRET_KIND_X_OAUTH1
        self.asked: list[str] = []
        self.revoked: list[tuple[str, str]] = []
        self._failures: list[MeshError] = []

    def put(self, bot_id: str, fields: Mapping[str, str]) -> None:
        """Store a new version."""
        self.fields[bot_id] = dict(fields)
        self.versions[bot_id] += 1

    def fail_next(self, error: MeshError, times: int = 1) -> None:
        """Refuse the next calls."""
        self._failures += [error] * times

    async def LeaseBotSecret(
        self, request: bot_secret_service_pb2.LeaseBotSecretRequest, *, timeout: float, metadata: Any
    ) -> bot_secret_service_pb2.LeaseBotSecretResponse:
        """See the contract."""
        self.asked.append(request.bot_id)
        if self._failures:
            raise self._failures.pop(0)
        if request.bot_id not in self.fields:
            raise NotFound("SECRET_NOT_FOUND", "no such secret")
        return bot_secret_service_pb2.LeaseBotSecretResponse(
            fields=self.fields[request.bot_id],
            version=self.versions[request.bot_id],
            kind=self.kind,
            lease_id=new_id(),
            ttl=_duration(request.ttl.ToTimedelta()),
        )

    async def RevokeBotLeases(
        self, request: bot_secret_service_pb2.RevokeBotLeasesRequest, *, timeout: float, metadata: Any
    ) -> bot_secret_service_pb2.RevokeBotLeasesResponse:
        """See the contract."""
        if self._failures:
            raise self._failures.pop(0)
        self.revoked.append((request.bot_id, request.reason))
        return bot_secret_service_pb2.RevokeBotLeasesResponse(revoked_count=1)


def _duration(value: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(value)
    return duration
