"""What an app has: its backups, as parts that have names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, cast

from hexhub_backup.coordination.base import Coordinator
from hexhub_backup.depot.base import Depot
from hexhub_backup.destinations.base import Destination, find
from hexhub_backup.errors import BackupError, BusyError, SettingError
from hexhub_backup.history.adopting import may_grow, without_row
from hexhub_backup.history.kept import History
from hexhub_backup.history.models import Operation
from hexhub_backup.history.places import Places
from hexhub_backup.history.plans import Plans
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.jobs.copying import Copying
from hexhub_backup.jobs.ending import as_backup_error
from hexhub_backup.jobs.orders import Orders
from hexhub_backup.jobs.pings import Pings
from hexhub_backup.jobs.receivers import Audit, AuditLog, LogLines
from hexhub_backup.jobs.recovery import Recovery
from hexhub_backup.jobs.runner import Runner
from hexhub_backup.operations.check import Checked, check
from hexhub_backup.operations.release_check import ReleaseCheck
from hexhub_backup.registry.base import Registry
from hexhub_backup.settings import Settings, rules_of
from hexhub_backup.storage.base import Storage
from hexhub_backup.verbs.base import CheckRestored, Context
from hexhub_backup.verbs.remains import remove_day_old
from hexhub_backup.watching.alerts import Alerts
from hexhub_backup.watching.channels import Channels, OnAlert
from hexhub_backup.watching.keys import Keys
from hexhub_backup.watching.status import Status, status

_log = logging.getLogger("hexhub_backup")


def backups_of(app: Any) -> Backups:
    """Those that `init_app` gave an app."""
    return cast(Backups, app.extensions["hexhub_backup"])


class Backups:
    """The backups of one app. The app is handed in with each call: nothing here keeps it.

    - `orders`: what is asked for, run and cancelled; the orders are made by `hexhub_backup.verbs`
    - `history`: the backups and operations that are remembered
    - `alerts`: tells of what is wrong, and when that is over
    - `plans`: what inspections have left
    - `copying`: the copies that are due
    - `recovery`: what becomes of operations whose process is dead
    - `catalog`, `depot`, `coordinator`: our tables, the files, who is at work
    - `settings`, `registry`, `storage`, `check_restored`, `check_release`, `destinations` (by their
      names): what `init_app` was handed
    """

    def __init__(
        self,
        *,
        settings: Settings,
        registry: Registry,
        storage: Storage,
        catalog: Catalog,
        depot: Depot,
        coordinator: Coordinator,
        audit: Audit | None,
        runner: Runner | None,
        destinations: Mapping[str, Destination],
        on_alert: OnAlert | None,
        check_restored: CheckRestored | None,
        check_release: ReleaseCheck | None,
        generator: str,
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.storage = storage
        self.destinations = destinations
        self.check_restored = check_restored
        self.check_release = check_release
        self.catalog = catalog
        self.depot = depot
        self.coordinator = coordinator
        #: When the depot had changed, by its own clock, before this process looked for archives.
        self.looked_at: float | None = None
        #: Whether this process has seen that it can run operations.
        self.has_places = False
        self.history = History(
            catalog,
            self.depot,
            settings.rules,
            {name: rules_of(each, settings) for name, each in destinations.items()},
        )
        self.alerts = Alerts(
            engine=catalog.engine, status=self.status, channels=Channels(settings, on_alert)
        )
        self.plans = Plans(catalog, self.depot)
        self.recovery = Recovery(
            catalog,
            self.coordinator,
            self.depot,
            storage,
            self.context,
            patience=timedelta(seconds=settings.worker_timeout),
        )
        self.orders = Orders(
            catalog=catalog,
            coordinator=self.coordinator,
            depot=self.depot,
            recovery=self.recovery,
            context=self.context,
            runner=runner,
        )
        self.copying = Copying(self.history, self.orders, destinations)
        self._generator = generator
        self._receivers: list[AuditLog | LogLines | Pings] = [
            AuditLog(audit or catalog.add_audit_event),
            LogLines(),
        ]
        if settings.ping_url is not None:
            self._receivers.append(Pings(settings.ping_url))

    def status(self, now: datetime) -> Status:
        """Whether the registry is protected; the link in the host's navigation says it from now
        on. Raises DatabaseError."""
        found = status(self.history, self.settings, self.destinations, now)
        with suppress(OSError):
            self.coordinator.raise_alarm(None if found.level == "fine" else found.level)
        return found

    @property
    def keys(self) -> Keys:
        """The keys that copies are encrypted to."""
        return Keys(self.history, self.settings, self.destinations)

    def check(self, name: str) -> Checked:
        """Try the destination of a name, and remember what that has found. Raises NotFoundError,
        DatabaseError."""
        destination = find(self.destinations, name)
        found = check(destination)
        Places(self.catalog.engine).check(destination, found, utc_now())
        return found

    def context(self, app: Any, operation: Operation, run_token: str) -> Context:
        """What a verb works with."""
        return Context(
            app=app,
            operation=operation,
            run_token=run_token,
            settings=self.settings,
            registry=self.registry,
            storage=self.storage,
            destinations=self.destinations,
            coordinator=self.coordinator,
            depot=self.depot,
            catalog=self.catalog,
            history=self.history,
            plans=self.plans,
            check_restored=self.check_restored,
            generator=self._generator,
            check_release=self.check_release,
        )

    def connect(self, app: Any) -> None:
        """Listen to the signals of an app."""
        for receiver in self._receivers:
            receiver.connect(app)

    def prepare(self, app: Any) -> bool:
        """Make the directory and the tables, and put right what a dead process left, unless an
        operation is running. False where it has to be done again; see `make`. Raises
        BackupError."""
        if not self.make():
            _log.error("%s", self.depot.trouble() or f"{self.depot.location} can't be written.")
            return False
        self._recover(app)
        return True

    def make(self) -> bool:
        """Make the directory, and the tables unless the host does. False where the directory can't
        be read or written, and the tables are there: its state is told, and that is what they are
        for. Raises BackupError."""
        try:
            if self.settings.create_tables:
                self.create_tables()
            else:
                self.make_places()
                self.catalog.check_tables()
        except (SettingError, OSError) as error:
            if not self.catalog.has_tables():
                raise as_backup_error(error, "preparation") from error
            return False
        return True

    def create_tables(self) -> None:
        """Make our tables where they are missing, and upgrade those of an older release. Raises
        BackupError."""
        self.make_places()
        with self.coordinator.making_tables():
            self.catalog.create_tables()

    def make_places(self) -> None:
        """Make this machine's directory, and see that it can share what it has to. Raises
        SettingError, OSError."""
        self.depot.prepare()
        self.coordinator.prepare()
        self.has_places = True

    def recover_dead(self, app: Any) -> None:
        """Put right what is not settled and run by nobody, and add the archives that have come
        into the depot, unless an operation is running."""
        dead = any(map(self.recovery.is_due, self.catalog.unsettled_operations()))
        if dead and not self._recover(app):
            return
        changed_at = self.depot_changed_at()
        if changed_at is None:
            return
        if without_row(self.catalog, self.depot) and not self._recover(app):
            return
        if not any(may_grow(self.depot, each) for each in without_row(self.catalog, self.depot)):
            self.looked_at = changed_at

    def depot_changed_at(self) -> float | None:
        """When a file last came into the depot or went; None where this process has looked for
        archives since, or that can't be told."""
        changed_at = self.depot.changed_at()
        return None if changed_at == self.looked_at else changed_at

    def _recover(self, app: Any) -> bool:
        """Whether there was no reason to try it again later."""
        try:
            self.recovery.end_not_taken(app)
            with self.coordinator.exclusive():
                self.recovery(app)
        except BusyError:
            return False
        except (BackupError, OSError) as error:
            # The next look tries it again, and the next operation, which is refused if it fails.
            _log.error("recovery has to be tried again: %s", error)
            return False
        return True

    def remove_day_old(self) -> None:
        """Remove uploads that are a day old, and their plans. Raises BusyError."""
        with self.coordinator.exclusive():
            remove_day_old(self.catalog, self.depot)
