"""The depots that tests run over: a directory, or a bucket that machines share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask import Flask

from examples.host_app.models import db
from hexhub_backup.archive.source import Reading, Source
from hexhub_backup.archive.writing.new_archive import NewArchive
from hexhub_backup.coordination import locking
from hexhub_backup.depot.base import Depot
from hexhub_backup.depot.s3 import BucketDepot, Hold, S3Depot
from hexhub_backup.errors import BusyError
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.jobs.orders import Orders
from hexhub_backup.verbs.base import Order
from tests.support.s3 import KEYS, S3Server

#: Makes the depot as the machine of a name has it.
Open = Callable[[str], Depot]
#: An id of a backup.
ID = "20260131-103000-9f3ac1"
KINDS = ("directory", "moto", "localbucket")


def holding(folder: Path) -> Hold:
    """What holds an archive over all processes of the test, as a database would."""
    folder.mkdir(exist_ok=True)

    @contextmanager
    def hold(name: str, /, *, alone: bool) -> Iterator[None]:
        path = folder / hashlib.sha256(name.encode()).hexdigest()
        descriptor = locking.open_to_lock(path, os.O_RDWR | os.O_CREAT)
        try:
            try:
                locking.lock(descriptor, shared=not alone)
            except BlockingIOError:
                raise BusyError(f"{name} is in use just now: try again later.") from None
            yield
        finally:
            locking.close(descriptor)

    return hold


def bucket_depot(
    server: S3Server, bucket: str, path: Path, shared: Path, **options: Any
) -> BucketDepot:
    """The depot of a machine whose own directory is `path`; `shared` stands for the database."""
    made = S3Depot(bucket, "depot", endpoint=server.endpoint, **{**KEYS, **options})
    depot = made.opened(path, holding(shared))
    depot.prepare()
    return depot


def with_depot(backups: Backups, depot: Depot) -> Backups:
    """The same backups, over another depot."""
    any_depot: Any = depot
    backups.depot = any_depot
    backups.history = replace(backups.history, depot=depot)
    backups.plans = replace(backups.plans, depot=depot)
    backups.recovery = replace(backups.recovery, depot=depot)
    backups.orders = Orders(
        catalog=backups.catalog,
        coordinator=backups.coordinator,
        depot=depot,
        recovery=backups.recovery,
        context=backups.context,
        runner=None,
    )
    backups.copying = replace(backups.copying, history=backups.history, orders=backups.orders)
    return backups


def content(size: int, seed: int = 1) -> bytes:
    """Bytes that are others for another seed."""
    block = bytes((seed * each) % 251 for each in range(65521))
    return (block * (size // len(block) + 1))[:size]


@contextmanager
def new(depot: Depot, about: int = 0, backup: str = ID) -> Iterator[NewArchive]:
    with depot.work() as work, closing(depot.new_archive(backup, about, Path(work))) as made:
        yield made


def made(depot: Depot, data: bytes, backup: str = ID) -> str:
    """The name of a new archive that was published."""
    with new(depot, len(data), backup) as archive:
        archive.file.write(data)
        archive.file.flush()
        with archive.complete() as source:
            assert whole(source) == data
        archive.publish()
    return depot.archive_name(backup)


def whole(source: Source) -> bytes:
    reading = Reading(source)
    return b"".join(iter(lambda: reading.read(300_000), b""))


def read(depot: Depot, name: str) -> bytes:
    with depot.source(name) as source:
        return whole(source)


@contextmanager
def on(app: Flask, depot: Depot) -> Iterator[Backups]:
    """Be the machine that has this depot."""
    with app.app_context():
        yield with_depot(backups_of(app), depot)
        db.session.remove()


def run(app: Flask, depot: Depot, order: Order) -> str:
    """Run an order on the machine that has this depot, and give its id."""
    with on(app, depot) as backups:
        return backups.orders.run(app, order).operation
