"""One call of a webhook's address: signed, within its time, without redirects, and with every failure told in words.

The words never hold the URL, whose path may be a secret of the receiver's.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import aiohttp

from mesh.clock import Clock
from mesh.errors import InvalidArgument
from mesh.secret import Secret
from mesh.version import VERSION
from services.bot_manager.domain.webhooks import Attempt, Delivery, Webhook
from services.bot_manager.outbound import check_url
from services.bot_manager.webhooks.settings import WebhookSettings
from services.bot_manager.webhooks.signing import HEADER, signature

EXCERPT_BYTES: Final = 1024


class Caller:
    """`session` is one of `outbound.open_session`."""

    def __init__(
        self, session: aiohttp.ClientSession, settings: Callable[[], WebhookSettings], clock: Clock
    ) -> None:
        self._session = session
        self._settings = settings
        self._clock = clock

    async def call(self, webhook: Webhook, delivery: Delivery, secrets: Sequence[Secret]) -> Attempt:
        """What came of it; never raises for what the address does."""
        begun, started = self._clock.now(), self._clock.monotonic()
        status, error, excerpt = await self._post(webhook, delivery, secrets, begun)
        latency = timedelta(seconds=self._clock.monotonic() - started)
        return Attempt(delivery.attempt_count, begun, latency, status, error, excerpt)

    async def _post(
        self, webhook: Webhook, delivery: Delivery, secrets: Sequence[Secret], now: datetime
    ) -> tuple[int, str, str]:
        settings, body = self._settings(), delivery.body.encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"ViveSphere/{VERSION}",
            "Vivesphere-Delivery": delivery.id,
            "Vivesphere-Event": delivery.event_type.value,
            "Vivesphere-Event-Id": delivery.event_id,
            "Vivesphere-Attempt": str(delivery.attempt_count),
            HEADER: signature(secrets, int(now.timestamp()), body),
        }
        try:
            check_url(webhook.url, "webhook.url", allow_http=settings.allow_http)
            async with (
                asyncio.timeout(settings.timeout),
                self._session.post(
                    webhook.url, data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                excerpt = await response.content.read(EXCERPT_BYTES)
                return response.status, _judged(response.status), _text(excerpt)
        except InvalidArgument as error:
            return 0, f"the URL {error.message}", ""
        except TimeoutError:
            return 0, f"no answer within {settings.timeout} seconds", ""
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return 0, _in_words(error), ""


def _judged(status: int) -> str:
    if 200 <= status < 300:
        return ""
    told = f"it answered {status}"
    return f"{told}; redirects are not followed" if 300 <= status < 400 else told


def _text(excerpt: bytes) -> str:
    text = excerpt.decode(errors="replace")
    return "".join(one if one.isprintable() or one == "\n" else " " for one in text)


def _in_words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"it cannot be reached: {error.os_error.strerror or 'no connection'}"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "it closed the connection without an answer"
    return f"the call failed: {type(error).__name__}"
