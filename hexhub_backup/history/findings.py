"""What checks of the registry have found, and the backups that they hold it against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import select

from hexhub_backup.depot.base import Depot
from hexhub_backup.errors import NotFoundError, VersionError
from hexhub_backup.history.contents import open_contents
from hexhub_backup.history.kept import History
from hexhub_backup.history.models import Backup, ListedBackup
from hexhub_backup.history.summary import wrong_backups
from hexhub_backup.history.tables import operations
from hexhub_backup.history.transactions import GetEngine, begin
from hexhub_backup.operations.contents import Contents
from hexhub_backup.operations.doctor import KnownBackup
from hexhub_backup.operations.findings import HARMFUL, Findings

#: The verb of what checks the registry.
CHECK = "doctor"

# By its id: a database would take the JSON of all rows before it sorts them.
_LAST = select(
    operations.c.id,
    operations.c.queued_at,
    operations.c.finished_at,
    operations.c.outcome["found"].label("found"),
).where(
    operations.c.id
    == select(operations.c.id)
    .where(operations.c.verb == CHECK, operations.c.state == "completed")
    .order_by(operations.c.queued_at.desc(), operations.c.id.desc())
    .limit(1)
    .scalar_subquery()
)


@dataclass(frozen=True)
class LastCheck:
    """A check of the registry, by its operation's `id`, with how many files it has `found` to be
    wrong in each way."""

    id: str
    queued_at: datetime
    finished_at: datetime
    found: Mapping[str, int]

    @property
    def harmful(self) -> int:
        """How many of them are those that whoever fetches a release meets."""
        return sum(self.found.get(name, 0) for name in HARMFUL)


def known_backups(history: History) -> Iterator[KnownBackup]:
    """The good backups of this registry, the newest first."""
    return (_known(history, each) for each in history.good_backups(own=True))


def doubted_backups(history: History) -> Iterator[KnownBackup]:
    """Those which say that package files have changed, and nobody has said why; the newest
    first."""
    for wrong in reversed(wrong_backups(history.catalog.engine)):
        backup = history.backup(wrong.id)
        if backup.has_alarm and not backup.foreign:
            yield _known(history, backup)


def _known(history: History, backup: Backup | ListedBackup) -> KnownBackup:
    copy = backup.elsewhere
    return KnownBackup(
        backup.id,
        backup.created_at,
        locked=copy is not None and copy.encrypted,
        open=partial(_contents, history.depot, backup),
    )


def _contents(depot: Depot, backup: Backup | ListedBackup) -> Contents | None:
    try:
        return open_contents(depot, backup)
    except VersionError:
        return None


def last_check(engine: GetEngine) -> LastCheck | None:
    """The last one that is complete; None where there was none, or it is forgotten. Raises
    DatabaseError."""
    with begin(engine) as connection:
        row = connection.execute(_LAST).one_or_none()
        return None if row is None else LastCheck(**row._mapping)


def findings_of(depot: Depot, operation: str) -> Findings:
    """What a check has found. Raises NotFoundError where that is not kept any more."""
    kept = depot.kept("findings", operation)
    if not kept.exists():
        raise NotFoundError(
            f"There are no findings of {operation} any more: check the registry again."
        )
    return Findings(kept.here())
