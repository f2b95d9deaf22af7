"""The plans that inspections have left in the backup directory."""

from __future__ import annotations

from dataclasses import dataclass

from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.records import PACKAGES
from hexhub_backup.depot.base import Depot
from hexhub_backup.errors import NotFoundError
from hexhub_backup.history.models import Operation
from hexhub_backup.history.store import Catalog
from hexhub_backup.operations.plan import Plan


@dataclass(frozen=True)
class Plans:
    """The plans that are there; a plan has the id of the inspection that made it."""

    catalog: Catalog
    depot: Depot

    def exists(self, operation: Operation) -> bool:
        """Whether an operation has made a plan, which is still there."""
        return operation.state == "completed" and self.depot.kept("plan", operation.id).exists()

    def inspection(self, plan: str) -> Operation:
        """The inspection that made a plan. Raises NotFoundError where the plan is not there."""
        inspected = self.catalog.operation(plan)
        if not self.exists(inspected):
            raise NotFoundError(f"There is no plan {plan} any more: inspect the archive again.")
        return inspected

    def open(self, plan: str) -> Plan:
        """A plan, to be closed. Raises NotFoundError."""
        self.inspection(plan)
        return Plan(self.depot.kept("plan", plan).here() / "plan.sqlite")

    def packages_of(self, plan: str, *, at_most: int) -> list[str] | None:
        """The names of all packages in the archive of a plan, chosen or not; None where there
        are more than `at_most`. Raises NotFoundError where the plan or the archive is gone,
        ArchiveError where that is another one by now."""
        source = self.depot.source(self.inspection(plan).options["archive"])
        index = self.depot.kept("plan", plan).here() / "index.sqlite"
        with ArchiveReader.reopen(source, index) as reader:
            if reader.count(PACKAGES) > at_most:
                return None
            return [name for (name,) in reader.keys(PACKAGES)]
