"""A server that keeps what it is sent: a monitor of pings, a receiver of Apprise's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread
from typing import Any

from tests.support.patience import PATIENCE


@dataclass(frozen=True)
class Receiver:
    """`heard` has the path and the body of each POST, in order."""

    port: int
    heard: Queue[tuple[str, str]] = field(default_factory=Queue)

    def next(self) -> tuple[str, str]:
        """The next POST, which may still be on its way."""
        return self.heard.get(timeout=PATIENCE)

    def document(self) -> dict[str, Any]:
        """The JSON of the next POST, which has arrived."""
        document: dict[str, Any] = json.loads(self.heard.get_nowait()[1])
        return document


@contextmanager
def receiver(status: int = 200) -> Iterator[Receiver]:
    """One on 127.0.0.1, which answers with a status."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            made.heard.put((self.path, body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Receiver(server.server_address[1])
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
