"""Those who watch operations live: two threads serve all of them, and none where nobody watches."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Lock, Thread
from typing import Any
from weakref import WeakValueDictionary

from flask import abort

from hexhub_backup.coordination.base import Tail
from hexhub_backup.errors import without_messages
from hexhub_backup.jobs import process
from hexhub_backup.web.texts import called
from hexhub_backup.web.websocket import Channel, GoneError, TalkedError, text_frame

_log = logging.getLogger("hexhub_backup")

#: Seconds between two looks for new events.
_SLICE = 0.05
#: Seconds between two questions whether a watcher may still watch.
_RECHECK = 3.0
#: So many events are kept as frames, for all who watch an operation.
_RECENT = 1000
#: Seconds that a client has to answer the close.
_ANSWER = 1.0

#: Why a socket is closed: RFC 6455, 7.4, and of our own a login that is over.
ENDED, TALKED, FAILED, SERVER_STOPS, NOT_ALLOWED = 1000, 1008, 1011, 1012, 4401


Say = Callable[[str], str]


def told(event: dict[str, Any], say: Say) -> dict[str, Any]:
    """An event whose message is in the language of whoever watches, as is what its record is."""
    words = {"message": say(event["message"])} if "message" in event else {}
    if event.get("record"):
        words["record"] = called(event["record"], say)
    return {**event, **words}


class Frames(dict[int, bytes]):
    """The latest events of an operation, by their seq, as they go to each of its watchers of one
    language, in which `say` says what is English."""

    def __init__(self, say: Say = str) -> None:
        self.say = say


class Watcher:
    """Somebody who watches an operation, over a channel.

    Its two methods are called by two threads, again and again, until it `is_gone`; they raise
    nothing.
    """

    def __init__(
        self,
        channel: Channel,
        tail: Tail,
        *,
        allowed: Callable[[], bool],
        runs: Callable[[], bool],
        held: ExitStack,
        frames: Frames,
    ) -> None:
        """`allowed` and `runs` say whether the watcher may still watch, and whether there may be
        more events; `held` is closed when the watcher is gone, the tail in it. The operation's
        watchers of one language share its `frames`."""
        self._channel = channel
        self._tail = tail
        self._allowed = allowed
        self._runs = runs
        self._held = held
        self._frames = frames
        #: The code and the reason to close with.
        self._verdict: tuple[int, str] | None = None
        self._over = not runs()
        self._next_check = time.monotonic() + _RECHECK
        self._closed_at: float | None = None
        self._gone = Event()

    @property
    def is_gone(self) -> bool:
        return self._gone.is_set()

    def wait(self) -> None:
        """Wait until the watcher is gone."""
        self._gone.wait()

    def send_news(self) -> None:
        """Send the events that have come. Ends when the operation does not run any more and its
        events have been sent."""
        if self.is_gone:
            return
        try:
            try:
                self._channel.look()
                self._send_news()
            except GoneError:
                raise
            except TalkedError:
                self._close(TALKED, "no message is expected")
            except Exception as error:
                self._close(*_failed(error))
        except GoneError:
            self.let_go()

    def check(self) -> None:
        """From time to time, ask whether the watcher may still watch, and whether there may be
        more events."""
        if time.monotonic() < self._next_check or self.is_gone:
            return
        try:
            if self._allowed():
                self._over = not self._runs()
            else:
                self._verdict = NOT_ALLOWED, "log in again"
        except Exception as error:
            self._verdict = _failed(error)
        self._next_check = time.monotonic() + _RECHECK

    def let_go(self) -> None:
        """Cut the connection, and give back what was held."""
        self._channel.let_go()
        self._held.close()
        self._gone.set()

    def _send_news(self) -> None:
        if self._closed_at is not None:
            # Cutting the connection now could overtake what was sent.
            if self._channel.is_sending:
                self._closed_at = time.monotonic()
            elif time.monotonic() - self._closed_at > _ANSWER:
                raise GoneError
            return
        # Events that were written before the end come with the look that follows it.
        over = self._over
        if process.is_ending():
            self._close(SERVER_STOPS, "the server stops")
        elif self._verdict is not None:
            self._close(*self._verdict)
        elif self._is_told_all() and (over or self._tail.removed):
            self._close(ENDED, "there are no more events")

    def _is_told_all(self) -> bool:
        """Send what there is. Whether that was all, and not the end."""
        if self._channel.is_behind:
            return False
        for event in self._tail.read():
            self._channel.send(self._frame(event))
            if event["type"] == "result":
                self._close(ENDED, "the operation has ended")
                return False
            if self._channel.is_behind:
                self._channel.flush()
                if self._channel.is_behind:
                    return False
        self._channel.flush()
        return True

    def _frame(self, event: dict[str, Any]) -> bytes:
        """An event as all watchers of its operation get it who read the same language."""
        frames, seq = self._frames, event["seq"]
        if seq not in frames:
            if len(frames) >= _RECENT:
                frames.clear()
            said = told(event, frames.say)
            frames[seq] = text_frame(json.dumps(said, ensure_ascii=False))
        return frames[seq]

    def _close(self, code: int, reason: str) -> None:
        if self._closed_at is None:
            self._closed_at = time.monotonic()
            self._channel.close(code, reason)


def _failed(error: Exception) -> tuple[int, str]:
    """How a channel is closed that can't go on: the client could not read an error page."""
    _log.error("the live channel failed", exc_info=without_messages(error))
    return FAILED, "the host's log has the reason"


class Watchers:
    """The watchers of this process: one thread looks for their events, another asks whether they
    may still watch, which may wait for the database."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._seats = 0
        self._watching: list[Watcher] = []
        self._looking: set[Callable[[Watcher], None]] = set()
        self._frames: WeakValueDictionary[tuple[str, str], Frames] = WeakValueDictionary()

    def frames(self, operation: str, language: str, say: Say) -> Frames:
        """The frames of an operation's latest events in a language, in which `say` says what is
        English, for as long as somebody watches it in that."""
        with self._lock:
            return self._frames.setdefault((operation, language), Frames(say))

    @contextmanager
    def seat(self, limit: int) -> Iterator[None]:
        """Hold one of `limit` seats. Aborts with 503 where all are taken."""
        with self._lock:
            if self._seats >= limit:
                abort(503, "Too many are watching already, so this page polls instead.")
            self._seats += 1
        try:
            yield
        finally:
            with self._lock:
                self._seats -= 1

    def add(self, watcher: Watcher) -> None:
        """Serve a watcher from now on. Raises RuntimeError where this process gets no thread."""
        with self._lock:
            for look in (Watcher.send_news, Watcher.check):
                if look not in self._looking:
                    Thread(target=self._look_again, args=[look], name="hexhub_backup live").start()
                    self._looking.add(look)
            self._watching.append(watcher)

    def _look_again(self, look: Callable[[Watcher], None]) -> None:
        while True:
            with self._lock:
                self._watching = watching = [each for each in self._watching if not each.is_gone]
                if not watching:
                    self._looking.discard(look)
                    return
            for watcher in watching:
                look(watcher)
            time.sleep(_SLICE)
