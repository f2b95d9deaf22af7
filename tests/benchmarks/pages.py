"""How long the pages take of a history of years, and of a large plan."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from examples.host_app import create_app
from examples.host_app.models import db
from hexhub_backup.archive import records as kinds
from hexhub_backup.archive.batch import Batch
from hexhub_backup.archive.records import FileEntry, ReleaseFile
from hexhub_backup.history.tables import backups as backups_table
from hexhub_backup.history.tables import operations as operations_table
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.operations.listing import ContentsWriter, fields_of
from tests.benchmarks.measuring import seed
from tests.benchmarks.operations import Say
from tests.benchmarks.results import Result
from tests.benchmarks.serving import Served, serving
from tests.support import plans
from tests.support.directory import depot_of
from tests.support.instance import Instance
from tests.support.patience import wait_for
from tests.support.serving import PREFIX, make_backup

FEW_BACKUPS, BACKUPS, OPERATIONS = 300, 5_000, 20_000
ENTRIES, NOTES, RELEASES = 200_000, 5_000, 200_000
HISTORY_LIMIT, PLAN_LIMIT, CONTENTS_LIMIT = 0.050, 0.150, 0.150
#: Of a package, so that there are both many packages and a package with many releases.
_VERSIONS = 5
#: How often each page is asked for, and how often before that.
_TIMES, _WARM_UP = 15, 5
_NOW = datetime.now(timezone.utc)
_MANIFEST = {
    "contents": {"users": 7, "packages": 5, "releases": 6, "owners": 1},
    "checksums": {"users.json": f"sha256:{'0' * 64}"},
    "missing_files": [f"packages/gone-{number}-1.0.0.tar.gz" for number in range(10)],
}
_OUTCOME = {
    "warning_count": 10,
    "warnings": [{"code": "file_missing", "record": f"release gone {n}"} for n in range(10)],
    "records": {},
}


def run(folder: Path, say: Say) -> Iterator[Result]:
    """Each address several times; of their medians the highest is held to the limit."""
    seed(Instance(folder), packages=24, releases=5, size=4_000)
    say(f"pages: {FEW_BACKUPS:,} backups, then {BACKUPS:,}; {OPERATIONS:,} operations")
    plan = _fill(folder, say)
    with serving(folder) as served:
        for backups in (FEW_BACKUPS, BACKUPS):
            _add_backups(folder, backups)
            last = -(-(backups + 1) // 20)
            history = [f"{PREFIX}/?page={page}" for page in (1, last // 2, last)]
            yield _slowest("history page", f"{backups:,} backups", served, history, HISTORY_LIMIT)
        each = (0, OPERATIONS // 2, OPERATIONS - 1)
        operations = [f"{PREFIX}/operations/{_operation(number)['id']}" for number in each]
        column = f"{OPERATIONS:,} operations"
        yield _slowest("operation page", column, served, operations, HISTORY_LIMIT)
        planned = [f"{PREFIX}/plans/{plan}?{query}" for query in _queries()]
        column = f"{ENTRIES:,} entries"
        yield _slowest("plan page, any page, any filter", column, served, planned, PLAN_LIMIT)
        say(f"pages: the contents of {RELEASES:,} releases")
        listed = [f"{PREFIX}/{_list_contents(folder)}/contents{each}" for each in _contents()]
        column = f"{RELEASES:,} releases"
        yield _slowest("contents, any page, any search", column, served, listed, CONTENTS_LIMIT)


def _queries() -> Iterator[str]:
    """A first, a middle and a last page by each filter; every entry is named `name` and a number,
    and there are equally many of each kind and in each state."""
    for query, count in (
        ("", ENTRIES),
        ("kind=releases", ENTRIES // 4),
        ("state=conflict", ENTRIES // 4),
        ("kind=owners&state=blocked", ENTRIES // 16),
        ("text=name", ENTRIES),
        ("text=name4999", 44),
        ("kind=users&text=nobody", 1),
        ("note=package_file_differs", NOTES),
    ):
        last = -(-count // 50)
        for page in sorted({1, (last + 1) // 2, last}):
            yield f"{query}&page={page}" if query else f"page={page}"


def _contents() -> Iterator[str]:
    """A first, a middle and a last page of each kind, of searches, and of packages: half of the
    releases are those of one package."""
    packages, half = RELEASES // 2 // _VERSIONS, RELEASES // 2
    for query, count in (
        ("?kind=packages", packages + 1),
        ("?kind=releases", RELEASES),
        ("?kind=owners", packages + 1),
        ("?kind=releases&text=name", half),
        ("?kind=releases&text=large+1.0.0777", 100),
        ("?kind=packages&text=nobody", 1),
        ("/packages/large?of=releases", half),
        ("/packages/name000007?of=releases", _VERSIONS),
    ):
        last = max(1, count // 50)
        for page in sorted({1, (last + 1) // 2, last}):
            yield f"{query}&page={page}"


def _list_contents(folder: Path) -> str:
    """Give the newest backup the contents of a large one. Gives its id."""
    app = create_app(folder)
    with app.app_context():
        backups = backups_of(app)
        (backup, *_) = backups.history.good_backups()
        names = ["large", *(f"name{number:06}" for number in range(RELEASES // 2 // _VERSIONS))]
        releases = [("large", f"1.0.{number:06}") for number in range(RELEASES // 2)]
        releases += [(name, f"1.0.{number}") for name in names[1:] for number in range(_VERSIONS)]
        path = folder / "contents.sqlite"
        with closing(ContentsWriter(path, fields_of(backups.registry))) as writer:
            meta = {"description": "A package with a description.", "licenses": ["MIT"]}
            packages, versions = zip(*releases, strict=True)
            metas = [meta] * RELEASES
            writer.add(kinds.USERS, Batch({"username": ["ada"]}))
            writer.add(kinds.PACKAGES, Batch({"meta": metas[: len(names)], "name": names}))
            writer.add(
                kinds.RELEASES,
                Batch({"meta": metas, "package_name": packages, "version": versions}),
            )
            ada = ["ada"] * len(names)
            writer.add(kinds.OWNERS, Batch({"package_name": names, "username": ada}))
            for at, key in enumerate(releases):
                file = ReleaseFile("package", *key)
                writer.add_file(file, FileEntry(file.member, at * 1024, 512, f"{at:064x}"))
            writer.complete(backup.checksums or {}, {})
            writer.keep(backups.depot.kept("contents", backup.id))
    return str(backup.id)


def _fill(folder: Path, say: Say) -> str:
    """Give an instance its history. Gives the id of its plan."""
    app = create_app(folder)
    with app.app_context():
        backups = backups_of(app)
        backups.prepare(app)
        # None while pages are asked for.
        backups.catalog.set_due("prune", _NOW + timedelta(days=1))
        archive = depot_of(backups).archive(make_backup(app))
        for start in range(0, OPERATIONS, 1000):
            rows = [_operation(number) for number in range(start, start + 1000)]
            with db.engine.begin() as connection:
                connection.execute(sa.insert(operations_table), rows)
    say(f"pages: a plan of {ENTRIES:,} entries")
    with serving(folder) as served:
        plan = served.inspect(archive.stem.removeprefix("hexhub-backup-"))
        wait_for(lambda: served.result(plan))
    plans.fill(folder / "backups" / "plans" / plan, ENTRIES, notes=NOTES)
    return plan


def _add_backups(folder: Path, count: int) -> None:
    """Let the instance have so many of them, beside the one that is made."""
    app = create_app(folder)
    with app.app_context():
        backups = backups_of(app)
        made, *_ = backups.history.good_backups(own=True)
        archive = depot_of(backups).archive(made.id)
        with db.engine.begin() as connection:
            known = sa.select(sa.func.count()).select_from(backups_table)
            rows = list(map(_backup, range(connection.execute(known).scalar_one() - 1, count)))
            connection.execute(sa.insert(backups_table), rows)
        for row in rows:
            depot_of(backups).archive(row["id"]).hardlink_to(archive)


def _operation(number: int) -> dict[str, Any]:
    at = _NOW - timedelta(days=20, minutes=-number)
    return {
        "id": f"20240101-{number:06}-abcdef",
        "verb": ("create", "restore", "verify", "undo")[number % 4],
        "state": "completed" if number % 10 else "failed",
        "reason": None if number % 10 else "There was no room.",
        "actor": "ada",
        "options": {},
        "follows_id": None,
        "bound": True,
        "queued_at": at,
        "started_at": at,
        "finished_at": at,
        "duration_seconds": 1.0,
        "outcome": _OUTCOME,
    }


def _backup(number: int) -> dict[str, Any]:
    return {
        "id": f"20240101-{number:06}-fedcba",
        "state": "completed",
        "created_at": _NOW - timedelta(days=20, minutes=-number),
        "created_by": "ada",
        "duration_seconds": 1.0,
        "size_bytes": 1_000_000,
        "manifest": _MANIFEST,
        "warning_count": number % 3,
        "kept": False,
    }


def _slowest(what: str, column: str, served: Served, paths: list[str], most: float) -> Result:
    for path in paths * _WARM_UP:
        # Both workers have loaded everything by then.
        served.get(path)
    found = {
        path.rpartition("?" if "?" in path else "/")[2]: statistics.median(
            served.get(path) for _ in range(_TIMES)
        )
        for path in paths
    }
    return Result(what, column, max(found.values()), "s", most, found)
