"""What comes after a restore's decision, or in the place of one: in the run and in recovery."""

from __future__ import annotations

from collections.abc import Callable

from hexhub_backup.archive.records import RELEASES
from hexhub_backup.operations.catalog import Catalog
from hexhub_backup.registry.base import Registry
from hexhub_backup.storage.base import Storage


def give_up(operation_id: str, storage: Storage) -> None:
    """Without a decision: take back what was linked, and the staging area. Twice is as once."""
    storage.take_back(operation_id)
    storage.flush()
    storage.clear(operation_id)


def finish(
    operation_id: str,
    registry: Registry,
    storage: Storage,
    catalog: Catalog,
    warn: Callable[[str, str, str], None],
) -> None:
    """With a decision: replace what it overwrites, each file only where the row and the stored
    file still are what the journal says. Twice is as once. Raises DatabaseError, OSError."""
    left = []
    with registry.restoration(protected=False, actor=None, overwrite=True) as restoration:
        restoration.stage(
            RELEASES,
            (
                (n, replacement.record, None)
                for n, replacement in enumerate(catalog.replacements(operation_id))
            ),
        )
        for replacement, row in zip(
            catalog.replacements(operation_id),
            restoration.compare(RELEASES, blocking=False),
            strict=True,
        ):
            # A row that the host hides is as it was decided, too.
            as_decided = row.state != "create" and not row.differs
            if as_decided and storage.replace(operation_id, replacement.file, replacement.tag):
                continue
            left.append((replacement.file.type, RELEASES.label(row.key)))
    storage.flush()
    catalog.close_journal(operation_id)
    storage.clear(operation_id)
    for file_type, label in left:
        warn(
            "file_changed",
            f"the host changed it meanwhile, so that its {file_type} file was left as it is",
            label,
        )
