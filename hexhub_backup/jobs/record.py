"""The truth about one operation: its kept events and its rows, written by the one who runs it."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import Any

from hexhub_backup import signals
from hexhub_backup.coordination.base import Log
from hexhub_backup.errors import log_text, without_messages
from hexhub_backup.history.models import Operation
from hexhub_backup.history.store import utc_now
from hexhub_backup.operations.decisions import patiently
from hexhub_backup.operations.progress import Event
from hexhub_backup.verbs.base import Context, Verb

_log = logging.getLogger("hexhub_backup")


class Record:
    """The record of an operation, open for as long as the operation lives; see `Log`.

    The event that tells how it ended is kept first and the rows are written after it, so that
    recovery can make up for rows that could not be written.
    """

    def __init__(self, context: Context, verb: Verb, log: Log) -> None:
        #: The event that tells how the operation ended, if it has.
        self.result = log.result
        self._context = context
        self._verb = verb
        self._log = log
        self._seq = log.last_seq
        self._fails = False

    def keep(self, event: Event) -> Event:
        """Number an event and keep it. An operation doesn't end because its events can't be
        kept; the log is told once."""
        self._seq += 1
        stamped = {"seq": self._seq, "at": datetime.now(timezone.utc).isoformat(), **event}
        try:
            self._log.append(stamped)
        except OSError as error:
            if not self._fails:
                _log.error("events of %s are lost: %s", self._context.operation.id, error)
            self._fails = True
        return stamped

    def end(self, ended: dict[str, Any], *, patient: bool) -> Event:
        """Keep how the operation ended, and write it into its rows; gives the event.

        `ended` has what `ending` returns. Who
        is `patient` tries for a while, and leaves what fails to recovery; otherwise raises
        DatabaseError.
        """
        event = self.keep({"type": "result", **ended})
        if patient:
            self._write_patiently(ended)
        else:
            self.write(ended)
        return event

    def _write_patiently(self, ended: dict[str, Any]) -> None:
        try:
            patiently(lambda: self.write(ended))
        except Exception as error:
            _log.error(
                "how the %s %s ended could not be recorded, and recovery has to do it: %s",
                self._verb.name,
                self._context.operation.id,
                log_text(error),
                exc_info=without_messages(error),
            )

    def write(self, ended: dict[str, Any]) -> None:
        """Write how the operation ended into its rows; idempotent. Raises DatabaseError.

        Nothing is written where another process has taken the operation meanwhile: how it ended
        is told by that one.
        """
        context = self._context
        catalog, operation = context.catalog, context.operation.id
        if not catalog.is_run_by(operation, context.run_token):
            _log.error("another process has ended the %s %s meanwhile", self._verb.name, operation)
            return
        # The verb's own rows first: recovery comes back to an operation that is not finished, and
        # to no other row.
        self._verb.end(context, ended)
        outcome = ended["outcome"]
        catalog.finish_operation(
            operation,
            run_token_was=context.run_token,
            state=ended["state"],
            reason=ended["reason"],
            code=ended["code"],
            finished_at=utc_now(),
            duration_seconds=ended["duration_seconds"],
            **({} if outcome is None else {"outcome": outcome}),
        )


def tell_end(app: Any, operation: Operation, ended: dict[str, Any], event: Event) -> None:
    """Send `operation_finished`, of what is recorded by now."""
    signals.emit(signals.operation_finished, app, **operation.about, **ended, event=event)
