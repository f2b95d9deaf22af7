"""An operation that a runner runs elsewhere, followed to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hexhub_backup.errors import as_it_was
from hexhub_backup.history.models import Operation
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.jobs.running import Done
from hexhub_backup.operations.progress import Event
from hexhub_backup.verbs.base import Order

#: Seconds between two looks for new events, and between two at the row.
_SLICE = 0.1
_LOOK_EVERY = 1.0


@dataclass(frozen=True)
class Following:
    """Has orders run by the host's runner. `happened` is told each event, and `waits` how long an
    order has been waiting for a worker."""

    app: Any
    backups: Backups
    happened: Callable[[Event], object]
    waits: Callable[[timedelta], object]

    def run(self, order: Order) -> Done:
        """Hand an order to the runner, and follow it to its end, as if it ran here: where this
        process is told to stop, it is cancelled. Raises as `Orders.run` does."""
        orders = self.backups.orders
        if orders.stopping is not None:
            raise orders.stopping
        return self._follow(orders.start(self.app, order))

    def _follow(self, operation_id: str) -> Done:
        orders, cancelled, faults = self.backups.orders, False, list[dict[str, Any]]()
        next_look = 0.0
        with self.backups.coordinator.tail(operation_id) as tail:
            while True:
                # Whatever is in the row by now, its events were written before.
                operation = None
                if (now := time.monotonic()) >= next_look:
                    operation, next_look = self._look(operation_id), now + _LOOK_EVERY
                for event in tail.read():
                    if event["type"] == "result":
                        faults, next_look = event["faults"], 0.0
                    self.happened(event)
                if operation is not None and operation.ended:
                    return _done(operation, faults)
                if orders.stopping is not None and not cancelled:
                    orders.cancel(self.app, operation_id)
                    cancelled, next_look = True, 0.0
                time.sleep(_SLICE)

    def _look(self, operation_id: str) -> Operation | None:
        """The operation, where it has ended; and what it waits for."""
        recovery, catalog = self.backups.recovery, self.backups.catalog
        operation = catalog.operation(operation_id)
        if operation.ended:
            # It holds its locks for a moment more, and what comes next needs them.
            return None if recovery.is_alive(operation_id) else operation
        if recovery.is_due(operation):
            self.backups.recover_dead(self.app)
        elif (waited := recovery.waited(operation)) is not None:
            self.waits(waited)
        return None


def _done(operation: Operation, faults: list[dict[str, Any]]) -> Done:
    if operation.state != "completed":
        raise as_it_was(operation.code, str(operation.reason), faults)
    return Done(operation.id, operation.outcome or {}, operation.duration_seconds or 0.0)
