"""The live channel: the kept events of an operation, pushed over a websocket or polled."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from threading import Thread
from typing import Any

from flask import Blueprint, Flask, abort, current_app, g, request
from flask_sock import Sock  # type: ignore[import-untyped]
from simple_websocket import ConnectionError as HandshakeError  # type: ignore[import-untyped]
from wsproto.utilities import ProtocolError

from hexhub_backup.errors import BackupError, NotFoundError
from hexhub_backup.jobs import process
from hexhub_backup.web import access, current
from hexhub_backup.web.texts import language, sayer
from hexhub_backup.web.watchers import Watcher, Watchers, told
from hexhub_backup.web.websocket import Channel

_log = logging.getLogger("hexhub_backup")

#: Polled events come in pages, so that memory stays flat.
_PAGE = 1000


def prepare(app: Flask) -> None:
    """Have flask-sock leave our sockets to us, and those of the host as they are."""
    options = app.config.get("SOCK_SERVER_OPTIONS", {})
    threads = _Threads(options.get("thread_class") or Thread)
    app.config["SOCK_SERVER_OPTIONS"] = {**options, "thread_class": threads}


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
        # flask-sock would close what is closed by `watchers`, later.
        ws.connected = False
        takes_over = process.hands_over_connections()
        watcher = Watcher(
            Channel(_take_over(ws.sock) if takes_over else ws.sock, ws.ws),
            g.hexhub_backup_tail,
            allowed=access.still_allowed(),
            runs=_still_runs(operation_id, running=g.hexhub_backup_running),
            held=g.hexhub_backup_held,
            frames=watchers.frames(operation_id, language(), sayer()),
        )
        _release_database()
        # What has happened before is read here, where nobody else waits for it.
        watcher.send_news()
        try:
            watchers.add(watcher)
        except RuntimeError:
            watcher.let_go()
            raise
        # What fails before gives it back with the request.
        g.pop("hexhub_backup_held")
        if not takes_over:
            watcher.wait()

    # `route` returns None, and Sock keeps an app only in `init_app`.
    Sock().route("/operations/<operation_id>/live", bp=blueprint)(live)

    @blueprint.get("/operations/<operation_id>/events")
    def events(operation_id: str) -> dict[str, Any]:
        """`{"events": […], "more": …, "state": …}`: at most a thousand, whether there are more,
        and the operation's state before they were read."""
        state = current.operation(operation_id).state
        events = list(islice(current.backups().orders.events(operation_id, _after()), _PAGE + 1))
        say = sayer()
        return {
            "events": [told(event, say) for event in events[:_PAGE]],
            "more": len(events) > _PAGE,
            "state": state,
        }


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


def _after() -> int:
    try:
        return int(request.args.get("after", "0"))
    except ValueError:
        abort(400, "'after' has to be the seq of an event.")


def _seats() -> int:
    """How many sockets this process may serve. Where each holds a thread of the server, at most
    half of those, and none where there is only one, which a socket would block."""
    most = current.backups().settings.max_watchers
    if process.hands_over_connections():
        return most
    if not request.environ.get("wsgi.multithread"):
        return 0
    threads = process.request_threads()
    return most if threads is None else min(most, threads // 2)


def _take_over(sock: socket.socket) -> socket.socket:
    """The connection, for longer than its request. The server, which closes it then, is left a
    socket that leads nowhere."""
    ours = sock.dup()
    with socket.socket(sock.family) as nowhere:
        os.dup2(nowhere.fileno(), sock.fileno(), inheritable=False)
    return ours


def _release_database() -> None:
    """End the host's database session as the end of a request does. Otherwise a connection of its
    pool would be held for as long as somebody watches."""
    for teardown in reversed(current_app.teardown_appcontext_funcs):
        current_app.ensure_sync(teardown)(None)


def _refuse_without_websockets() -> None:
    """simple-websocket needs the connection itself, which only some servers provide."""
    if not {"werkzeug.socket", "gunicorn.socket", "eventlet.input"} & request.environ.keys():
        abort(503, "This server has no websockets, so this page polls instead.")
    if not isinstance(current_app.config["SOCK_SERVER_OPTIONS"].get("thread_class"), _Threads):
        # The host has set other options since: simple-websocket's thread would read too.
        abort(503, "The host's SOCK_SERVER_OPTIONS came too late, so this page polls instead.")


class _Threads:
    """The threads in which simple-websocket reads the sockets of an app, and none for ours, which
    `watchers` read. It has options for a whole app only."""

    def __init__(self, thread_class: Callable[..., Any]) -> None:
        self._thread_class = thread_class

    def __call__(self, *, target: Callable[[], None]) -> Any:
        return _NoThread() if "hexhub_backup_held" in g else self._thread_class(target=target)


class _NoThread(Thread):
    def start(self) -> None:
        """It is never begun."""
