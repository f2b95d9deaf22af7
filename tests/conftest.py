"""What all tests share."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

import hypothesis
import pytest
from flask import Flask, has_app_context
from jinja2.bccache import Bucket, BytecodeCache
from sqlalchemy import Connection, Engine, Pool, event
from werkzeug.routing import Rule

from examples.host_app.models import db
from hexhub_backup import DirectoryDestination, verbs
from hexhub_backup.jobs.backups import Backups, backups_of
from tests.support import extent, s3, said, stored
from tests.support import mariadb as mariadb_
from tests.support.databases import SERVERS, NewDatabase
from tests.support.hosts import ADA, make_app
from tests.support.instance import Instance
from tests.support.patience import wait_for
from tests.support.postgres import Server, server
from tests.support.s3 import S3Server
from tests.support.stored import HostBucket, NewStored

# It is set in many images. Each process of a test would compile everything again, which was a third
# of what a command takes, and each worker all tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long an example takes hangs on what else the machine does.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

_OUTSIDE = pytest.StashKey[int]()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are cores: many tests wait for servers and commands."""
    return (os.cpu_count() or 1) + 2


@pytest.fixture(autouse=True)
def _push_request_context() -> None:
    """pytest-flask would push a request context around every test that uses `app`, and
    Flask-Login keeps the user on it: a fresh client would look logged in."""


class _Compiled(BytecodeCache):
    """Templates are compiled once, and not for each app of a test."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], Any] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._codes[bucket.key, bucket.checksum] = bucket.code


class _Rule(Rule):
    """Rules are compiled once, too: they were half of what an app of a test took.

    What werkzeug compiles hangs on the rule's parts and defaults alone; which rule it builds for is
    bound afterwards.
    """

    _builders: ClassVar[dict[Any, Any]] = {}

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        key = (self.rule, *self._trace, repr(self.defaults), append_unknown)
        if key not in self._builders:
            self._builders[key] = super()._compile_builder(append_unknown)
        return cast("Callable[..., tuple[str, str]]", self._builders[key])


Flask.jinja_options = {"bytecode_cache": _Compiled()}
Flask.url_rule_class = _Rule


def pytest_collection_finish() -> None:
    """What is there for good is no longer looked through for garbage, which was a tenth of what the
    tests took."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _errors() -> Iterator[said.Errors]:
    errors = said.Errors()
    with errors.watched():
        yield errors


@pytest.fixture(autouse=True)
def _errors_can_be_said(_errors: said.Errors) -> Iterator[None]:
    """What an error says is a message: the pages say it in the language of their reader. What is
    none yet wants `marked`, and `make messages`."""
    yield
    assert not _errors.unmarked()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    with server() as running:
        yield running


@pytest.fixture(scope="session")
def mariadb() -> Iterator[mariadb_.Server]:
    with mariadb_.server() as running:
        yield running


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    with s3.moto() as running:
        yield running


@pytest.fixture(scope="session")
def localbucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3.localbucket(tmp_path_factory.mktemp("localbucket")) as running:
        yield running


@pytest.fixture(scope="session", params=["sqlite", *SERVERS])
def database(request: pytest.FixtureRequest) -> NewDatabase:
    """What uses this runs on every database."""
    if request.param == "sqlite":
        return lambda: None
    running: Server | mariadb_.Server = request.getfixturevalue(request.param)
    return running.create


@pytest.fixture
def uri(request: pytest.FixtureRequest) -> str | None:
    """The address of the database of the test's host; None is SQLite in a file of its own. With
    `database` it is one of each."""
    if "database" not in request.fixturenames:
        return None
    new: NewDatabase = request.getfixturevalue("database")
    return new()


@pytest.fixture(scope="session")
def bucket_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewStored]:
    with stored.buckets(tmp_path_factory.mktemp("buckets")) as (new, _):
        yield new


@pytest.fixture(scope="session", params=["folder", "bucket"])
def storages(request: pytest.FixtureRequest) -> NewStored:
    """What uses this runs over both storages."""
    if request.param == "folder":
        return lambda: None
    new: NewStored = request.getfixturevalue("bucket_server")
    return new


@pytest.fixture
def host_bucket(request: pytest.FixtureRequest) -> HostBucket | None:
    """Where the files of the test's host are; None is a folder of its own. With `storages` it is
    one of each."""
    if "storages" not in request.fixturenames:
        return None
    new: NewStored = request.getfixturevalue("storages")
    return new()


@pytest.fixture
def instance(tmp_path: Path, uri: str | None, host_bucket: HostBucket | None) -> Instance:
    """The test's host, to be used by commands. Where a test has an `app`, it is the same."""
    return Instance(tmp_path / "host", uri, host_bucket)


@pytest.fixture
def nas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DirectoryDestination:
    """A destination of the hosts that are made from now on."""
    path = tmp_path / "nas"
    path.mkdir()
    monkeypatch.setenv("HOST_APP_NAS", str(path))
    destination = DirectoryDestination("nas", path)
    destination.init()
    return destination


@pytest.fixture
def app(request: pytest.FixtureRequest, instance: Instance) -> Flask:
    """The test's host: the example, filled, with our tables.

    The marker `host` has other numbers for its seed, and a `config`. A module that has one host for
    all of its tests has it in a fixture `served`, and uses that. With `nas` its backups are copied
    there.
    """
    if "served" in request.fixturenames:
        served: Flask = request.getfixturevalue("served")
        return served
    if "nas" in request.fixturenames:
        request.getfixturevalue("nas")
    marker = request.node.get_closest_marker("host")
    options = {**marker.kwargs} if marker else {}
    config = options.pop("config", {})
    if instance.bucket is not None:
        config = {**instance.bucket.config, **config}
    if instance.uri is not None:
        config = {**config, "SQLALCHEMY_DATABASE_URI": instance.uri}
    return make_app(instance.path, config, **options)


