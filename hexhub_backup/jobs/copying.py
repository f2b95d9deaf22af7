"""The copies that are due: begun, each as an operation of its own, one at a time for each place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from hexhub_backup import verbs
from hexhub_backup.destinations.base import Destination
from hexhub_backup.errors import BackupError
from hexhub_backup.history.expiring import drop_unheld
from hexhub_backup.history.kept import History
from hexhub_backup.history.models import Copy, Who
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.orders import Orders
from hexhub_backup.verbs.base import Order

_log = logging.getLogger("hexhub_backup")

#: Who makes them, to the history.
_SCHEDULE = Who(actor="schedule")


@dataclass(frozen=True)
class Copying:
    """The copies of one app that wait for their next attempt."""

    history: History
    orders: Orders
    destinations: Mapping[str, Destination]

    def take_due(self, who: Who = _SCHEDULE, now: datetime | None = None) -> list[Order]:
        """Orders of the copies that are due: the newest of each place where none is being made.
        Each is given to one caller only, who has it run; one that is not begun is due again in
        some minutes. Call it again when they have ended. What the rules of a place would not hold
        is not wanted there any more. Raises DatabaseError."""
        copies, now = self.history.catalog.copies, now or utc_now()
        while (places := self._free()) and (taken := copies.take_due(places, now)):
            wanted = [each for each in taken if not drop_unheld(self.history, each)]
            if wanted:
                depot = self.history.depot
                return [verbs.copy.order(depot, who, each.backup_id, each.place) for each in wanted]
        return []

    def next_at(self) -> datetime | None:
        """When the next copy is due, if one waits for a place where none is being made: whoever
        ends that one looks for the next. Raises DatabaseError."""
        places = self._free()
        return self.history.catalog.copies.next_due(places) if places else None

    def _free(self) -> list[str]:
        """The destinations where no copy is being made, and none waits for a worker."""
        if not self.destinations:
            return []
        busy = verbs.copy.places_of(self.history.catalog.unfinished_operations())
        return [each for each in self.destinations if each not in busy]

    def start_due(self, app: Any) -> None:
        """Have the copies that are due made elsewhere: by threads, or the host's runner. What goes
        wrong is logged: whoever calls it has done something else."""
        try:
            due = self.take_due()
        except BackupError as error:
            _log.error("the copies that are due have to wait: %s", error)
            return
        for order in due:
            try:
                self.orders.start(app, order)
            except BackupError as error:
                _log.error("a copy of backup %s has to wait: %s", order.backup, error)
                self.put_off(order, error)

    def put_off(self, order: Order, error: BackupError) -> None:
        """Let a copy wait whose order was refused. Where that can't be written, it is due again in
        some minutes."""
        with suppress(BackupError):
            verbs.copy.put_off(self.history.catalog, order, error)

    def run_due(
        self, app: Any, who: Who, run: Callable[[Order], object] | None = None
    ) -> Iterator[tuple[Copy, BackupError | None]]:
        """Make the copies that are due here, in this thread, or have each made by `run`. Gives each
        as it is then, and what ended it."""
        run = run or partial(self.orders.run, app)
        while orders := self.take_due(who):
            for order in orders:
                failure = None
                try:
                    run(order)
                except BackupError as error:
                    failure = error
                    self.put_off(order, error)
                place = order.options["place"]
                for copy in self.history.catalog.copies.of(str(order.backup)):
                    if copy.place == place:
                        yield copy, failure
