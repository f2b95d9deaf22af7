"""In which way a registry, or an archive, is not what a plan was made of."""

from __future__ import annotations

from hexhub_backup.archive.faults import FaultList
from hexhub_backup.archive.records import Kind
from hexhub_backup.errors import ArchiveError, ChangedError, Fault
from hexhub_backup.marking import marked
from hexhub_backup.operations.planned import PlannedRecord
from hexhub_backup.registry.base import Comparison


def refuse_changes(faults: FaultList) -> None:
    if faults.count:
        raise ChangedError(
            f"The registry has changed since the plan was made, in {faults.count:,} places: "
            "nothing was restored. Inspect the archive again.",
            faults.first,
        )


def not_archived(label: str) -> ArchiveError:
    return ArchiveError(
        f"{label} is in the plan, and not in the archive: nothing was restored. Inspect the "
        "archive again."
    )


def same(planned: PlannedRecord) -> Comparison:
    """What is left out of a comparison is unchanged."""
    return Comparison(planned.comparison.n, planned.comparison.key, "unchanged")


def change(planned: Comparison, now: Comparison) -> str | None:
    """In which way a record is not what it was planned as."""
    if now.state != planned.state:
        return marked(f"it was planned as {planned.state} and is {now.state} now")
    if (now.differs, now.hidden) != (planned.differs, planned.hidden):
        return marked("it differs otherwise than planned")
    if now.state == "conflict" and now.privileged != planned.privileged:
        return marked(
            "it holds a protected right by now, and was planned otherwise"
            if now.privileged
            else "it holds none by now, and was planned otherwise"
        )
    return None


def fault_of(kind: Kind, record: PlannedRecord) -> Fault:
    label = kind.label(record.comparison.key)
    if record.state == "blocked":
        return Fault("blocked", str(record.comparison.reason), record=label)
    if record.comparison.hidden:
        return Fault("conflict", "it is there, but the host hides it", record=label)
    fields = ", ".join(record.comparison.differs) or marked("its files")
    return Fault("conflict", f"it is there and differs in {fields}", record=label)