@pytest.fixture
def host(app: Flask) -> Iterator[Flask]:
    """The test's host, in its context."""
    with app.app_context():
        yield app
        db.session.remove()


@pytest.fixture
def backups(app: Flask) -> Iterator[Backups]:
    """The backups of the test's host, in its context."""
    with nullcontext() if has_app_context() else app.app_context():
        yield backups_of(app)


@pytest.fixture
def backup(app: Flask, backups: Backups) -> str:
    """A backup of the host as it is at first."""
    return backups.orders.run(app, verbs.create.order(ADA)).operation


def pytest_addoption(parser: pytest.Parser) -> None:
    about = "every test on every database; without it, those beside SQLite see a sample"
    parser.addoption("--matrix", action="store_true", help=about)
    about = "of the matrix only what a run without it leaves out, or tries a part of"
    parser.addoption("--rest", action="store_true", help=about)
    about = "the matrix, and each point of what that tries some of"
    parser.addoption("--torture", action="store_true", help=about)


def pytest_configure(config: pytest.Config) -> None:
    whole = any(config.getoption(name) for name in ("matrix", "rest", "torture"))
    extent.try_all(whole, each=config.getoption("torture"))


def _has_gap(item: pytest.Item) -> bool:
    """Whether a test is of what its database or storage does not have, as its marker says. Each is
    tried with the other one's simplest."""
    database, storage = (_given(item, each) for each in ("database", "storages"))
    if storage == "bucket" and database in SERVERS:
        return True
    return any({database, storage} & {*marker.kwargs} for marker in item.iter_markers("gap"))


def _given(item: pytest.Item, fixture: str) -> object:
    """What a test gets of a fixture with parameters."""
    if not (isinstance(item, pytest.Function) and hasattr(item, "callspec")):
        return None
    return item.callspec.params.get(fixture)


def _needs_server(item: pytest.Item) -> bool:
    names = {*getattr(item, "fixturenames", ())}
    names |= {_given(item, "database"), _given(item, "storages")}
    return not names.isdisjoint((*SERVERS, "bucket"))


def _is_outside(item: pytest.Item) -> bool:
    """Whether a run without `--matrix` leaves a test out."""
    if item.get_closest_marker("matrix") is not None:
        return True
    return _needs_server(item) and item.get_closest_marker("sample") is None


def _tries_a_part(item: pytest.Item) -> bool:
    """Whether a run without `--matrix` may try a part of a test: its file asks for the extent."""
    names = vars(getattr(item, "module", extent)).values()
    return any(
        each is extent or getattr(each, "__module__", "") == extent.__name__ for each in names
    )


def _leave_out(config: pytest.Config, items: list[pytest.Item], some: set[pytest.Item]) -> None:
    if some:
        config.hook.pytest_deselected(items=[*some])
        items[:] = [item for item in items if item not in some]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _leave_out(config, items, {item for item in items if _has_gap(item)})
    if config.getoption("torture"):
        return
    _leave_out(config, items, {item for item in items if item.get_closest_marker("torture")})
    if config.getoption("matrix"):
        return
    outside = {item for item in items if _is_outside(item)}
    if config.getoption("rest"):
        done = {item for item in items if item not in outside and not _tries_a_part(item)}
        _leave_out(config, items, done)
        return
    _leave_out(config, items, outside)
    config.stash[_OUTSIDE] = len(outside)
    # A worker of pytest-xdist hands the number on to the process that has the terminal.
    getattr(config, "workeroutput", {})["outside"] = len(outside)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[_OUTSIDE] = getattr(node, "workeroutput", {}).get("outside", 0)


class _AtOnce:
    """Tells a failure when it happens: a run that is ended from outside has no summary."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._terminal.line("")
            self._terminal.section(report.nodeid, "-", red=True)
            self._terminal.line(report.longreprtext)


def pytest_sessionstart(session: pytest.Session) -> None:
    plugins = session.config.pluginmanager
    if (terminal := plugins.get_plugin("terminalreporter")) and not hasattr(
        session.config, "workerinput"
    ):
        plugins.register(_AtOnce(terminal))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if number := config.stash.get(_OUTSIDE, 0):
        terminalreporter.section("matrix")
        terminalreporter.line(
            f"{number} tests are outside of the sample and did not run, most on a database server: "
            "`make test-matrix` runs them, and `pytest --matrix` those of one file."
        )


#: One engine of each pool: ours are made for a moment.
_used: dict[Pool, Engine] = {}


@event.listens_for(Engine, "engine_connect")
def _note_engine(connection: Connection) -> None:
    _used.setdefault(connection.engine.pool, connection.engine)


def _has_ended(thread: threading.Thread) -> bool:
    try:
        thread.join(10)
    except RuntimeError:
        # It is just being started.
        return False
    return True


def _dispose() -> None:
    for thread in threading.enumerate():
        # It gives its connection back when it is done, and would to a pool that is no more.
        if thread.name.startswith(("hexhub_backup ", "hexhub_backup_signs")):
            wait_for(partial(_has_ended, thread))
    while _used:
        _used.popitem()[1].dispose()


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
