"""A rehearsal: an archive is restored beside the registry, which nothing of it touches."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import db
from hexhub_backup import signals, verbs
from hexhub_backup.depot.names import new_id
from hexhub_backup.errors import RefusedError, RehearsalError
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.jobs.running import Done
from tests.support.hosts import ADA, dump, file_of, one_package
from tests.support.instance import ROOT, Instance
from tests.support.patience import wait_for
from tests.support.serving import make_backup

pytestmark = pytest.mark.usefixtures("database", "host")


@pytest.fixture(autouse=True)
def rehearsal_database(request: pytest.FixtureRequest, app: Flask, backups: Backups) -> None:
    """On MariaDB another database than the registry's is for it."""
    if db.engine.dialect.name in ("mysql", "mariadb"):
        server = request.getfixturevalue("mariadb")
        name = sa.make_url(server.create()).database
        backups.settings = replace(backups.settings, rehearsal_database=name)


def rehearse(app: Flask, archive: str) -> Done:
    backups = backups_of(app)
    return backups.orders.run(app, verbs.rehearse.order(backups.history, ADA, archive))


def scratch(backups: Backups) -> list[str]:
    """What is left of rehearsals: schemas, tables and folders."""
    inspector = sa.inspect(db.engine)
    schemas = [each for each in inspector.get_schema_names() if each.startswith("hexhub_backup_")]
    tables: list[str] = []
    if backups.settings.rehearsal_database is not None:
        tables = inspector.get_table_names(backups.settings.rehearsal_database)
    return [*schemas, *tables, *map(str, (backups.depot.path / "plans").iterdir())]


@pytest.mark.sample
def test_all_of_a_registry_comes_back_beside_it(app: Flask, backups: Backups, backup: str) -> None:
    before, announced = dump(app), list[dict[str, Any]]()

    def listen(_: Any, **payload: Any) -> None:
        announced.append(payload)

    with signals.backup_rehearsed.connected_to(listen, app):
        done = rehearse(app, backup)
    assert done.outcome["findings"] == {}
    manifest = done.outcome["manifest"]["contents"]
    assert done.outcome["records"] == {kind: manifest[kind] for kind in done.outcome["records"]}
    assert done.outcome["files"]["placed"] == manifest["package_files"] + manifest["doc_files"]
    # By the code of the host that serves its clients, on its own models.
    count = manifest["releases"]
    assert done.outcome["usable"] == {"good": count, "of": count}
    row = backups.history.backup(backup)
    assert row.restorable is True
    assert row.rehearsed_at is not None
    assert [(each["backup"], each["restorable"]) for each in announced] == [(backup, True)]
    assert dump(app) == before
    assert scratch(backups) == []


#: A change of the host's tables after a backup, by the names of databases; what becomes of the
#: restore of that backup; a text of the reason, or the finding's code.
REFUSED = {
    "a column that nothing fills": (
        {
            "sqlite": (
                "PRAGMA writable_schema = ON",
                "UPDATE sqlite_master SET sql = replace(sql, 'CREATE TABLE packages (', "
                "'CREATE TABLE packages (reviewed VARCHAR NOT NULL, ') WHERE name = 'packages'",
                "PRAGMA writable_schema = RESET",
            ),
            "postgresql": ("ALTER TABLE packages ADD COLUMN reviewed VARCHAR NOT NULL",),
            "mysql": (
                "ALTER TABLE packages ADD COLUMN reviewed VARCHAR(9) NOT NULL DEFAULT 'x'",
                "ALTER TABLE packages ALTER COLUMN reviewed DROP DEFAULT",
            ),
        },
        "must not be null would be|NOT NULL constraint failed: packages.reviewed",
    ),
    "a check": (
        {
            "sqlite": (
                "PRAGMA writable_schema = ON",
                "UPDATE sqlite_master SET sql = substr(sql, 1, length(sql) - 1) || "
                "', CONSTRAINT of_old CHECK (version != ''1.0.0''))' WHERE name = 'releases'",
                "PRAGMA writable_schema = RESET",
            ),
            "postgresql": (
                "ALTER TABLE releases ADD CONSTRAINT of_old CHECK (version <> '1.0.0')",
            ),
            "mysql": ("ALTER TABLE releases ADD CONSTRAINT of_old CHECK (version <> '1.0.0')",),
        },
        "of_old",
    ),
    "a foreign key to a row that is not there": (
        {
            "postgresql": (
                "CREATE TABLE teams (id INTEGER PRIMARY KEY)",
                "ALTER TABLE packages ADD COLUMN team INTEGER DEFAULT 5 NOT NULL "
                "REFERENCES teams (id)",
            ),
            "mysql": (
                "CREATE TABLE teams (id INTEGER PRIMARY KEY)",
                "ALTER TABLE packages ADD COLUMN team INTEGER DEFAULT 5 NOT NULL",
                "ALTER TABLE packages ADD CONSTRAINT FOREIGN KEY (team) REFERENCES teams (id)",
            ),
        },
        "a row would refer to one that is not there",
    ),
}
BLOCKED = {
    "a unique index": ("CREATE UNIQUE INDEX of_source ON packages (source)",),
}
#: What comes back otherwise.
CHANGED = {
    "times without fractions": {
        "postgresql": ("ALTER TABLE packages ALTER inserted_at TYPE timestamp(0)",),
        "mysql": ("ALTER TABLE packages MODIFY inserted_at DATETIME NOT NULL",),
    },
}


