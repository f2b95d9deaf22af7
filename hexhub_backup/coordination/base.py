"""What processes ask each other: who is at work, what has happened, whether it is to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from hexhub_backup.operations.progress import Event

#: What one exclusive operation at a time holds, whatever its verb.
OPERATION = "operation"


class Lock(Protocol):
    """A lock that is held, and says who holds it."""

    def name(self, holder: dict[str, Any]) -> None:
        """Say who: `operation`, `verb`, `actor`, `started_at`."""


class Log(AbstractContextManager["Log"], Protocol):
    """The kept events of one operation, open for appending. As long as it is open, its operation
    is alive; it dies with its process."""

    #: The seq of the last event.
    last_seq: int
    #: The event that tells how the operation ended, if it has.
    result: dict[str, Any] | None

    def append(self, event: Event) -> None:
        """Keep an event, whole or not at all. Raises OSError."""

    def close(self) -> None:
        """Let go of it."""


class Tail(AbstractContextManager["Tail"], Protocol):
    """Reads on in a log, from where it last ended: in whichever process it is written."""

    def read(self) -> Iterator[dict[str, Any]]:
        """The whole events that have come since."""

    @property
    def removed(self) -> bool:
        """Whether the log has been deleted meanwhile."""


class Coordinator(Protocol):
    """What operations of several processes know of each other.

    A lock, and the life of an operation, die with whoever holds them, at once and without a clock:
    nothing is ever left behind that blocks. Its own errors are OSErrors and DatabaseErrors.
    """

    def prepare(self) -> None:
        """See whether it works here. Raises SettingError where that is never so."""

    def exclusive(
        self, only: str = OPERATION, *, log: Log | None = None
    ) -> AbstractContextManager[Lock]:
        """Take the lock of all exclusive operations, or of those of one verb, at once or not at
        all. Who has a `log` open hands it in, and needs no further connection. Raises BusyError,
        which names the holder.

        A holder without a name is only looking after what dead processes left: that is waited
        for, for a while.
        """

    def waited_for(
        self, verb: str, meanwhile: Callable[[], object]
    ) -> AbstractContextManager[None]:
        """Take the lock of a verb. As long as somebody else has it, `meanwhile` is called ten
        times a second: what that raises ends it."""

    def making_tables(self) -> AbstractContextManager[object]:
        """Take the lock of those who make our tables; wait for it."""

    # operations that run

    def log(self, operation: str, *, alone: bool = True) -> Log:
        """Open the log of an operation. Raises BlockingIOError where the operation lives in
        another process or thread, unless it is known that nobody writes there: then it need not be
        held `alone`."""

    def tail(self, operation: str, after: int = 0) -> Tail:
        """The events of an operation whose seq is greater. Raises FileNotFoundError where it has no
        log."""

    def has_log(self, operation: str) -> bool:
        """Whether there is a log of an operation."""

    def remove_log(self, operation: str) -> None:
        """Remove it, where there is one."""

    def is_alive(self, operation: str) -> bool:
        """Whether somebody, in whichever process, has the log of an operation open."""

    def wish_stop(self, operation: str) -> None:
        """Wish that an operation ends, in whichever process it runs."""

    def wishes_stop(self, operation: str) -> bool:
        """Whether somebody does."""

    def remove_wish(self, operation: str) -> None:
        """Remove the wish, where there is one."""

    def running(self, operation: str) -> AbstractContextManager[None]:
        """Let `is_running` say so, as long as the log is open."""

    def is_running(self) -> bool:
        """Whether an operation runs, in whichever process."""

    def raise_alarm(self, level: str | None) -> None:
        """Let `alarm` say so, None for nothing."""

    def alarm(self) -> str | None:
        """How bad it was when somebody last looked: `warning`, `critical`, or None."""


def kept_events(
    coordinator: Coordinator, operation: str, after: int = 0
) -> Iterator[dict[str, Any]]:
    """The whole events of an operation whose seq is greater. Nothing where there is no log."""
    try:
        tail = coordinator.tail(operation, after)
    except FileNotFoundError:
        return
    with tail:
        yield from tail.read()
