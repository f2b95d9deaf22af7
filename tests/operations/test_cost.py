"""What an operation costs: SQL statements by the batch of records, system calls by the file.

Neither a statement nor a system call for each record is ever noticed in a small test, and at
200,000 releases they are what an admin waits for.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import db
from hexhub_backup import verbs
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.operations.choice import Choice
from hexhub_backup.verbs.base import Order
from tests.support.hosts import ADA, make_app
from tests.support.instance import FLASK, ROOT, Instance

RELEASES = 5
#: How many statements 500 records more may take, which is half of a batch.
MORE_STATEMENTS = {"create": 0, "inspect": 4, "restore": 4, "undo": 40}
#: How many system calls a file may take; of a restore with its inspection.
CALLS = {"create": 8, "verify": 1, "inspect": 3, "restore": 17, "again": 11, "undo": 12}
# Of memory and of threads, which are not by the file; and the sum.
_NOT_COUNTED = {
    "total",
    "brk",
    "clone3",
    "futex",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
}
_COUNTED = re.compile(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+)(?: +\d+)? +(\w+)$", re.MULTILINE)


def statements(app: Flask, order: Callable[[], Order]) -> tuple[Any, int]:
    """Run an order; gives what was done and how many statements the host's database got."""
    said: list[str] = []

    def note(*arguments: Any) -> None:
        said.append(arguments[2])

    with app.app_context():
        sa.event.listen(db.engine, "before_cursor_execute", note)
        try:
            done = backups_of(app).orders.run(app, order())
        finally:
            sa.event.remove(db.engine, "before_cursor_execute", note)
    return done, len(said)


def statements_of_all(folder: Path, packages: int) -> dict[str, int]:
    """By verb, for a registry of so many packages that is restored into an empty one, and
    undone."""
    full = make_app(folder / "full", packages=packages, releases=RELEASES, users=4)
    empty = make_app(folder / "empty", packages=0, releases=0, users=1)
    backups = backups_of(empty)
    _, create = statements(full, lambda: verbs.create.order(ADA))
    (archive,) = folder.rglob("hexhub-backup-*.tar")
    choice = Choice(strategy="overwrite", protected=True)
    plan, inspect = statements(
        empty, lambda: verbs.inspect.order(backups.history, ADA, str(archive), choice)
    )
    restored, restore = statements(
        empty, lambda: verbs.restore.order(backups.plans, ADA, plan.operation)
    )
    _, undo = statements(
        empty, lambda: verbs.undo.order(backups.history, ADA, restored.operation, granted=True)
    )
    return {"create": create, "inspect": inspect, "restore": restore, "undo": undo}


@pytest.mark.matrix
def test_statements_grow_by_the_batch(tmp_path: Path) -> None:
    few, more = statements_of_all(tmp_path / "20", 20), statements_of_all(tmp_path / "60", 60)
    assert few == more
    many = statements_of_all(tmp_path / "300", 300)
    # Packages, releases, and some two owners a package.
    half_batches = (300 - 60) * (1 + RELEASES + 2) / 500
    grown = {verb: many[verb] - few[verb] for verb in few}
    allowed = {verb: count * half_batches for verb, count in MORE_STATEMENTS.items()}
    assert {verb for verb in grown if grown[verb] > allowed[verb]} == set(), (grown, allowed)


def calls(trace: Path, instance: Instance, *arguments: str) -> int:
    """How many system calls a command takes."""
    subprocess.run(
        ["strace", "-f", "-c", "-o", trace, *FLASK, "backups", *arguments, "--json"],
        cwd=ROOT,
        env=instance.environment,
        capture_output=True,
        check=True,
    )
    return sum(
        int(count)
        for count, name in _COUNTED.findall(trace.read_text())
        if name not in _NOT_COUNTED
    )


def calls_of_all(folder: Path, packages: int) -> tuple[int, dict[str, int]]:
    """The number of files, and that of system calls by command, for a registry of so many packages
    that is restored into an empty one, restored again, and undone."""
    folder.mkdir()
    full, empty, trace = Instance(folder / "full"), Instance(folder / "empty"), folder / "trace"
    full.seed(users=3, packages=packages, releases=RELEASES, file_size=100)
    empty.seed(users=1, packages=0, releases=0, file_size=0)
    for instance in (full, empty):
        instance.backups("list")
    found = {"create": calls(trace, full, "create")}
    (archive,) = folder.rglob("hexhub-backup-*.tar")
    options = [str(archive), "--strategy", "overwrite"]
    restore = ["restore", *options, "--grant-protected", "--yes"]
    found["verify"] = calls(trace, empty, "verify", str(archive))
    found["inspect"] = calls(trace, empty, "inspect", *options)
    found["restore"] = calls(trace, empty, *restore)
    done = next(each for each in empty.backups("operations") if each["verb"] == "restore")
    found["again"] = calls(trace, empty, *restore)
    found["undo"] = calls(trace, empty, "undo", done["id"], "--grant-protected", "--yes")
    return sum(1 for each in full.storage.rglob("*.gz")), found


@pytest.mark.matrix
def test_system_calls_of_a_file_are_few(tmp_path: Path) -> None:
    few, before = calls_of_all(tmp_path / "10", 10)
    many, after = calls_of_all(tmp_path / "50", 50)
    by_file = {name: round((after[name] - before[name]) / (many - few), 1) for name in CALLS}
    assert {name for name in CALLS if by_file[name] > CALLS[name]} == set(), by_file