def change(*statements: str) -> None:
    """Empty the host's tables, and change them."""
    db.session.remove()
    with db.engine.begin() as connection:
        for table in ("api_keys", "owners", "releases", "packages", "users"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def of_dialect(changes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return changes[db.engine.dialect.name]


def defects(known: dict[str, Any], *without: str) -> list[Any]:
    """Those of a kind; `without` are those that SQLite can't have."""
    gap = pytest.mark.gap(sqlite="it has no such thing")
    return [pytest.param(name, marks=[gap] if name in without else []) for name in known]


@pytest.mark.parametrize("defect", defects(REFUSED, "a foreign key to a row that is not there"))
def test_what_the_database_refuses_is_found(
    app: Flask, backups: Backups, backup: str, defect: str
) -> None:
    changes, told = REFUSED[defect]
    change(*of_dialect(changes))
    with pytest.raises(RefusedError) as caught:
        rehearse(app, backup)
    assert re.search(told, str([each.message for each in caught.value.faults]))
    assert backups.history.backup(backup).restorable is False
    assert scratch(backups) == []


@pytest.mark.parametrize("defect", BLOCKED)
def test_what_the_plan_blocks_is_found(
    app: Flask, backups: Backups, backup: str, defect: str
) -> None:
    change(*BLOCKED[defect])
    done = rehearse(app, backup)
    assert set(done.outcome["findings"]) == {"blocked"}
    assert backups.history.backup(backup).restorable is False


@pytest.mark.parametrize("defect", defects(CHANGED, *CHANGED))
def test_what_comes_back_otherwise_is_found(
    app: Flask, backups: Backups, backup: str, defect: str
) -> None:
    change(*of_dialect(CHANGED[defect]))
    done = rehearse(app, backup)
    assert set(done.outcome["findings"]) == {"not_as_archived"}
    assert "inserted_at" in done.outcome["warnings"][0]["message"]


def test_what_the_hosts_own_code_can_not_use_is_found(
    app: Flask, backups: Backups, host: Flask
) -> None:
    path = file_of(app, one_package())
    path.write_bytes(b"no package file")
    backup = make_backup(app)
    done = rehearse(app, backup)
    assert done.outcome["findings"] == {"not_usable": 1}
    assert done.outcome["usable"]["good"] == done.outcome["usable"]["of"] - 1
    assert backups.history.backup(backup).restorable is False
    backups.check_restored = lambda engine, folder: [("", str(1 // 0))]
    done = rehearse(app, backup)
    assert done.outcome["warnings"][0]["message"].startswith("the host's own check ended with")


#: Rehearses a backup, and stays in the middle of it for good.
HELD = """
import pathlib, sys, time
from examples.host_app import create_app
from hexhub_backup import verbs
from hexhub_backup.history.models import Who
from hexhub_backup.jobs.backups import backups_of

def hold(engine, folder):
    pathlib.Path(sys.argv[2]).touch()
    time.sleep(3600)
    yield

app = create_app(config={"HEXHUB_BACKUP_REHEARSAL_DATABASE": sys.argv[3] or None})
with app.app_context():
    backups = backups_of(app)
    backups.check_restored = hold
    order = verbs.rehearse.order(backups.history, Who(actor="ada"), sys.argv[1])
    backups.orders.run(app, order)
"""


def test_nothing_is_left_of_one_whose_process_was_killed(
    app: Flask, backups: Backups, backup: str, instance: Instance, tmp_path: Path
) -> None:
    before, held = dump(app), tmp_path / "held"
    database = backups.settings.rehearsal_database or ""
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, backup, str(held), database],
        cwd=ROOT,
        env=instance.environment,
    )
    try:
        wait_for(lambda: held.exists() or process.poll() is not None)
    finally:
        process.kill()
        process.wait()
    assert held.exists()
    assert scratch(backups) != []
    assert backups.prepare(app)
    assert scratch(backups) == []
    assert dump(app) == before
    (ended,) = (each for each in backups.history.operations() if each.verb == "rehearse")
    assert ended.state == "interrupted"
    assert rehearse(app, backup).outcome["findings"] == {}


@pytest.mark.gap(sqlite="it has no users")
def test_a_right_that_is_missing_is_told_with_what_grants_it(
    app: Flask, backups: Backups, backup: str
) -> None:
    told = "GRANT ALL PRIVILEGES ON `nowhere`.* TO"
    if db.engine.dialect.name == "postgresql":
        told = "run GRANT CREATE ON DATABASE"
        become_nobody()
    else:
        backups.settings = replace(backups.settings, rehearsal_database="nowhere")
    with pytest.raises(RehearsalError, match=re.escape(told)):
        rehearse(app, backup)
    assert backups.history.backup(backup).rehearsed_at is None


def become_nobody() -> None:
    """Let the host's connections be those of a user who may use its tables, and nothing else."""
    role = f"nobody_{new_id().replace('-', '_')}"
    with db.engine.begin() as connection:
        for statement in (
            f"CREATE ROLE {role}",
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}",
        ):
            connection.exec_driver_sql(statement)
    db.engine.dispose()

    @sa.event.listens_for(db.engine, "connect")
    def become(connection: Any, _: Any) -> None:
        connection.execute(f"SET ROLE {role}")
        connection.commit()
