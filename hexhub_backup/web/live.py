"""The live channel: the kept events of an operation, pushed over a websocket or polled."""

from __future__ import annotations

import json
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from threading import Lock
from typing import Any, Protocol

from flask import Blueprint, abort, current_app, g, request
from flask_sock import Sock  # type: ignore[import-untyped]
from simple_websocket import ConnectionClosed  # type: ignore[import-untyped]
from simple_websocket import ConnectionError as HandshakeError
from wsproto.utilities import ProtocolError

from hexhub_backup.coordination.base import Tail
from hexhub_backup.errors import BackupError, NotFoundError, without_messages
from hexhub_backup.jobs import process
from hexhub_backup.web import access, current

_log = logging.getLogger("hexhub_backup")

#: Seconds between two looks for new events.
_SLICE = 0.1
#: Seconds between two questions whether the watcher may still watch.
_RECHECK = 3.0
#: Seconds after which a watcher is dropped that reads nothing, or answers no ping.
_PATIENCE = 5
#: For flask-sock, unless the host has set others: it has options for a whole app only.
SERVER_OPTIONS = {"ping_interval": 20}
#: Bytes: a watcher sends nothing but pongs.
_MESSAGE_LENGTH = 1024
#: Polled events come in pages, so that memory stays flat.
_PAGE = 1000

#: Why a socket is closed: RFC 6455, 7.4, and of our own a login that is over.
ENDED, TALKED, FAILED, SERVER_STOPS, NOT_ALLOWED = 1000, 1008, 1011, 1012, 4401


class Socket(Protocol):
    """What is used of a websocket. `receive` raises ConnectionClosed once the client is gone."""

    def send(self, data: str) -> None: ...
    def receive(self, timeout: float | None = None) -> str | bytes | None: ...


class Watchers:
    """Counts the sockets of this process: each holds one of the server's threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 0

    @contextmanager
    def seat(self, limit: int) -> Iterator[None]:
        """Hold one of `limit` seats. Aborts with 503 where all are taken."""
        with self._lock:
            if self._count >= limit:
                abort(503, "Too many are watching already, so this page polls instead.")
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1


def add_to(blueprint: Blueprint) -> None:
    """Add the live channel to the blueprint, and the events for polling."""
    watchers = Watchers()

    @blueprint.before_request
    def sit_down() -> None:
        """Refuse whatever has to be refused before flask-sock accepts the websocket."""
        if request.endpoint == f"{blueprint.name}.live" and request.view_args is not None:
            g.hexhub_backup_held = ExitStack()
            operation_id = request.view_args["operation_id"]
            _refuse_without_websockets()
            g.hexhub_backup_running = not current.operation(operation_id).ended
            try:
                tail = current.backups().coordinator.tail(operation_id, _after())
            except FileNotFoundError:
                abort(404, f"Operation {operation_id} has no events.")
            g.hexhub_backup_tail = g.hexhub_backup_held.enter_context(tail)
            g.hexhub_backup_held.enter_context(watchers.seat(_seats()))

    @blueprint.teardown_request
    def stand_up(_: BaseException | None) -> None:
        if (held := g.pop("hexhub_backup_held", None)) is not None:
            held.close()

    @blueprint.errorhandler(HandshakeError)
    @blueprint.errorhandler(ProtocolError)
    def no_websocket(_: Exception) -> tuple[str, int]:
        return "This is no websocket.", 400

    def live(ws: Any, operation_id: str) -> None:
        tail, allowed = g.hexhub_backup_tail, access.still_allowed()
        runs = _still_runs(operation_id, running=g.hexhub_backup_running)
        _release_database()
        _serve(ws, lambda: watch(ws, tail, allowed, runs))

    # `route` returns None, and Sock keeps an app only in `init_app`.
    Sock().route("/operations/<operation_id>/live", bp=blueprint)(live)

    @blueprint.get("/operations/<operation_id>/events")
    def events(operation_id: str) -> dict[str, Any]:
        """`{"events": […], "more": …, "state": …}`: at most a thousand, whether there are more,
        and the operation's state before they were read."""
        state = current.operation(operation_id).state
        events = list(islice(current.backups().orders.events(operation_id, _after()), _PAGE + 1))
        return {"events": events[:_PAGE], "more": len(events) > _PAGE, "state": state}


