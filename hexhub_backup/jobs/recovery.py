"""What a dead process left behind: finished where it has happened, taken back where it has not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hexhub_backup.coordination.base import Coordinator
from hexhub_backup.depot.base import Depot
from hexhub_backup.due import every, is_due
from hexhub_backup.errors import BackupError, InterruptedOperationError, NotTakenError
from hexhub_backup.formatting import span
from hexhub_backup.history.adopting import adopt
from hexhub_backup.history.models import QUEUED, Operation
from hexhub_backup.history.run_decisions import RunDecisions
from hexhub_backup.history.store import Catalog
from hexhub_backup.history.transactions import now
from hexhub_backup.jobs.ending import as_backup_error, ending
from hexhub_backup.jobs.record import Record, tell_end
from hexhub_backup.jobs.running import abandon, new_token
from hexhub_backup.notices import notice
from hexhub_backup.operations.commit_protocol import give_up
from hexhub_backup.storage.base import Storage
from hexhub_backup.verbs import VERBS
from hexhub_backup.verbs.base import Context, Verb

_log = logging.getLogger("hexhub_backup")

_DIED = InterruptedOperationError("The server process that ran it stopped unexpectedly.")
_NEVER_RUN = InterruptedOperationError("The server process stopped before it began.")
#: How long an order may wait whose log is not here: its process may have another directory.
_ELSEWHERE = timedelta(minutes=1)


@dataclass(frozen=True)
class Recovery:
    """Puts right what is left of operations whose process is dead. Only under the lock.

    `patience` is how long an order waits for a worker.
    """

    catalog: Catalog
    coordinator: Coordinator
    depot: Depot
    storage: Storage
    context: Callable[[Any, Operation, str], Context]
    patience: timedelta

    def is_due(self, operation: Operation) -> bool:
        """Whether nobody runs, or will run, an operation that is not settled. False where that
        can't be told, as the backup directory can't be read."""
        try:
            return not self._waits(operation) and not self.is_alive(operation.id)
        except OSError:
            return False

    def is_alive(self, operation: str) -> bool:
        """Whether somebody, in whichever process, runs an operation, or has taken the order."""
        return self.coordinator.is_alive(operation)

    def waited(self, operation: Operation) -> timedelta | None:
        """For how long an order has been waiting for a worker; None where it does not. Raises
        DatabaseError."""
        if operation.state != QUEUED or operation.bound:
            return None
        return max(now(self.catalog.engine) - operation.queued_at, timedelta())

    def _waits(self, operation: Operation) -> bool:
        """Whether a runner may still come for an order."""
        if operation.state != QUEUED:
            return False
        if operation.bound and self.coordinator.has_log(operation.id):
            return False
        wait = _ELSEWHERE if operation.bound else self.patience
        return not is_due(operation.queued_at + wait, every(wait), now(self.catalog.engine))

    def end_not_taken(self, app: Any) -> None:
        """End the orders that no worker has taken in time. It takes no lock: of a worker that comes
        just now and this one, the database lets one have the order. Raises BackupError, OSError.
        """
        for operation in self.catalog.unfinished_operations():
            waits_for_worker = operation.state == QUEUED and not operation.bound
            if waits_for_worker and operation.verb in VERBS and not self._waits(operation):
                error = NotTakenError(
                    f"No worker took it within {span(self.patience)}: see that one runs, takes "
                    "what is in the queue, and is not busy with something else, and start again."
                )
                abandon(self.context(app, operation, new_token()), error)

    def __call__(self, app: Any) -> None:
        """Idempotent. One that can not be put right does not keep the others from it.

        Raises BackupError, OSError: then it is tried again at the next look.
        """
        failed: list[BackupError] = []
        with _later(failed):
            self.end_not_taken(app)
        for operation in self.catalog.unsettled_operations():
            if (verb := VERBS.get(operation.verb)) is None:
                _log.error("%s %s is of another release", operation.verb, operation.id)
            elif (operation.bound or operation.state != QUEUED) and not self._waits(operation):
                with suppress(BlockingIOError), _later(failed):
                    self._settle(app, verb, operation)
        for name in self.storage.staged():
            with _later(failed):
                self._clear(app, name)
        self.depot.remove_partials()
        if failed:
            raise failed[0]
        adopt(self.catalog, self.depot)

    def _settle(self, app: Any, verb: Verb, operation: Operation) -> None:
        """Give an operation that does not run any more its final state. Raises BlockingIOError
        where it does."""
        with self.coordinator.log(operation.id) as log:
            token, died = new_token(), _NEVER_RUN if operation.state == QUEUED else _DIED
            # As it is now: whoever held its log may have ended it meanwhile.
            operation = self.catalog.claim(operation.id, token)
            if operation.ended and (operation.decided_at is None or operation.state == "completed"):
                return
            context = self.context(app, operation, token)
            record = Record(context, verb, log)
            if operation.decided_at is None and record.result is not None:
                # It has ended and told so, but the history could not be written then.
                record.write(record.result)
                tell_end(app, operation, _ended(record.result), record.result)
            elif verb.happened(context):
                outcome = verb.finish(context)
                verb.announce(context, outcome)
                self._end(context, record, outcome=outcome, warnings=[_recovered()])
            else:
                verb.give_up(context)
                self._end(context, record, error=died)

    def _clear(self, app: Any, name: str) -> None:
        """Finish or take back what an operation, whose row may be gone, has staged."""
        if RunDecisions(self.catalog.engine, "").decided(name):
            operation = self.catalog.operation(name)
            VERBS[operation.verb].finish(self.context(app, operation, ""))
        else:
            depot = self.depot
            undo_set, changed = depot.kept("undo_set", name), depot.kept("changed", name)
            give_up(name, self.storage, undo_set, changed)

    def _end(
        self,
        context: Context,
        record: Record,
        *,
        error: BackupError | None = None,
        outcome: dict[str, Any] | None = None,
        warnings: Sequence[dict[str, Any]] = (),
    ) -> None:
        if outcome is not None:
            outcome = {
                **outcome,
                "operation": context.operation.id,
                "warnings": [*outcome.get("warnings", []), *warnings],
                "warning_count": outcome.get("warning_count", 0) + len(warnings),
            }
        warning_count = 0 if outcome is None else outcome["warning_count"]
        ended = ending(error, outcome=outcome, warning_count=warning_count)
        event = record.end(ended, patient=False)
        tell_end(context.app, context.operation, ended, event)


@contextmanager
def _later(failed: list[BackupError]) -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise
    except Exception as error:
        failed.append(as_backup_error(error, "recovery"))


def _ended(result: dict[str, Any]) -> dict[str, Any]:
    """What the event that told the end of an operation says of it."""
    return {name: value for name, value in result.items() if name not in ("seq", "at", "type")}


def _recovered() -> dict[str, Any]:
    return notice("recovered", None, "finished").as_json()
