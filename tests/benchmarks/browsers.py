"""Many browsers that watch one operation, in a process that takes little of the machine:
`python -m tests.benchmarks.browsers PORT PATH COOKIE COUNT`.

Says `ready` when all of them are let in, and after the operation has ended, of each event that each
of them got: its own port, when the event was written, and when it came.
"""

from __future__ import annotations

import json
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import NamedTuple

from tests.support.instance import ROOT
from tests.support.patience import PATIENCE

_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10


class Delivery(NamedTuple):
    """When an event was written and when it came, in seconds, to the socket with a port."""

    port: int
    written: float
    came: float


class Browser:
    """One websocket. A library's client has a thread for each, which this machine would feel."""

    def __init__(self, connection: socket.socket, received: bytes) -> None:
        self.connection = connection
        self.port: int = connection.getsockname()[1]
        self.texts: list[tuple[float, bytes]] = []
        #: The code and the reason that the server closed with.
        self.closed = "nothing, the connection broke"
        self._received = received
        self._take()

    def read(self) -> bool:
        """Take what has come. False where it has ended."""
        try:
            data = self.connection.recv(65536)
        except ConnectionError:
            return False
        self._received += data
        return self._take() and data != b""

    def _take(self) -> bool:
        now = time.time()
        while len(self._received) >= 2:
            # A server's frames are neither masked nor, as events are short, of more than 64 KiB.
            kind, length, start = self._received[0] & 15, self._received[1] & 127, 2
            if length == 126:
                length, start = int.from_bytes(self._received[2:4], "big"), 4
            if len(self._received) < start + length:
                break
            data = self._received[start : start + length]
            self._received = self._received[start + length :]
            if kind == _TEXT:
                self.texts.append((now, data))
            elif kind == _PING:
                self.connection.sendall(bytes((0x80 | _PONG, 0x80 | length)) + bytes(4) + data)
            elif kind == _CLOSE:
                self.closed = f"{int.from_bytes(data[:2], 'big')} {data[2:].decode()}".strip()
                # The server waits for the answer, but not forever.
                with suppress(ConnectionError):
                    self.connection.sendall(bytes((0x80 | _CLOSE, 0x80 | length)) + bytes(4) + data)
                return False
        return True


def connect(port: int, path: str, cookie: str) -> Browser | None:
    """A browser that was let in; None where all seats of its worker are taken."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    origin = f"http://127.0.0.1:{port}"
    head = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: {origin}\r\nCookie: {cookie}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    connection.sendall(head.encode())
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    answer, _, rest = received.partition(b"\r\n\r\n")
    status = answer.split()[1]
    if status == b"101":
        return Browser(connection, rest)
    connection.close()
    if status != b"503":
        sys.exit(f"a watcher was refused with {status.decode()}")
    return None


def watch(port: int, path: str, cookie: str, count: int) -> None:
    browsers: list[Browser] = []
    until = time.monotonic() + PATIENCE
    with selectors.DefaultSelector() as selector:
        while len(browsers) < count:
            if (found := connect(port, path, cookie)) is not None:
                browsers.append(found)
                selector.register(found.connection, selectors.EVENT_READ, found)
            elif time.monotonic() > until:
                sys.exit(f"only {len(browsers)} watchers were let in")
            # The server pings those that are in already, and drops whoever does not answer.
            _read(selector, timeout=0)
        print("ready", flush=True)
        while selector.get_map():
            _read(selector)
    for browser in browsers:
        events = [(came, json.loads(text)) for came, text in browser.texts]
        if not events or events[-1][1]["type"] != "result":
            sys.exit(
                f"a watcher did not hear of the end: it got {len(events)} events, and the server "
                f"closed with {browser.closed}"
            )
        for came, event in events:
            written = datetime.fromisoformat(event["at"]).timestamp()
            print(browser.port, written, came)


def _read(selector: selectors.BaseSelector, timeout: float | None = None) -> None:
    """Take what has come to each browser. Forgets those whose socket has ended."""
    for key, _ in selector.select(timeout):
        if not key.data.read():
            selector.unregister(key.fileobj)


@contextmanager
def watching(port: int, path: str, cookie: str, count: int) -> Iterator[subprocess.Popen[str]]:
    """Browsers that are all let in by now."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.browsers", str(port), path, cookie, str(count)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def deliveries(process: subprocess.Popen[str]) -> list[Delivery]:
    """What came, once the operation has ended."""
    lines = process.communicate()[0].splitlines()
    assert process.returncode == 0
    return [
        Delivery(int(port), float(written), float(came))
        for port, written, came in map(str.split, lines)
    ]


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
