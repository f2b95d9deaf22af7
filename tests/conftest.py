"""What all tests share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator

import hypothesis
import pytest
from sqlalchemy import Connection, Engine, event

from tests.postgres import Server, server

# How long an example takes hangs on what else the machine does.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

#: Makes a new, empty database and gives its URI; None is SQLite in a file of the test's own.
NewDatabase = Callable[[], str | None]


@pytest.fixture(autouse=True)
def _push_request_context() -> None:
    """pytest-flask would push a request context around every test that uses `app`, and
    Flask-Login keeps the user on it: a fresh client would look logged in."""


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    with server() as running:
        yield running


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> NewDatabase:
    """What uses this runs on both databases."""
    if request.param == "sqlite":
        return lambda: None
    running: Server = request.getfixturevalue("postgresql")
    return running.create


_used: set[Engine] = set()


@event.listens_for(Engine, "engine_connect")
def _note_engine(connection: Connection) -> None:
    _used.add(connection.engine)


def _dispose() -> None:
    for thread in threading.enumerate():
        # It gives its connection back when it is done, and would to a pool that is no more.
        if thread.name.startswith("hexhub_backup "):
            thread.join(10)
    while _used:
        _used.pop().dispose()


@pytest.fixture(autouse=True, scope="session")
def _no_connection_outlives_the_session() -> Iterator[None]:
    yield
    _dispose()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Connections end with the test: psycopg, and SQLite since Python 3.13, warn of one that is
    left to the garbage collector. Not a fixture: it has to come after `app` has given back its
    own, and pytest-flask asks for that one first."""
    try:
        return (yield)
    finally:
        _dispose()
