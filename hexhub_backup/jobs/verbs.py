"""What an admin can do, each verb once: the pages and the command line call the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from hexhub_backup import signals
from hexhub_backup.errors import BackupError, BusyError, NotFoundError
from hexhub_backup.history import locking
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.jobs.announcing import announce_backup
from hexhub_backup.jobs.kept import Who
from hexhub_backup.jobs.lock import exclusive
from hexhub_backup.jobs.receivers import Audit, AuditLog, LogLines
from hexhub_backup.jobs.recovery import Recovery
from hexhub_backup.jobs.remains import remove_day_old, remove_remains
from hexhub_backup.jobs.restores import Restores
from hexhub_backup.jobs.runner import Done, Job, Runner
from hexhub_backup.operations import create, prune, verify
from hexhub_backup.operations.progress import Progress
from hexhub_backup.registry.base import Registry
from hexhub_backup.settings import Settings
from hexhub_backup.storage.base import Storage

__all__ = ["Backups", "Who"]

_log = logging.getLogger("hexhub_backup")

PRUNE_EVERY = timedelta(days=1)


class Backups(Restores):
    """The backups of one app. `app` is handed in with each call: nothing here keeps it.

    What takes a while is a Job, which `run` runs here and `start` in a thread of its own.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        registry: Registry,
        storage: Storage,
        catalog: Catalog,
        audit: Audit | None,
        generator: str,
    ) -> None:
        super().__init__(
            settings=settings,
            registry=registry,
            storage=storage,
            catalog=catalog,
            generator=generator,
        )
        self._recovery = Recovery(
            catalog=catalog,
            directory=self.directory,
            registry=registry,
            storage=storage,
            retention_days=settings.retention_days,
        )
        self.runner = Runner(catalog, self.directory, self._recovery, settings.retention_days)
        self._receivers = (AuditLog(audit or catalog.add_audit_event), LogLines())

    def connect(self, app: Any) -> None:
        """Listen to the signals of an app."""
        for receiver in self._receivers:
            receiver.connect(app)

    def prepare(self, app: Any) -> None:
        """Make the directory and the tables, and put right what a dead process left, unless an
        operation is running. Raises BackupError."""
        self.directory.prepare()
        if self.settings.create_tables:
            self.create_tables()
        self._recover(app)

    def _recover(self, app: Any) -> None:
        try:
            with exclusive(self.directory.lock), self.catalog.alone():
                self._recovery(app)
        except BusyError:
            return
        except (BackupError, OSError) as error:
            # The next look tries it again, and the next operation, which is refused if it fails.
            _log.error("recovery has to be tried again: %s", error)

    def recover_dead(self, app: Any) -> None:
        """Put right what is not settled and run by nobody, unless an operation is running."""
        if not all(map(self.is_alive, self.catalog.unsettled_operations())):
            self._recover(app)

    def is_alive(self, operation: str) -> bool:
        """Whether somebody, in whichever process, runs an operation."""
        return locking.is_held(self.directory.events(operation))

    def create_tables(self) -> None:
        """Make our tables where they are missing. Raises BackupError."""
        self.directory.prepare()
        with exclusive(self.directory.tables_lock, wait=True):
            self.catalog.create_tables()

    def run(self, job: Job) -> Done:
        """Run a job to its end; see Runner."""
        return self.runner.run(job)

    def start(self, job: Job) -> str:
        """Run a job in a thread of its own; gives the operation's id. See Runner."""
        return self.runner.start(job)

    # create, verify

    def create(self, app: Any, who: Who) -> Job:
        """Back up the registry."""

        def work(operation: str, progress: Progress) -> dict[str, Any]:
            return self.archive(operation, who, progress)

        def announce(outcome: dict[str, Any]) -> None:
            operation = outcome["operation"]
            announce_backup(
                app,
                operation,
                outcome,
                backup=operation,
                actor=who.actor,
                address=who.address,
                archive=self.directory.archive(operation),
            )

        return _job(app, who, "create", create.STEPS, work, announce=announce)

    def verify(self, app: Any, who: Who, name: str) -> Job:
        """Check an archive; `name` is a backup's id or a path. Raises NotFoundError."""
        path, backup = self.find(name)

        def work(operation: str, progress: Progress) -> dict[str, Any]:
            folder = self.directory.plan(operation)
            folder.mkdir(mode=0o700)
            try:
                return verify.verify(archive=path, index=folder / "index.sqlite", progress=progress)
            finally:
                self.directory.remove_plan(operation)

        return _job(
            app, who, "verify", verify.STEPS, work, backup=backup, archive=path, alone=False
        )

    def cancel(self, operation: str) -> None:
        """Let an operation, in whichever process, end at its next chunk. Raises NotFoundError."""
        if self.catalog.operation(operation).state == "running":
            self.directory.stop_wish(operation).touch(mode=0o600)

    # prune

    def expired(self) -> list[str]:
        """What `prune` would delete now. Raises PruneRefusedError."""
        return prune.expired(self.backups(), utc_now())

    def remove_day_old(self) -> None:
        """Remove uploads that are a day old, and their plans. Raises BusyError."""
        with exclusive(self.directory.lock):
            remove_day_old(self.catalog, self.directory)

    def prune(self, app: Any, who: Who) -> Job:
        """Delete what has expired, and what is left of old operations. A prune that is refused
        stays due."""

        def work(_: str, progress: Progress) -> dict[str, Any]:
            deleted: list[str] = []
            # First: what holds password hashes goes also where the rest is refused.
            with progress.step("delete_remains"):
                old = remove_remains(
                    self.catalog, self.directory, self.storage, self.settings.retention_days
                )
            with progress.step("delete_backups"):
                for backup in self.expired():
                    progress.check()
                    try:
                        self.delete(app, who, backup, reason="expired")
                    except (BusyError, NotFoundError):
                        progress.log(f"Backup {backup} is in use: it stays until the next time.")
                    else:
                        deleted.append(backup)
            self.catalog.set_due("prune", utc_now() + PRUNE_EVERY)
            return {"backups": deleted, "operations": old}

        def announce(outcome: dict[str, Any]) -> None:
            signals.emit(
                signals.backups_pruned,
                app,
                operation=outcome["operation"],
                actor=who.actor,
                backups=outcome["backups"],
            )

        return _job(app, who, "prune", prune.STEPS, work, announce=announce)


def _job(
    app: Any,
    who: Who,
    verb: str,
    steps: Sequence[str],
    work: Callable[[str, Progress], dict[str, Any]],
    **more: Any,
) -> Job:
    return Job(
        app=app,
        verb=verb,
        steps=steps,
        work=work,
        actor=who.actor,
        address=who.address,
        **more,
    )
