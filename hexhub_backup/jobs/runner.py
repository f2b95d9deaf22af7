"""Who runs orders: a thread of this process, unless the host hands in another runner."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from hexhub_backup.errors import BackupError, without_messages
from hexhub_backup.jobs import threads
from hexhub_backup.jobs.running import run

_log = logging.getLogger("hexhub_backup")


class Runner(Protocol):
    """Has an order run: in another thread, process or machine, now or later.

    Hand one to `init_app`: a CeleryRunner, an object of your own, or any function that takes an
    operation's id. Whoever runs an order calls `hexhub_backup.run(app, operation_id)`, with an app
    of its own that has the same database, backup directory and storage.
    """

    def submit(self, operation_id: str) -> None:
        """Have an order run, whose row is there by now. Whatever is raised withdraws it."""


@dataclass(frozen=True)
class FunctionRunner:
    """A function of the host's that takes an operation's id, as a runner."""

    function: Callable[[str], object]

    def submit(self, operation_id: str) -> None:
        self.function(operation_id)


@dataclass(frozen=True)
class ThreadRunner:
    """Runs each order at once, in a thread of its own. When the process is told to stop, the
    operation ends at its next chunk, and the process after it."""

    app: Any
    #: What a thread is called.
    name: str

    def submit(self, operation_id: str) -> None:
        """Raises BusyError where there is no thread."""
        threads.start(lambda: self._run(operation_id), self.name)

    def _run(self, operation_id: str) -> None:
        try:
            with self.app.app_context():
                run(self.app, operation_id)
        except BackupError:
            # It is recorded and told: by the run, or where that could not, by recovery.
            pass
        except BaseException as error:
            _log.error(
                "the thread of a %s ended with an error",
                self.name,
                exc_info=without_messages(error),
            )
