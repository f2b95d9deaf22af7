"""Coordination by the files and the kernel's locks of one directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from hexhub_backup.coordination import locking
from hexhub_backup.coordination.base import OPERATION
from hexhub_backup.coordination.events import EventLog, Tail
from hexhub_backup.coordination.lock import FileLock, exclusive

_ALARM = "alarm"


class DirectoryCoordinator:
    """In the directory of the depot, which all processes share.

    - `operations/{id}.jsonl`: the kept events, `….stop`: a wish to cancel
    - `running/{id}`: leads to the events of an operation that runs
    - `alarm`: leads to the word for how bad the state is, which the link of the host's pages shows
    - `lock`: who is at work; `tables.lock`: who makes our tables;
      `{verb}.lock`: who does that, one at a time
    """

    def __init__(
        self, path: Path, alone: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        """`alone` holds the database's own lock: hosts may share that, and no directory."""
        self.path = path
        self._alone = alone

    def prepare(self) -> None:
        # Whoever has made the directory has found out.
        pass

    def events(self, operation: str) -> Path:
        return self.path / "operations" / f"{operation}.jsonl"

    def log(self, operation: str, *, alone: bool = True) -> EventLog:
        return EventLog(self.events(operation), alone=alone)

    def tail(self, operation: str, after: int = 0) -> Tail:
        return Tail(self.events(operation), after)

    def has_log(self, operation: str) -> bool:
        return self.events(operation).exists()

    def remove_log(self, operation: str) -> None:
        self.events(operation).unlink(missing_ok=True)

    def is_alive(self, operation: str) -> bool:
        return locking.is_held(self.events(operation))

    def stop_wish(self, operation: str) -> Path:
        return self.path / "operations" / f"{operation}.stop"

    def wish_stop(self, operation: str) -> None:
        self.stop_wish(operation).touch(mode=0o600)

    def wishes_stop(self, operation: str) -> bool:
        return self.stop_wish(operation).exists()

    def remove_wish(self, operation: str) -> None:
        self.stop_wish(operation).unlink(missing_ok=True)

    @contextmanager
    def running(self, operation: str) -> Iterator[None]:
        """Let `is_running` say so. Its events are locked by now, until it ends or its process
        dies. Raises OSError."""
        mark = self.path / "running" / operation
        # Of a process that died before it had taken the order.
        mark.unlink(missing_ok=True)
        mark.symlink_to(Path("..", "operations", self.events(operation).name))
        try:
            yield
        finally:
            # One that stays is found to be dead.
            with suppress(OSError):
                mark.unlink()

    def is_running(self) -> bool:
        """Whether an operation runs, in whichever process. Asks no database. Raises OSError."""
        for mark in self.path.joinpath("running").glob("*"):
            if locking.is_held(mark):
                return True
            mark.unlink(missing_ok=True)
        return False

    def raise_alarm(self, level: str | None) -> None:
        """Let `alarm` say so, None for nothing. Raises OSError."""
        if self.alarm() != level:
            mark = self.path / _ALARM
            mark.unlink(missing_ok=True)
            if level is not None:
                # A link is there whole or not at all, also on a full disk.
                mark.symlink_to(level)

    def alarm(self) -> str | None:
        """How bad it was when somebody last looked: `warning`, `critical`, or None. Asks no
        database. Raises OSError."""
        try:
            return str((self.path / _ALARM).readlink())
        except FileNotFoundError:
            return None

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    def lock_of(self, verb: str) -> Path:
        """Of the verbs of which one operation runs at a time, beside others."""
        return self.path / f"{verb}.lock"

    @contextmanager
    def exclusive(self, only: str = OPERATION, *, log: object = None) -> Iterator[FileLock]:
        if only != OPERATION:
            with exclusive(self.lock_of(only), only=only) as lock:
                yield lock
            return
        with exclusive(self.lock) as lock, self._alone():
            yield lock

    def waited_for(
        self, verb: str, meanwhile: Callable[[], object]
    ) -> AbstractContextManager[None]:
        return locking.held(self.lock_of(verb), meanwhile)

    def making_tables(self) -> AbstractContextManager[object]:
        return exclusive(self.path / "tables.lock", wait=True)