def _still_runs(operation_id: str, *, running: bool) -> Callable[[], bool]:
    """A function that returns whether an operation gets more events. `running` is the history's
    answer at the start. Where the operation's process is dead, recovery starts and records its
    end."""
    app, backups = current.app(), current.backups()

    def ask() -> bool:
        nonlocal running
        if running and not backups.recovery.is_alive(operation_id):
            try:
                with app.app_context():
                    running = not current.operation(operation_id).ended
            except NotFoundError:
                running = False
            except BackupError as error:
                # For example, the database is unavailable for a moment.
                _log.warning("the state of operation %s could not be read: %s", operation_id, error)
        return running

    return ask


def watch(
    ws: Socket, tail: Tail, allowed: Callable[[], bool], runs: Callable[[], bool]
) -> tuple[int, str]:
    """Send the events of a log as they come. Returns the code and the reason to close with.

    Raises ConnectionClosed and OSError where the client is gone. Ends when the operation does not
    run any more and its events have been sent.
    """
    next_check = time.monotonic() + _RECHECK
    over = not runs()
    while True:
        caught_up = False
        for event in tail.read():
            ws.send(json.dumps(event, ensure_ascii=False))
            if event["type"] == "result":
                return ENDED, "the operation has ended"
            if time.monotonic() >= next_check:
                break
        else:
            caught_up = True
        if process.is_ending():
            return SERVER_STOPS, "the server stops"
        if time.monotonic() >= next_check:
            if not allowed():
                return NOT_ALLOWED, "log in again"
            if caught_up and (over or tail.removed):
                return ENDED, "there are no more events"
            # Events that were written before the end come with the next look at the log.
            over = not runs()
            next_check = time.monotonic() + _RECHECK
        if ws.receive(timeout=_SLICE) is not None:
            return TALKED, "no message is expected"


def _after() -> int:
    try:
        return int(request.args.get("after", "0"))
    except ValueError:
        abort(400, "'after' has to be the seq of an event.")


def _seats() -> int:
    """How many sockets this process may serve: at most half of its threads, and none where it has
    only one, which a socket would block."""
    if not request.environ.get("wsgi.multithread"):
        return 0
    threads = process.request_threads()
    most = current.backups().settings.max_watchers
    return most if threads is None else min(most, threads // 2)


def _release_database() -> None:
    """End the host's database session as the end of a request does. Otherwise a connection of its
    pool would be held for as long as somebody watches."""
    for teardown in reversed(current_app.teardown_appcontext_funcs):
        current_app.ensure_sync(teardown)(None)


def _refuse_without_websockets() -> None:
    """simple-websocket needs the connection itself, which only some servers provide."""
    if not {"werkzeug.socket", "gunicorn.socket", "eventlet.input"} & request.environ.keys():
        abort(503, "This server has no websockets, so this page polls instead.")


def _serve(ws: Any, handler: Callable[[], tuple[int, str]]) -> None:
    """Run the handler, and close the connection whatever the client does."""
    ws.max_message_size = _MESSAGE_LENGTH
    # A client that does not read would block `send`, and with it this thread, forever.
    ws.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _PATIENCE, 0))
    try:
        with suppress(ConnectionClosed, OSError):
            try:
                code, reason = handler()
            except (ConnectionClosed, OSError):
                raise
            except Exception as error:
                # The client could not read an error page.
                _log.error("the live channel failed", exc_info=without_messages(error))
                code, reason = FAILED, "the host's log has the reason"
            ws.close(code, reason)
            # Wait for the client's answer: closing now could overtake what was sent.
            ws.thread.join(1)
    finally:
        ws.connected = False
        with suppress(OSError):
            ws.sock.shutdown(socket.SHUT_RDWR)
