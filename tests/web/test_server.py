"""In a real server: several processes, many watchers, and an orderly end."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from simple_websocket import (  # type: ignore[import-untyped]
    ConnectionClosed,
    ConnectionError,  # noqa: A004 (its name there)
)

from examples.host_app.seed import ADMIN
from hexhub_backup.errors import NotFoundError
from hexhub_backup.history.models import Operation
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.schedule.tick import tick
from tests.support.directory import lock_is_free
from tests.support.patience import PATIENCE, wait_for
from tests.support.serving import (
    BLOCKING,
    HELD,
    PREFIX,
    Address,
    Hold,
    Process,
    Visitor,
    gunicorn,
    is_idle,
    make_backup,
    process,
    threaded,
    visitor,
)

LARGE = 4 << 30
#: Seconds; the promise is a quarter of one, on a machine that does nothing else.
SOON = 2.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "host"


@pytest.fixture
def admin(app: Flask) -> Visitor:
    return visitor(app, ADMIN)


def make_slow(folder: Path) -> None:
    """Let a backup take a while: a package file that is mostly a hole."""
    package = next((folder / "storage/hosted/packages").rglob("*.tar.gz"))
    with package.open("r+b") as file:
        file.truncate(LARGE)


def start_backup(address: Address, admin: Visitor) -> str:
    headers = {"X_CSRFToken": admin.token, "Origin": address.origin}
    status, answer, body = address.request("POST", f"{PREFIX}/", admin, b"", **headers)
    assert status == 303, body
    return answer["Location"].rsplit("/", 1)[1]


def copies(app: Flask, operation: str) -> bool:
    """Whether a backup has come to the copying of the files."""
    with app.app_context():
        events = list(backups_of(app).orders.events(operation))
    return any(event["type"] == "step" and event["step"] == "copy_packages" for event in events)


def ended(app: Flask, operation: str) -> Operation | None:
    with app.app_context():
        found = backups_of(app).catalog.operation(operation)
    return found if found.ended else None


def interrupted(app: Flask, operation: str) -> None:
    with app.app_context():
        backups = backups_of(app)
        found = backups.catalog.operation(operation)
        assert (found.state, found.reason) == ("interrupted", "server stopped")
        assert list(backups.orders.events(operation))[-1]["state"] == "interrupted"
        assert list(backups.depot.path.glob("*.tar*")) == []


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["gunicorn", "preload"])
def test_sigterm_ends_an_operation_as_interrupted_also_while_it_is_watched(
    folder: Path, app: Flask, admin: Visitor, options: tuple[str, ...]
) -> None:
    make_slow(folder)
    with gunicorn(folder, *options) as server:
        operation = start_backup(server.address, admin)
        watching = [server.address.watch(operation, admin) for _ in range(3)]
        wait_for(lambda: copies(app, operation))
        began = time.monotonic()
        assert server.end() == 0
        took = time.monotonic() - began
        for ws in watching:
            with suppress(ConnectionClosed):
                ws.close()
    print(json.dumps({"sigterm_seconds": round(took, 2)}))
    interrupted(app, operation)
    # gunicorn would have waited for the sockets, and then killed.
    assert took < 25


def test_sigterm_ends_an_operation_of_the_development_server_as_interrupted(
    folder: Path, app: Flask, admin: Visitor
) -> None:
    make_slow(folder)
    with process(
        folder, "flask", "--app", "examples.host_app", "run", "--port", "{port}"
    ) as server:
        operation = start_backup(server.address, admin)
        ws = server.address.watch(operation, admin)
        wait_for(lambda: copies(app, operation))
        assert server.end() == 128 + signal.SIGTERM
        with suppress(ConnectionClosed):
            ws.close()
        assert "Traceback" not in server.log.read_text()
    interrupted(app, operation)


def test_a_worker_that_was_killed_is_put_right_by_the_next(
    folder: Path, app: Flask, admin: Visitor
) -> None:
    make_slow(folder)
    with gunicorn(folder) as server:
        operation = start_backup(server.address, admin)
        wait_for(lambda: copies(app, operation))
        server.end(with_signal=signal.SIGKILL)
        # Its workers see that they have lost their master.
        wait_for(lambda: is_free(server.address.port))
        wait_for(lambda: ended(app, operation) or lock_is_free(backups_of(app)))
    with gunicorn(folder) as server:
        assert wait_for(lambda: ended(app, operation)).state == "interrupted"


def test_an_open_page_sees_that_the_process_of_its_operation_is_dead(
    folder: Path, app: Flask, admin: Visitor
) -> None:
    """And nobody asks the server for anything else."""
    with gunicorn(folder, app=HELD) as server:
        hold = Hold(folder)
        with hold:
            operation = start_backup(server.address, admin)
            wait_for(lambda: copies(app, operation))
            runs_it = hold.process_of("job")

            def watched_elsewhere() -> Any:
                with suppress(ConnectionError):
                    ws = server.address.watch(operation, admin)
                    if hold.process_of(f"{PREFIX}/operations/{operation}/live") != runs_it:
                        return ws
                    ws.close()
                return None

            reader = Reader(wait_for(watched_elsewhere))
            os.kill(runs_it, signal.SIGKILL)
            reader.join(PATIENCE)
        assert reader.last == "result"
        # The rows are written after the event.
        assert wait_for(lambda: ended(app, operation)).state == "interrupted"


def dead_operation(app: Flask, name: str) -> None:
    """An operation that is said to run, of which nobody holds the log."""
    with app.app_context():
        catalog = backups_of(app).catalog
        catalog.add_operation(
            Operation(
                id=name,
                verb="create",
                state="running",
                actor=ADMIN,
                options={},
                queued_at=utc_now(),
                started_at=utc_now(),
            )
        )


@pytest.mark.parametrize("page", ["/operations/{}", "/operations/{}/events", "/", "/new"])
def test_whatever_shows_an_operation_that_is_dead_settles_it(
    app: Flask, admin: Visitor, page: str
) -> None:
    name = "20260131-103000-abcdef"
    with threaded(app) as address:
        # The first request of a process looks by itself, and each a minute later.
        address.request("GET", "/login", Visitor())
        wait_for(lambda: is_idle(app) and app.extensions["hexhub_backup_housekeeping"])
        dead_operation(app, name)

        def settled() -> bool:
            path = PREFIX + page.format(name)
            assert address.request("GET", path, admin)[0] == 200
            return ended(app, name) is not None

        wait_for(settled)
        _, _, body = address.request("GET", f"{PREFIX}/operations/{name}", admin)
        assert b"was interrupted" in body


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return True
    return False


def test_a_due_prune_runs_without_a_request(folder: Path, app: Flask) -> None:
    backups = backups_of(app)
    old, _ = make_backup(app), make_backup(app)
    with app.app_context():
        long_ago = utc_now() - timedelta(days=60)
        backups.catalog.update_backup(old, created_at=long_ago)
        tick(app)
        backups.catalog.set_due("prune", long_ago)
    with gunicorn(folder, "--preload", asked=False):

        def pruned() -> bool:
            with app.app_context(), suppress(NotFoundError):
                backups.history.backup(old)
                return False
            return True

        wait_for(pruned)
        wait_for(lambda: is_idle(app))
    with app.app_context():
        assert {each.actor for each in backups.history.operations() if each.verb == "prune"} == {
            "schedule"
        }
        due = backups.catalog.due_at("prune")
        assert due is not None
        assert due > utc_now()


class Reader(threading.Thread):
    """Listens to a socket, and notes when which event came."""

    def __init__(self, ws: Any) -> None:
        super().__init__()
        self._ws = ws
        self.delays: list[float] = []
        self.last = ""
        self.start()

    def run(self) -> None:
        with suppress(ConnectionClosed):
            while text := self._ws.receive(timeout=PATIENCE):
                event = json.loads(text)
                self.last = event["type"]
                at = datetime.fromisoformat(event["at"]).timestamp()
                self.delays.append(time.time() - at)


def hostile(server: Process, operation: str, admin: Visitor, number: int) -> socket.socket:
    """A connection that means no good: of a stranger, of another site, deaf, or unfinished."""
    evil = {**admin.headers, "Origin": "http://evil.example"}
    headers = [{}, evil, {**admin.headers, "Origin": server.address.origin}][number % 3]
    lines = [
        f"GET {PREFIX}/operations/{operation}/live HTTP/1.1",
        f"Host: 127.0.0.1:{server.address.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    connection = socket.create_connection(("127.0.0.1", server.address.port), timeout=PATIENCE)
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection


def test_a_server_with_one_thread_is_not_blocked_by_a_watcher(
    folder: Path, app: Flask, admin: Visitor
) -> None:
    backup = make_backup(app)
    with gunicorn(folder, "--threads=1") as server:
        with pytest.raises(ConnectionError) as caught:
            server.address.watch(backup, admin)
        assert caught.value.status_code == 503
        path = f"{PREFIX}/operations/{backup}/events"
        assert server.address.request("GET", path, admin)[0] == 200


def test_forty_sockets_leave_threads_for_the_hosts_own_pages(
    folder: Path, app: Flask, admin: Visitor
) -> None:
    make_slow(folder)
    with gunicorn(folder) as server, ExitStack() as sockets:
        operation = start_backup(server.address, admin)
        for number in range(20):
            sockets.callback(hostile(server, operation, admin, number).close)
        # More than the server has threads.
        readers = [Reader(server.address.watch(operation, admin)) for _ in range(20)]
        for _ in range(10):
            assert server.address.request("GET", "/login", Visitor())[0] == 200
            path = f"{PREFIX}/operations/{operation}/events"
            assert server.address.request("GET", path, admin)[0] == 200
        headers = {"X_CSRFToken": admin.token}
        path = f"{PREFIX}/operations/{operation}/cancel"
        assert server.address.request("POST", path, admin, b"", **headers)[0] == 303
        for reader in readers:
            reader.join(PATIENCE)
        # Its row is written after its last event.
        wait_for(lambda: ended(app, operation))
    assert {reader.last for reader in readers} == {"result"}
    # Later ones than the replay, which came as they happened: in whichever worker.
    delays = sorted(delay for reader in readers for delay in reader.delays[-5:])
    print(
        json.dumps(
            {
                "watchers": len(readers),
                "median_delay_seconds": round(delays[len(delays) // 2], 3),
                "longest_delay_seconds": round(delays[-1], 3),
            }
        )
    )
    assert delays[len(delays) // 2] < SOON
    assert ended(app, operation).state == "cancelled"  # type: ignore[union-attr]


#: gunicorn's worker of greenlets, which is killed when it does not answer for two seconds.
GEVENT = ("--worker-class=gevent", "--workers=1", "--timeout=2")


def test_an_operation_does_not_stop_a_server_of_greenlets(
    folder: Path, app: Flask, admin: Visitor
) -> None:
    with gunicorn(folder, *GEVENT, app=BLOCKING) as server:
        operation = start_backup(server.address, admin)
        reader = Reader(server.address.watch(operation, admin))
        answered = 0
        while ended(app, operation) is None:
            assert server.address.request("GET", "/login", Visitor())[0] == 200
            answered += 1
        assert ended(app, operation).state == "completed"  # type: ignore[union-attr]
        reader.join(PATIENCE)
        assert reader.last == "result"
        # Six files took a second each, and nobody waited for them.
        assert answered > 6
        assert "WORKER TIMEOUT" not in server.log.read_text()


def test_sigterm_ends_an_operation_of_a_server_of_greenlets_as_interrupted(
    folder: Path, app: Flask, admin: Visitor
) -> None:
    with gunicorn(folder, *GEVENT, app=BLOCKING) as server:
        operation = start_backup(server.address, admin)
        ws = server.address.watch(operation, admin)
        wait_for(lambda: copies(app, operation))
        assert server.end() == 0
        with suppress(ConnectionClosed):
            ws.close()
    interrupted(app, operation)
