"""The coordinators that tests run on, as each process of a host makes one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from hexhub_backup.coordination.base import Coordinator
from hexhub_backup.coordination.directory import DirectoryCoordinator
from hexhub_backup.coordination.postgresql.coordinator import (
    CoordinationTables,
    PostgreSQLCoordinator,
)
from hexhub_backup.history.store import Catalog
from hexhub_backup.history.tables import alarm, events, operations
from hexhub_backup.jobs import threads
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.jobs.orders import Orders

KINDS = ("directory", "postgresql")


def coordinator_at(place: str) -> Coordinator:
    """One at a directory, or at the URI of a database, with our tables in it."""
    if "://" not in place:
        folder = Path(place)
        folder.joinpath("operations").mkdir(exist_ok=True)
        folder.joinpath("running").mkdir(exist_ok=True)
        return DirectoryCoordinator(folder)
    engine = sa.create_engine(place, pool_size=2, max_overflow=0)
    Catalog(lambda: engine).create_tables()
    return in_database(lambda: engine)


def in_database(engine: Any) -> PostgreSQLCoordinator:
    tables = CoordinationTables(operations=operations, events=events, alarm=alarm)
    return PostgreSQLCoordinator(engine, tables, threads.in_background)


def coordinated_by_postgresql(backups: Backups) -> Backups:
    """The same backups, whose processes share a database and no directory for this."""
    coordinator: Any = in_database(backups.catalog.engine)
    backups.coordinator = coordinator
    backups.recovery = replace(backups.recovery, coordinator=coordinator)
    backups.orders = Orders(
        catalog=backups.catalog,
        coordinator=coordinator,
        depot=backups.depot,
        recovery=backups.recovery,
        context=backups.context,
        runner=None,
    )
    backups.copying = replace(backups.copying, orders=backups.orders)
    return backups
