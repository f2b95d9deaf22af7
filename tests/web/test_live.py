"""The live channel: what a browser that watches an operation relies on."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from simple_websocket import (  # type: ignore[import-untyped]
    Client,
    ConnectionClosed,
    ConnectionError,  # noqa: A004 (its name there)
)
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, TextMessage

from examples.host_app.models import db
from examples.host_app.seed import ADMIN
from hexhub_backup.coordination.events import EventLog, Tail
from hexhub_backup.history.models import Operation
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.web import live, watchers, websocket
from tests.support.directory import coordinator_of
from tests.support.hosts import make_app
from tests.support.patience import PATIENCE, wait_for
from tests.support.serving import (
    PREFIX,
    Address,
    Visitor,
    Watcher,
    make_backup,
    set_user,
    threaded,
    visitor,
)

pytestmark = [pytest.mark.sample, pytest.mark.usefixtures("served")]


RUNNING = "20260131-103000-abcdef"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    folder = tmp_path_factory.mktemp("live") / "host"
    return make_app(folder, {"HEXHUB_BACKUP_MAX_WATCHERS": 3, "SQLALCHEMY_ENGINE_OPTIONS": POOL})


#: A connection that a watcher held would be missed.
POOL = {"pool_size": 2, "max_overflow": 0, "pool_timeout": PATIENCE}


@pytest.fixture(scope="module")
def address(served: Flask) -> Iterator[Address]:
    with threaded(served) as address:
        yield address


@pytest.fixture(scope="module")
def admin(served: Flask) -> Visitor:
    return visitor(served, ADMIN)


@pytest.fixture
def log(app: Flask) -> Iterator[EventLog]:
    """The log of an operation that is running, to be written by the test."""
    with app.app_context():
        backups = backups_of(app)
        # Whose log nobody holds is dead, and would be recovered.
        log = EventLog(coordinator_of(backups).events(RUNNING))
        backups.catalog.add_operation(
            Operation(
                id=RUNNING,
                verb="create",
                state="running",
                reason=None,
                code=None,
                actor=ADMIN,
                address=None,
                backup_id=None,
                options={},
                queued_at=utc_now(),
                started_at=utc_now(),
                finished_at=None,
                duration_seconds=None,
                decided_at=None,
                outcome=None,
            )
        )
        log.append({"seq": 1, "type": "state", "state": "running"})
        yield log
        backups.catalog.delete_operation(RUNNING)
        log.close()
        backups.coordinator.remove_log(RUNNING)


def say(log: EventLog, seq: int, kind: str = "log", **more: Any) -> None:
    log.append({"seq": seq, "type": kind, **more})


def hear(ws: Client) -> dict[str, Any]:
    text = ws.receive(timeout=PATIENCE)
    assert text is not None, "nothing came"
    event: dict[str, Any] = json.loads(text)
    return event


def closed_with(ws: Client) -> int:
    """The code that the server closes with, whatever it says before."""
    try:
        while ws.receive(timeout=PATIENCE) is not None:
            pass
    except ConnectionClosed as closed:
        return int(closed.reason)
    raise AssertionError("it was not closed")


def seats_are_free(address: Address, admin: Visitor) -> bool:
    """Whether three can watch, as they can when nobody does."""
    with suppress(ConnectionError), ExitStack() as watching:
        for _ in range(3):
            watching.callback(address.watch(RUNNING, admin).close)
        return True
    return False


def test_all_events_come_and_then_it_is_closed(
    app: Flask, address: Address, admin: Visitor
) -> None:
    backup = make_backup(app)
    with app.app_context():
        kept = list(backups_of(app).orders.events(backup))
    ws = address.watch(backup, admin)
    assert [hear(ws) for _ in kept] == kept
    assert closed_with(ws) == watchers.ENDED
    # And without a websocket.
    path = f"{PREFIX}/operations/{backup}/events"
    status, headers, body = address.request("GET", f"{path}?after=2", admin)
    assert (status, json.loads(body)) == (
        200,
        {"events": kept[2:], "more": False, "state": "completed"},
    )
    assert headers["Cache-Control"] == "no-store"
    assert address.request("GET", f"{path}?after=x", admin)[0] == 400
    assert address.request("GET", f"{PREFIX}/operations/none/events", admin)[0] == 404


def test_what_is_no_websocket_is_refused(address: Address, admin: Visitor, log: EventLog) -> None:
    path = f"{PREFIX}/operations/{RUNNING}/live"
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Origin": address.origin}
    for version in ({}, {"Sec-WebSocket-Version": "7"}):
        assert address.request("GET", path, admin, None, **upgrade, **version)[0] == 400


def test_what_was_missed_is_replayed_and_what_comes_follows(
    address: Address, admin: Visitor, log: EventLog
) -> None:
    say(log, 2)
    ws = address.watch(RUNNING, admin, after=1)
    assert hear(ws)["seq"] == 2
    say(log, 3, message="żółć")
    assert hear(ws) == {"seq": 3, "type": "log", "message": "żółć"}
    ws.close()
    say(log, 4)
    ws = address.watch(RUNNING, admin, after=3)
    assert hear(ws)["seq"] == 4
    say(log, 5, "result", state="completed")
    assert hear(ws)["type"] == "result"
    assert closed_with(ws) == watchers.ENDED


def test_who_has_seen_the_end_is_not_left_waiting(
    app: Flask, address: Address, admin: Visitor
) -> None:
    assert closed_with(address.watch(make_backup(app), admin, after=10_000)) == watchers.ENDED


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_another_site_gets_no_socket(
    address: Address, admin: Visitor, log: EventLog, origin: str
) -> None:
    with pytest.raises(ConnectionError) as caught:
        address.watch(RUNNING, admin, origin=origin)
    assert caught.value.status_code == 403


def test_strangers_get_no_socket(app: Flask, address: Address, log: EventLog) -> None:
    with pytest.raises(ConnectionError) as caught:
        address.watch(RUNNING, Visitor())
    assert caught.value.status_code == 401


def test_an_operation_that_is_not_there_can_not_be_watched(
    address: Address, admin: Visitor
) -> None:
    with pytest.raises(ConnectionError) as caught:
        address.watch("none", admin)
    assert caught.value.status_code == 404


def test_who_is_admin_no_more_is_shown_out(
    app: Flask, address: Address, admin: Visitor, log: EventLog
) -> None:
    ws = address.watch(RUNNING, admin)
    assert hear(ws)["seq"] == 1
    set_user(app, ADMIN, is_admin=False)
    try:
        assert closed_with(ws) == watchers.NOT_ALLOWED
    finally:
        set_user(app, ADMIN, is_admin=True)


def test_watchers_are_capped_and_their_seats_are_given_back(
    address: Address, admin: Visitor, log: EventLog
) -> None:
    watching = [address.watch(RUNNING, admin) for _ in range(3)]
    with pytest.raises(ConnectionError) as caught:
        address.watch(RUNNING, admin)
    assert caught.value.status_code == 503
    # One says goodbye, one is gone without a word, one talks.
    watching[0].close()
    watching[1].sock.shutdown(socket.SHUT_RDWR)
    watching[2].send("hello")
    assert closed_with(watching[2]) == watchers.TALKED
    assert wait_for(lambda: seats_are_free(address, admin))


def test_a_flood_of_input_closes_the_socket(
    address: Address, admin: Visitor, log: EventLog
) -> None:
    ws = address.watch(RUNNING, admin)
    with suppress(ConnectionClosed, OSError):
        for _ in range(50):
            ws.send("x" * 100_000)
    assert closed_with(ws) in (watchers.TALKED, 1009, 1005, 1006)
    assert wait_for(lambda: seats_are_free(address, admin))


def test_a_watcher_that_takes_nothing_loses_its_seat(
    address: Address, admin: Visitor, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold a thread of the server until the end of its days."""
    monkeypatch.setattr(websocket, "_PATIENCE", 1)
    request = (
        f"GET {PREFIX}/operations/{RUNNING}/live HTTP/1.1\r\nHost: 127.0.0.1:{address.port}\r\n"
        f"Origin: {address.origin}\r\nCookie: {admin.headers['Cookie']}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    for seq in range(2, 2000):
        say(log, seq, message="x" * 10_000)
    with closing(socket.create_connection(("127.0.0.1", address.port))) as deaf:
        deaf.sendall(request.encode())
        assert b"101" in deaf.recv(16)
        assert wait_for(lambda: seats_are_free(address, admin))


def test_watching_holds_no_connection_to_the_database(
    app: Flask, address: Address, admin: Visitor, log: EventLog
) -> None:
    """The pool of this host has but two: one for its session, one for the history."""
    watching = [address.watch(RUNNING, admin) for _ in range(3)]
    for ws in watching:
        assert hear(ws)["seq"] == 1
    assert address.request("GET", f"{PREFIX}/operations/{RUNNING}/events", admin)[0] == 200
    with app.app_context():
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    for ws in watching:
        ws.close()
    assert wait_for(lambda: seats_are_free(address, admin))


@dataclass
class Pair:
    """A watcher of a log without a server, and its client."""

    watcher: watchers.Watcher
    _sock: socket.socket
    _frames: Connection

    def hear(self) -> list[Any]:
        """What the watcher has sent since: the seq of each event, and the code of the close."""
        self.watcher.send_news()
        with suppress(BlockingIOError):
            self._frames.receive_data(self._sock.recv(1_000_000))
        heard: list[Any] = []
        for event in self._frames.events():
            if isinstance(event, TextMessage):
                heard.append(json.loads(event.data)["seq"])
            if isinstance(event, CloseConnection):
                heard.append(int(event.code))
        return heard


@contextmanager
def watching(
    tail: Tail,
    *,
    runs: bool,
    allowed: Callable[[], bool] = lambda: True,
    frames: watchers.Frames | None = None,
) -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    channel = websocket.Channel(ours, Connection(ConnectionType.SERVER))
    watcher = watchers.Watcher(
        channel,
        tail,
        allowed=allowed,
        runs=lambda: runs,
        held=ExitStack(),
        frames=watchers.Frames() if frames is None else frames,
    )
    with theirs, ours:
        yield Pair(watcher, theirs, Connection(ConnectionType.CLIENT))


def test_half_an_event_waits_for_its_other_half(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_text('{"seq": 1, "type": "log"}\n{"seq": 2, "ty')
    with Tail(path) as tail, watching(tail, runs=True) as pair:
        assert pair.hear() == [1]
        assert pair.hear() == []
        with path.open("a") as file:
            file.write('pe": "result"}\n')
        assert pair.hear() == [2, watchers.ENDED]


def test_a_long_replay_of_what_has_ended_comes_to_its_end(tmp_path: Path) -> None:
    """However far the client is behind meanwhile."""
    path = tmp_path / "events"
    text = "x" * 10_000
    lines = [json.dumps({"seq": seq, "type": "log", "message": text}) for seq in range(1, 500)]
    path.write_text("\n".join([*lines, ""]))
    with Tail(path) as tail, watching(tail, runs=False) as pair:
        heard: list[Any] = []
        while watchers.ENDED not in heard:
            more = pair.hear()
            assert more
            heard += more
    assert heard == [*range(1, 500), watchers.ENDED]


def test_the_watchers_of_one_language_share_what_is_encoded_in_it() -> None:
    everybody = watchers.Watchers()
    english = everybody.frames("1", "en", str)
    german = everybody.frames("1", "de", str.upper)
    assert everybody.frames("1", "en", str) is english
    assert everybody.frames("1", "de", str.upper) is german is not english


def test_a_line_is_told_in_the_language_of_its_watcher(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_text('{"seq": 1, "type": "log", "message": "done"}\n')
    frames = watchers.Frames(str.upper)
    with Tail(path) as tail, watching(tail, runs=True, frames=frames) as pair:
        assert pair.hear() == [1]
    assert b'"message": "DONE"' in frames[1]


def test_a_client_that_answers_no_ping_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "_PING", 0.0)
    path = tmp_path / "events"
    path.touch()
    with Tail(path) as tail, watching(tail, runs=True) as pair:
        pair.hear()
        assert not pair.watcher.is_gone
        pair.hear()
        assert pair.watcher.is_gone


def test_what_a_crash_left_is_passed_over_once_it_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_text('{"seq": 1, "type": "log"}\n\0\0\0\0\0\0\0\0\0\0\0\0\n')
    with Tail(path) as tail:
        assert [event["seq"] for event in tail.read()] == [1]
        assert list(tail.read()) == []
        log = EventLog(path)
        log.append({"seq": 2, "type": "result"})
        log.close()
        assert [event["seq"] for event in tail.read()] == [2]


def test_an_event_that_can_not_be_sent_closes_the_socket(
    app: Flask, address: Address, admin: Visitor, log: EventLog
) -> None:
    with coordinator_of(backups_of(app)).events(RUNNING).open("a") as file:
        file.write('{"seq": 2, "type": "log", "message": "\\ud800"}\n')
    assert closed_with(address.watch(RUNNING, admin)) == watchers.FAILED


def test_a_watcher_whose_check_fails_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that checks all of them goes on."""
    path = tmp_path / "events"
    path.write_text('{"seq": 1, "type": "log"}\n')

    def fail() -> bool:
        raise OSError("no more files")

    monkeypatch.setattr(watchers, "_RECHECK", 0.0)
    with Tail(path) as tail, watching(tail, runs=True, allowed=fail) as pair:
        assert pair.hear() == [1]
        pair.watcher.check()
        assert pair.hear() == [watchers.FAILED]


def test_a_watcher_that_can_not_be_served_holds_no_seat(
    address: Address, admin: Visitor, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bool:
        raise OSError("no more files")

    with monkeypatch.context() as patched:
        patched.setattr(live, "_still_runs", lambda _, *, running: fail)
        for _ in range(4):
            with suppress(ConnectionClosed, ConnectionError):
                closed_with(address.watch(RUNNING, admin))
    assert wait_for(lambda: seats_are_free(address, admin))


class _Late:
    """A socket whose first bytes are read when the server has sent all that it ever will."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._waits = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, size: int) -> bytes:
        if self._waits:
            # The close frame and its length.
            wait_for(lambda: b"\x88" in self._sock.recv(65536, socket.MSG_PEEK))
            self._waits = False
        return self._sock.recv(size)


def test_a_client_that_reads_late_gets_all_that_was_sent(
    address: Address, admin: Visitor, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    handshake = Watcher.handshake

    def late(self: Watcher) -> None:
        self.sock = _Late(self.sock)
        handshake(self)

    monkeypatch.setattr(Watcher, "handshake", late)
    say(log, 2, "result")
    ws = address.watch(RUNNING, admin)
    assert hear(ws)["seq"] == 1
    assert closed_with(ws) == watchers.ENDED


def test_many_events_are_polled_page_by_page(
    address: Address, admin: Visitor, log: EventLog
) -> None:
    for seq in range(2, 1502):
        say(log, seq)
    path = f"{PREFIX}/operations/{RUNNING}/events"
    seen, after, more = 0, 0, True
    while more:
        page = json.loads(address.request("GET", f"{path}?after={after}", admin)[2])
        seen, after, more = seen + len(page["events"]), page["events"][-1]["seq"], page["more"]
    assert (seen, after) == (1501, 1501)
