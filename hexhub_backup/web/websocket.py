"""Our end of a websocket that is never waited for, so that one thread serves many."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from contextlib import suppress
from typing import Any, Protocol

from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, Event, Message, Ping, TextMessage
from wsproto.utilities import ProtocolError

#: Seconds without a sign of the client after which it is pinged.
_PING = 20.0
#: Seconds after which a client is dropped that reads nothing.
_PATIENCE = 5.0
#: Bytes that wait for a client to read them: more are held back until it has read some.
_BEHIND = 65536

#: What a socket raises that has nothing to read, or no room to write.
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class GoneError(Exception):
    """The client is gone, or does not answer."""


class TalkedError(Exception):
    """The client has sent a message."""


def text_frame(text: str) -> bytes:
    """A text as it goes to any client: not compressed, which needs nobody's consent (RFC 7692, 6).
    Raises UnicodeEncodeError."""
    return Connection(ConnectionType.SERVER).send(TextMessage(data=text))


class Framing(Protocol):
    """What is used of wsproto's connection, whose handshake is over."""

    def send(self, event: Event) -> bytes: ...
    def receive_data(self, data: bytes | None) -> None: ...
    def events(self) -> Any: ...


class Channel:
    """Sends texts to a client, and answers its pings. No method waits for the client.

    Each method raises GoneError where the client is gone, or has read or answered nothing for too
    long.
    """

    def __init__(self, sock: socket.socket, framing: Framing) -> None:
        sock.settimeout(0)
        self._sock = sock
        self._framing = framing
        self._unsent = b""
        self._read_at = self._heard_at = time.monotonic()
        self._pinged_at: float | None = None
        self._closes = False

    @property
    def is_sending(self) -> bool:
        """Whether anything waits for the client."""
        return bool(self._unsent)

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for the client that it is to read first."""
        return len(self._unsent) > _BEHIND

    def send(self, frame: bytes) -> None:
        """Send a frame with the next `flush`."""
        if not self._unsent:
            self._read_at = time.monotonic()
        self._unsent += frame

    def flush(self) -> None:
        """Send what waits, as much of it as the client takes."""
        if not self._unsent:
            return
        try:
            sent = self._sock.send(self._unsent)
        except _NOT_NOW:
            if time.monotonic() - self._read_at > _PATIENCE:
                raise GoneError from OSError(errno.ETIMEDOUT, "the client reads nothing")
            return
        except OSError as error:
            raise GoneError from error
        self._read_at = time.monotonic()
        self._unsent = self._unsent[sent:]

    def close(self, code: int, reason: str) -> None:
        """Say that it is over: `look` raises GoneError when the client has answered."""
        self._closes = True
        self._send(CloseConnection(code, reason))

    def look(self) -> None:
        """Read what the client has sent, and answer it. Raises TalkedError."""
        try:
            data = self._sock.recv(4096)
        except _NOT_NOW:
            pass
        except OSError as error:
            raise GoneError from error
        else:
            self._receive(data)
        self.flush()
        self._ping()

    def let_go(self) -> None:
        """Cut the connection. A server may close it too."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _receive(self, data: bytes) -> None:
        if not data:
            raise GoneError
        self._heard_at, self._pinged_at = time.monotonic(), None
        try:
            self._framing.receive_data(data)
            for event in self._framing.events():
                if isinstance(event, CloseConnection):
                    if not self._closes:
                        self._send(event.response())
                    raise GoneError
                if self._closes:
                    continue
                if isinstance(event, Message):
                    raise TalkedError
                if isinstance(event, Ping):
                    self._send(event.response())
        except ProtocolError as error:
            raise GoneError from error

    def _ping(self) -> None:
        now = time.monotonic()
        if self._pinged_at is not None and now - self._pinged_at > _PING:
            raise GoneError
        if self._pinged_at is None and now - self._heard_at > _PING and not self._closes:
            self._pinged_at = now
            self._send(Ping())

    def _send(self, event: Event) -> None:
        try:
            self.send(self._framing.send(event))
        except ProtocolError as error:
            raise GoneError from error
        self.flush()
