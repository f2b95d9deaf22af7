"""The verbs around a restore: inspect, restore, undo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from hexhub_backup.archive.reader import ArchiveReader
from hexhub_backup.archive.records import PACKAGES
from hexhub_backup.errors import ChangedError, NotFoundError, RefusedError
from hexhub_backup.history.directory import BackupDirectory, new_id
from hexhub_backup.history.models import Backup, Operation
from hexhub_backup.history.retention import expiry
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.jobs.announcing import announce_backup, announce_restore, announce_undo
from hexhub_backup.jobs.kept import KeptBackups, Who
from hexhub_backup.jobs.runner import Job
from hexhub_backup.operations import create, inspection, refused, restore, undo
from hexhub_backup.operations.changed import Names, changed_names
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.plan import Plan
from hexhub_backup.operations.progress import Progress, Within
from hexhub_backup.registry.base import Registry
from hexhub_backup.settings import Settings
from hexhub_backup.storage.base import Storage

#: The step of a restore in which the registry is backed up as it is.
BACKUP_FIRST = "back_up_first"


class Restores(KeptBackups):
    """Inspect, restore and undo as Jobs; see `Backups`."""

    def __init__(
        self,
        *,
        settings: Settings,
        registry: Registry,
        storage: Storage,
        catalog: Catalog,
        generator: str,
    ) -> None:
        super().__init__(catalog, BackupDirectory(settings.path), settings.retention_days)
        self.settings = settings
        self.registry = registry
        self.storage = storage
        self._generator = generator

    def archive(self, backup: str, who: Who, progress: Progress) -> dict[str, Any]:
        """Write the archive of a new backup; see `create`."""
        with self.directory.work() as folder:
            return create.create(
                registry=self.registry,
                storage=self.storage,
                partial=self.directory.partial(backup),
                archive=self.directory.archive(backup),
                work=Path(folder),
                created_by=who.actor,
                generator=self._generator,
                host_version=self.settings.host_version,
                progress=progress,
            )

    # inspect

    def inspect(self, app: Any, who: Who, name: str, choice: Choice) -> Job:
        """Plan a restore of a backup, by id or path. The operation's id is the plan's. Raises
        NotFoundError."""
        path, backup = self.find(name)
        return self._inspection(app, who, path, backup, choice=choice)

    def inspect_again(self, app: Any, who: Who, plan: str, choice: Choice) -> Job:
        """Plan a restore of the archive of another plan, for another choice or another admin.
        Raises NotFoundError."""
        inspected = self._inspected(plan)
        archive = Path(inspected.options["archive"])
        if not archive.exists():
            raise NotFoundError(
                f"The archive of plan {plan} is not there any more: start from the file again."
            )
        return self._inspection(
            app, who, archive, inspected.backup_id, choice=choice, before=self.directory.plan(plan)
        )

    def _inspection(
        self,
        app: Any,
        who: Who,
        path: Path,
        backup: str | None,
        *,
        choice: Choice,
        before: Path | None = None,
    ) -> Job:
        def work(operation: str, progress: Progress) -> dict[str, Any]:
            try:
                return inspection.inspect(
                    archive=path,
                    folder=self.directory.plan(operation),
                    registry=self.registry,
                    storage=self.storage,
                    choice=choice,
                    actor=who.actor,
                    progress=progress,
                    before=before,
                    without=map(self.directory.refused, choice.without),
                )
            except BaseException:
                self.directory.remove_plan(operation)
                if before is None:
                    # Nothing leads back to it.
                    self.directory.remove_upload(path)
                raise

        return Job(
            app=app,
            verb="inspect",
            steps=inspection.STEPS if before is None else inspection.STEPS_AGAIN,
            work=work,
            actor=who.actor,
            address=who.address,
            backup=backup,
            archive=path,
            options={
                "archive": str(path),
                "choice": choice.as_json(),
                **({} if before is None else {"before": before.name}),
            },
            alone=False,
        )

    def plan(self, plan: str) -> Plan:
        """The plan of an inspect operation, to be closed. Raises NotFoundError."""
        self._inspected(plan)
        return Plan(self.directory.plan(plan) / "plan.sqlite")

    def packages_of(self, plan: str, *, at_most: int) -> list[str] | None:
        """The names of all packages in the archive of a plan, chosen or not; None where there
        are more than `at_most`. Raises NotFoundError where the plan or the archive is gone,
        ArchiveError where that is another one by now."""
        archive = Path(self._inspected(plan).options["archive"])
        with ArchiveReader.reopen(archive, self.directory.plan(plan) / "index.sqlite") as reader:
            if reader.count(PACKAGES) > at_most:
                return None
            return [PACKAGES.key_of(record)[0] for _, record in reader.records(PACKAGES)]

    def has_plan(self, operation: Operation) -> bool:
        """Whether an operation is an inspect whose plan is still there."""
        there = (self.directory.plan(operation.id) / "plan.sqlite").exists()
        return operation.verb == "inspect" and operation.state == "completed" and there

    def carried_out_by(self, plan: Operation) -> Operation | None:
        """The restore that did what a plan said, where one did."""
        return self.catalog.completed_operation("restore", "plan", plan.id, since=plan.started_at)

    def _inspected(self, plan: str) -> Operation:
        inspected = self.catalog.operation(plan)
        if not self.has_plan(inspected):
            raise NotFoundError(f"There is no plan {plan} any more: inspect the archive again.")
        return inspected

    # restore

    def restore(self, app: Any, who: Who, plan: str, *, backup_first: bool = False) -> Job:
        """Do what a plan says; `plan` is the id of its inspect operation. Raises NotFoundError,
        ChangedError where it was made for another admin."""
        inspected = self._inspected(plan)
        if inspected.actor != who.actor:
            raise ChangedError(
                f"The plan {plan} was made for {inspected.actor}, whose own account it spares: "
                "inspect the archive yourself."
            )

        def work(operation: str, progress: Progress) -> dict[str, Any]:
            first = {}
            if backup_first:
                with closing(self.plan(plan)) as found:
                    progress.expect(restore.expected(found))
                first["backup_first"] = self._back_up_first(app, who, operation, progress)
            with self._keeping_refused(operation, plan):
                done = restore.restore(
                    operation_id=operation,
                    folder=self.directory.plan(plan),
                    undo_set=self.directory.undo_set(operation),
                    changed=self.directory.changed(operation),
                    registry=self.registry,
                    storage=self.storage,
                    catalog=self.catalog,
                    progress=progress,
                )
            # It holds password hashes, and is not true any more. Where it can't be removed now,
            # prune does it: the restore has happened.
            with suppress(OSError):
                self.directory.remove_plan(plan)
            return {**done, **first}

        return Job(
            app=app,
            verb="restore",
            steps=(BACKUP_FIRST, *restore.STEPS) if backup_first else restore.STEPS,
            work=work,
            actor=who.actor,
            address=who.address,
            backup=inspected.backup_id,
            archive=Path(inspected.options["archive"]),
            options={**inspected.options, "plan": plan},
            announce=self._announcing(announce_restore, app, who),
        )

    @contextmanager
    def _keeping_refused(self, operation: str, plan: str) -> Iterator[None]:
        """Keep what the database refuses, for the next plan."""
        try:
            yield
        except RefusedError as error:
            with closing(self.plan(plan)) as found:
                digest = found.about["digest"]
            refused.save(self.directory.refused(operation), digest, error.records)
            raise RefusedError(
                f"{error} Correct what is refused where the archive was made, or restore the rest: "
                f"plan again without these records (--without {operation}).",
                error.faults,
                records=error.records,
            ) from None

    def has_refused(self, operation: Operation) -> bool:
        """Whether it is a restore whose refused records another plan can leave out."""
        return operation.verb == "restore" and self.directory.refused(operation.id).exists()

    def _back_up_first(self, app: Any, who: Who, operation: str, progress: Progress) -> str:
        backup = new_id()
        with progress.step(BACKUP_FIRST):
            warned = progress.warning_count
            outcome = self.archive(backup, who, Within(progress, BACKUP_FIRST))
            now = utc_now()
            self.catalog.add_backup(
                Backup(
                    id=backup,
                    state="completed",
                    created_at=now,
                    created_by=who.actor,
                    expires_at=expiry(now, self._retention_days, adopted_at=None),
                    size_bytes=outcome["size_bytes"],
                    manifest=outcome["manifest"],
                    warning_count=progress.warning_count - warned,
                    # It was read back as a part of its creation.
                    verified_at=now,
                    intact=True,
                )
            )
            announce_backup(
                app,
                operation,
                outcome,
                backup=backup,
                actor=who.actor,
                address=who.address,
                archive=self.directory.archive(backup),
            )
            progress.log(f"Backup {backup} holds the registry as it was before.")
        return backup

    def changed(self, operation: str) -> dict[str, Names]:
        """The names of what a restore or an undo changed, once it is completed."""
        return changed_names(self.directory.changed(operation))

    # undo

    def undoable(self, operation: Operation) -> bool:
        """Whether it is a restore that changed something and can be undone."""
        return (
            operation.verb == "restore"
            and operation.state == "completed"
            and self.directory.undo_set(operation.id).exists()
        )

    def undone_by(self, operation: Operation) -> Operation | None:
        """The undo of a restore, where it was undone."""
        return self.catalog.completed_operation(
            "undo", "operation", operation.id, since=operation.started_at
        )

    def undo(self, app: Any, who: Who, operation: str, *, granted: bool = False) -> Job:
        """Take back what a restore did; accounts that hold a protected right change only where
        `granted`. Raises NotFoundError where there is nothing to undo."""
        restored = self.catalog.operation(operation)
        if not self.undoable(restored):
            raise NotFoundError(
                f"Operation {operation} can't be undone: only a restore that changed something "
                "can, once, until the retention is over."
            )

        def work(undoing: str, progress: Progress) -> dict[str, Any]:
            return undo.undo(
                operation_id=undoing,
                undone=operation,
                undo_set=self.directory.undo_set(operation),
                changed=self.directory.changed(undoing),
                actor=who.actor,
                granted=granted,
                registry=self.registry,
                storage=self.storage,
                catalog=self.catalog,
                progress=progress,
            )

        return Job(
            app=app,
            verb="undo",
            steps=undo.STEPS,
            work=work,
            actor=who.actor,
            address=who.address,
            options={"operation": operation, "protected": granted},
            announce=self._announcing(announce_undo, app, who),
        )

    def _announcing(
        self, announce: Callable[..., None], app: Any, who: Who
    ) -> Callable[[dict[str, Any]], None]:
        def announcing(outcome: dict[str, Any]) -> None:
            operation = outcome["operation"]
            announce(
                app,
                operation,
                outcome,
                actor=who.actor,
                address=who.address,
                changed=self.directory.changed(operation),
            )

        return announcing
