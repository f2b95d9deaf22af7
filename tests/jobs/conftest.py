"""What the tests of workers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.broker import Broker, broker


@pytest.fixture(scope="session")
def running_broker() -> Iterator[Broker]:
    with broker() as running:
        yield running


@pytest.fixture
def queue(running_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Broker:
    """A broker that has nothing in its queues, and that the test's host sends its orders to where
    it is made after that."""
    with running_broker.client() as client:
        client.flushall()
    monkeypatch.setenv("HOST_APP_BROKER", running_broker.url)
    return running_broker
