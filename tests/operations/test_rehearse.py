"""A rehearsal: an archive is restored beside the registry, which nothing of it touches."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import Package, Release, db
from hexhub_backup import signals, verbs
from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.depot.names import new_id
from hexhub_backup.errors import ArchiveError, RefusedError, RehearsalError
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.jobs.running import Done
from hexhub_backup.storage.layout import hexhub_layout
from tests.support.directory import depot_of
from tests.support.hex import CONTENTS, METADATA, members_of, package_file, raw_package
from tests.support.hosts import ADA, dump, file_of, one_package
from tests.support.instance import DATA, ROOT, Instance
from tests.support.patience import wait_for
from tests.support.serving import make_backup
from tests.support.stored import root_of

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
REFUSED: dict[str, tuple[dict[str, tuple[str, ...]], str]] = {
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
    "a column that is too short": (
        {"postgresql": ("ALTER TABLE users ALTER username TYPE VARCHAR(3)",)},
        "too long",
    ),
}
_UNIQUE = "CREATE UNIQUE INDEX of_source ON packages "
BLOCKED: dict[str, dict[str, tuple[str, ...]]] = {
    "a column that is too short": {
        "mysql": ("ALTER TABLE users MODIFY username VARCHAR(3) NOT NULL",),
    },
    "a unique index": dict.fromkeys(("sqlite", "postgresql", "mysql"), (f"{_UNIQUE} (source)",)),
    "one over an expression": dict.fromkeys(
        ("sqlite", "postgresql"), (f"{_UNIQUE} (lower(source))",)
    ),
    "one over some rows": dict.fromkeys(
        ("sqlite", "postgresql"), (f"{_UNIQUE} (source) WHERE name > 'a'",)
    ),
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


def defects(known: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Those of a kind, each where its database has such a thing."""
    names = {"sqlite": "sqlite", "postgresql": "postgresql", "mysql": "mariadb"}
    return [
        pytest.param(
            defect,
            marks=[
                pytest.mark.gap(**{name: "it has no such thing"})
                for dialect, name in names.items()
                if dialect not in changes
            ],
        )
        for defect, changes in known.items()
    ]


@pytest.mark.parametrize("defect", defects({name: each[0] for name, each in REFUSED.items()}))
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


@pytest.mark.parametrize("defect", defects(BLOCKED))
def test_what_the_plan_blocks_is_found(
    app: Flask, backups: Backups, backup: str, defect: str
) -> None:
    change(*of_dialect(BLOCKED[defect]))
    done = rehearse(app, backup)
    assert set(done.outcome["findings"]) == {"blocked"}
    assert backups.history.backup(backup).restorable is False


@pytest.mark.parametrize("defect", defects(CHANGED))
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
    # The host's check of package files says so too.
    assert done.outcome["findings"] == {"release_check": 1, "not_usable": 1}
    assert done.outcome["usable"]["good"] == done.outcome["usable"]["of"] - 1
    assert backups.history.backup(backup).restorable is False
    backups.check_restored = lambda engine, folder: [("", str(1 // 0))]
    done = rehearse(app, backup)
    told = [each["message"] for each in done.outcome["warnings"]]
    assert any(each.startswith("the host's own check ended with") for each in told)


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


def _metadata(name: str, version: str) -> bytes:
    return METADATA.replace(b"own", name.encode()).replace(b"0.1.0", version.encode())


def _raw(*release: str, **members: bytes) -> bytes:
    return raw_package(None, **{"metadata": _metadata(*release), **members})


def _of_members(*release: str, **changed: bytes) -> bytes:
    """With another member, and the CHECKSUM of before."""
    return raw_package({**members_of(metadata=_metadata(*release)), **changed})


_SHORTER = {"contents.tar.gz": CONTENTS[:-1]}
#: What has to be said of a package file that is made of the name and the version of its release;
#: None where there is none.
FILES: list[tuple[str, Callable[[str, str], bytes | None]]] = [
    ("the archive has no package file", lambda *_: None),
    ("takes: it is no tar", lambda *_: b"junk"),
    ("takes: it is no tar", lambda *_: b""),
    ("takes: it is no tar", lambda *of: _raw(*of)[:2000]),
    ("another name in its metadata: other", lambda _, version: package_file("other", version)),
    ("another version in its metadata: 9.9", lambda name, _: package_file(name, "9.9")),
    ("do not fit its CHECKSUM", lambda *of: _of_members(*of, CHECKSUM=b"0" * 64)),
    ("do not fit its CHECKSUM", lambda *of: _of_members(*of, **_SHORTER)),
    ("VERSION is not 3", lambda *of: _raw(*of, version=b"2")),
    ("they are no Erlang", lambda *of: _raw(*of, metadata=b"no terms")),
    ("it has other members", lambda *of: _of_members(*of, more=b"")),
    ("it ends before it is complete", lambda *of: _raw(*of, contents=CONTENTS[:-4])),
    ("it is no gzip, or damaged", lambda *of: _raw(*of, contents=CONTENTS + b"garbage")),
    ("it is no gzip, or damaged", lambda *of: _raw(*of, contents=b"no gzip at all")),
]


@pytest.mark.host(packages=len(FILES), releases=1)
def test_what_a_client_would_not_take_is_found_and_nothing_else(
    app: Flask, backups: Backups
) -> None:
    found = db.session.query(Release).join(Package).filter(Package.source == "local").all()
    expected = {}
    for (told, make), release in zip(FILES, found, strict=True):
        name, version = release.package.name, release.version
        path = root_of(backups.storage) / hexhub_layout(ReleaseFile("package", name, version))
        content = make(name, version)
        path.unlink() if content is None else path.write_bytes(content)
        expected[f"release {name} {version}"] = told
    # The host's own code says the same in other words.
    backups.check_restored = None
    done = rehearse(app, make_backup(app))
    said = {each["record"]: each["message"] for each in done.outcome["warnings"]}
    assert set(said) == set(expected)
    assert {name: told for name, told in expected.items() if told not in said[name]} == {}


def test_a_damaged_archive_is_not_restorable(app: Flask, backups: Backups, backup: str) -> None:
    archive = depot_of(backups).archive(backup)
    content = bytearray(archive.read_bytes())
    content[content.index(b"contents.tar.gz")] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ArchiveError):
        rehearse(app, backup)
    assert backups.history.backup(backup).restorable is False
    assert scratch(backups) == []


@pytest.mark.host(users=1, packages=0)
def test_an_archive_of_hexhubs_lacks_what_it_lacks_and_nothing_else(app: Flask) -> None:
    assert rehearse(app, str(DATA / "hexhub-empty.tar")).outcome["findings"] == {}
    done = rehearse(app, str(DATA / "hexhub-small.tar"))
    assert done.outcome["findings"] == {
        "missing_package_file": 3,
        "missing_docs_file": 1,
        # No client can fetch those three.
        "not_usable": 3,
    }
    assert done.outcome["usable"] == {"good": 18, "of": 21}
