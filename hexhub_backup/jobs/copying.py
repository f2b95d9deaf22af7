"""The copies that are due: begun, each as an operation of its own, one at a time for each place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
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
        while self.destinations and (taken := copies.take_due(self.destinations, now)):
            wanted = [each for each in taken if not drop_unheld(self.history, each)]
            if wanted:
                depot = self.history.depot
                return [verbs.copy.order(depot, who, each.backup_id, each.place) for each in wanted]
        return []

    def next_at(self) -> datetime | None:
        """When the next copy is due, if one waits. Raises DatabaseError."""
        copies = self.history.catalog.copies
        return copies.next_due(self.destinations) if self.destinations else None

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
                place = order.options["place"]
                for copy in self.history.catalog.copies.of(str(order.backup)):
                    if copy.place == place:
                        yield copy, failure
