"""The example host in real servers, and clients that come with a cookie of their own."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from wsgiref import simple_server

from flask import Flask, request
from flask_babel import Babel
from gevent import monkey as _monkey  # type: ignore[import-untyped]
from simple_websocket import Client  # type: ignore[import-untyped]
from sqlalchemy import select
from werkzeug.serving import make_server

from examples.host_app import create_app
from examples.host_app.models import User, db
from examples.host_app.seed import ADMIN
from hexhub_backup import verbs
from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.history.models import Who
from hexhub_backup.jobs import process as process_of_jobs
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.storage.local import LocalStorage
from tests.support.directory import lock_is_free
from tests.support.patience import PATIENCE, wait_for
from tests.support.people import sign_in

ROOT = Path(__file__).parents[2]
PREFIX = "/admin/backups"
ADA = Who(actor=ADMIN, address="192.0.2.1")
#: Seconds: what takes so long will never come.


def make_backup(app: Flask) -> str:
    with app.app_context():
        backups = backups_of(app)
        return backups.orders.run(app, verbs.create.order(ADA)).operation


def is_idle(app: Flask) -> bool:
    """Whether all that was asked for has been done, and the next operation may begin."""
    backups = backups_of(app)
    with app.app_context():
        return not backups.catalog.unfinished_operations() and lock_is_free(backups)


@dataclass(frozen=True)
class Visitor:
    """Somebody with a browser: headers with a cookie, and a CSRF token of that session."""

    headers: dict[str, str] = field(default_factory=dict)
    token: str = ""


def visitor(app: Flask, username: str | None, *, deactivated: bool = False) -> Visitor:
    """Somebody who has logged in (where there is a `username`), deactivated after that."""
    client = app.test_client()
    if username is not None:
        assert sign_in(client, username).status_code == 303
    # Any page of the host with a form gives the token.
    page = client.get("/" if username else "/login").text
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None
    cookie = client.get_cookie(app.config["SESSION_COOKIE_NAME"])
    assert cookie is not None
    if deactivated:
        set_user(app, username or "", deactivated_at=User.updated_at)
    return Visitor({"Cookie": f"{cookie.key}={cookie.value}"}, found[1])


def set_user(app: Flask, username: str, **values: Any) -> None:
    with app.app_context():
        user = db.session.scalars(select(User).filter_by(username=username)).one()
        for name, value in values.items():
            setattr(user, name, value)
        db.session.commit()


class Watcher(Client):  # type: ignore[misc]
    """A client that leaves no open connection behind where it is refused."""

    def handshake(self) -> None:
        try:
            super().handshake()
        except BaseException:
            self.sock.close()
            raise

    def _thread(self) -> None:
        """What came together with the answer to the handshake is looked at before more is waited
        for: the library would wait, and forget what a server said that has hung up by then."""
        self.connected = self._handle_events()
        super()._thread()


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    port: int

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def watch(self, operation: str, who: Visitor, *, after: int = 0, origin: str = "") -> Client:
        """A websocket. Raises ConnectionError where it is refused."""
        url = f"ws://127.0.0.1:{self.port}{PREFIX}/operations/{operation}/live?after={after}"
        # This client leaves the port out of its Host header.
        own = self.origin.rpartition(":")[0]
        return Watcher(url, headers={**who.headers, "Origin": origin or own})

    def request(
        self, method: str, path: str, who: Visitor, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request: the answer's status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {**who.headers, **named})
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()


@contextmanager
def threaded(app: Flask) -> Iterator[Address]:
    """Werkzeug's server with threads, in this process: the app can be looked into."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Address(server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Process:
    """A server of its own, with its log."""

    popen: subprocess.Popen[bytes]
    address: Address
    log: Path

    def end(self, *, with_signal: int = signal.SIGTERM) -> int:
        """Tell it to end, and give its exit code once it has."""
        self.popen.send_signal(with_signal)
        return self.popen.wait(PATIENCE)


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def process(
    folder: Path, *command: str, asked: bool = True, **environment: str
) -> Iterator[Process]:
    """Run a server's command, whose arguments may hold `{port}`, over an instance. Unless it is
    `asked`, it has got no request yet."""
    port = free_port()
    log = folder / "server.log"
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [sys.executable, "-m", *(word.replace("{port}", str(port)) for word in command)],
            cwd=ROOT,
            env={**os.environ, "HOST_APP_DATA": str(folder), **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        if asked:
            wait_for(lambda: answers(port) or popen.poll() is not None)
            assert popen.poll() is None, log.read_text()
        yield Process(popen, Address(port), log)
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait()


def gunicorn(
    folder: Path,
    *options: str,
    app: str = "examples.host_app:create_app()",
    asked: bool = True,
    **environment: str,
) -> Any:
    """gunicorn with two workers of 16 threads."""
    return process(
        folder,
        "gunicorn",
        "--workers=2",
        "--threads=16",
        "--bind=127.0.0.1:{port}",
        *options,
        app,
        asked=asked,
        **environment,
    )


HELD = "tests.support.serving:held()"


def held() -> Flask:
    """The example host, to be served as `HELD`: a test can hold its backups with a `Hold`."""
    app = create_app()
    hold = Hold(Path(app.instance_path))
    open_file = LocalStorage.open

    def wait_and_open(self: LocalStorage, file: ReleaseFile) -> Any:
        hold.note("job")
        while hold.holds(file) and not process_of_jobs.is_ending():
            time.sleep(0.01)
        return open_file(self, file)

    LocalStorage.open = wait_and_open  # type: ignore[method-assign]

    @app.before_request
    def note() -> None:
        hold.note(request.path)

    return app


SPEAKING = "tests.support.serving:speaking()"


def speaking() -> Flask:
    """The example host with Flask-Babel, to be served as `SPEAKING`."""
    return speaks(create_app())


def speaks(app: Flask) -> Flask:
    """Let a host say its pages in the language of the browser: before it is served."""
    Babel(app, locale_selector=lambda: request.accept_languages.best_match(["en", "de"]))
    return app


BLOCKING = "tests.support.serving:blocking()"


def blocking() -> Flask:
    """The example host, to be served as `BLOCKING`: each file of its storage takes a second, in
    which the machine's thread does nothing else, whatever a server has made of threads."""
    app = create_app()
    sleep = _monkey.get_original("time", "sleep")
    open_file = LocalStorage.open

    def block_and_open(self: LocalStorage, file: ReleaseFile) -> Any:
        sleep(1)
        return open_file(self, file)

    LocalStorage.open = block_and_open  # type: ignore[method-assign]
    return app


COUNTED = "tests.support.serving:counted()"


def counted() -> Flask:
    """The example host, to be served as `COUNTED`: it tells which threads a process has."""
    app = create_app(config={"HEXHUB_BACKUP_TICK_THREAD": "NO_TICK_THREAD" not in os.environ})

    @app.get("/threads")
    def threads() -> dict[str, Any]:
        return {"process": os.getpid(), "threads": [each.name for each in threading.enumerate()]}

    return app


def serve_plainly() -> None:
    """`COUNTED` in a server that nobody has heard of."""
    with simple_server.make_server("127.0.0.1", int(sys.argv[1]), counted()) as server:
        server.serve_forever()


@dataclass(frozen=True)
class Hold:
    """Holds the operations of a `held` server at a file, so that a test can look and act in the
    middle of one, however quick the machine is. It tells which process did what, too."""

    folder: Path

    def at(self, package: str = "") -> None:
        """Let the next backup, or one that is held, come to the first file of this package; of
        any without it."""
        part = self.folder / "hold.part"
        part.write_text(package)
        part.replace(self.folder / "hold")

    def release(self) -> None:
        (self.folder / "hold").unlink(missing_ok=True)

    def __enter__(self) -> Hold:
        self.at()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def holds(self, file: ReleaseFile) -> bool:
        try:
            return (self.folder / "hold").read_text() in ("", file.package)
        except FileNotFoundError:
            return False

    def note(self, what: str) -> None:
        """Remember that this process does something, or is asked for it."""
        with (self.folder / "processes").open("a") as file:
            file.write(f"{os.getpid()} {what}\n")

    def process_of(self, what: str) -> int:
        """The id of the process that has done this last."""
        lines = (self.folder / "processes").read_text().splitlines()
        return int(next(line for line in reversed(lines) if line.endswith(f" {what}")).split()[0])


class Line(socketserver.ThreadingTCPServer):
    """A line to a server that a test can cut: all of it, or what is a websocket in it."""

    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Call)
        self.upstream, self.up, self.websockets = port, True, True
        self._open: set[socket.socket] = set()

    @property
    def address(self) -> Address:
        return Address(self.server_address[1])

    def cut(self) -> None:
        self.up = False
        for connection in [*self._open]:
            hang_up(connection)

    def mend(self, *, websockets: bool = True) -> None:
        self.up, self.websockets = True, websockets

    def pump(self, source: socket.socket, target: socket.socket) -> None:
        """Carry over what comes, until one of both ends."""
        self._open.add(source)
        try:
            with suppress(OSError):
                while self.up and (data := source.recv(65536)):
                    if not self.websockets and b"/live?" in data:
                        return
                    target.sendall(data)
        finally:
            self._open.discard(source)
            hang_up(source)
            hang_up(target)


class Call(socketserver.BaseRequestHandler):
    """One connection over a line."""

    server: Line

    def handle(self) -> None:
        line = self.server
        with suppress(OSError), socket.create_connection(("127.0.0.1", line.upstream)) as there:
            back = threading.Thread(target=line.pump, args=(there, self.request))
            back.start()
            line.pump(self.request, there)
            back.join()


def hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def line_to(address: Address) -> Iterator[Line]:
    """A line, for as long as it is used."""
    with Line(address.port) as line:
        thread = threading.Thread(target=line.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield line
        finally:
            line.shutdown()
            thread.join()
            line.cut()


def answers(port: int) -> bool:
    try:
        return Address(port).request("GET", "/login", Visitor())[0] == 200
    except OSError:
        return False


if __name__ == "__main__":
    serve_plainly()
