"""What the tests of commands share."""

from collections.abc import Iterator
from threading import Thread

import pytest

from tests.integration.cli.stub import Stub


@pytest.fixture
def stub() -> Iterator[Stub]:
    """The server, listening."""
    stub = Stub()
    thread = Thread(target=stub.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield stub
    stub.server.shutdown()
    thread.join()
    stub.server.server_close()
