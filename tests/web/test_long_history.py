"""A history of years: each page asks the database for what it shows."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient

from examples.host_app.models import db
from examples.host_app.seed import ADMIN
from hexhub_backup import verbs
from hexhub_backup.history.tables import backups as backups_table
from hexhub_backup.history.tables import operations as operations_table
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.web.server import Housekeeping
from tests.support.databases import NewDatabase
from tests.support.directory import depot_of
from tests.support.hosts import make_app
from tests.support.people import sign_in
from tests.support.serving import PREFIX, make_backup

pytestmark = pytest.mark.usefixtures("served")

BACKUPS, OPERATIONS = 400, 1500
#: Bytes: of each manifest and outcome there are some 12 KB, 23 MB in all.
_MISSING = [f"packages/gone-{number:04}-1.0.0.tar.gz" for number in range(300)]
MANIFEST = {
    "contents": {"users": 7, "packages": 5, "releases": 6, "owners": 1},
    "checksums": {"users.json": "sha256:abc"},
    "missing_files": _MISSING,
}
NOW = datetime.now(timezone.utc)


def _operation(number: int) -> dict[str, Any]:
    restores = number % 2 == 0
    return {
        "id": f"20240101-{number:06}-abcdef",
        "verb": "restore" if restores else "undo",
        "state": "completed",
        "actor": "ada",
        "options": {},
        "follows_id": f"plan-{number}" if restores else f"gone-{number}",
        "bound": True,
        "queued_at": NOW - timedelta(minutes=OPERATIONS - number),
        "started_at": NOW - timedelta(minutes=OPERATIONS - number),
        "finished_at": NOW,
        "outcome": {"warning_count": number, "records": {}, "warnings": _MISSING},
    }


def _backup(number: int) -> dict[str, Any]:
    return {
        "id": f"20240101-{number:06}-fedcba",
        # The latest twenty have failed, the others have lost their files.
        "state": "failed" if number >= BACKUPS - 20 else "completed",
        "created_at": NOW - timedelta(minutes=BACKUPS - number),
        "created_by": "ada",
        "manifest": MANIFEST,
        "warning_count": 0,
        "kept": False,
    }


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, database: NewDatabase) -> Flask:
    uri = database()
    config = {} if uri is None else {"SQLALCHEMY_DATABASE_URI": uri}
    app = make_app(tmp_path_factory.mktemp("long"), config)
    with app.app_context():
        good = make_backup(app)
        old = NOW - timedelta(days=3)
        backups_of(app).catalog.update_backup(good, created_at=old)
        backups_of(app).catalog.finish_operation(good, queued_at=old, started_at=old)
        app.extensions["good"] = good
        with db.engine.begin() as connection:
            connection.execute(sa.insert(backups_table), list(map(_backup, range(BACKUPS))))
            rows = list(map(_operation, range(OPERATIONS)))
            connection.execute(sa.insert(operations_table), rows)
    return app


@pytest.fixture(autouse=True)
def _undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    # A thread that looks through the history, and whose memory would be taken for a page's.
    monkeypatch.setattr(Housekeeping, "look", lambda *_, **__: None)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    client = app.test_client()
    assert sign_in(client, ADMIN).status_code == 303
    # What is made once, such as templates, is no part of a page's memory.
    client.get(f"{PREFIX}/")
    return client


def memory_of(work: Callable[[], Any]) -> tuple[Any, float]:
    """What some work gives, and how many MiB it took at its peak.

    The lesser of two peaks: Python's own table of interned texts, which is the whole process's,
    takes 4 MiB at once where it grows, and once.
    """
    peaks = []
    for _ in range(2):
        tracemalloc.start()
        try:
            result = work()
            peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
        finally:
            tracemalloc.stop()
    return result, min(peaks)


def test_the_history_is_read_by_the_page(app: Flask, client: FlaskClient) -> None:
    pages = (BACKUPS + 1 + 19) // 20
    for number in (1, 2, pages):
        answer, peak = memory_of(partial(client.get, f"{PREFIX}/?page={number}"))
        assert answer.status_code == 200
        first = 20 * (number - 1) + 1
        last = min(first + 19, BACKUPS + 1)
        assert f"{first} to {last} of {BACKUPS + 1} backups" in answer.text
        # It looked for the latest good one through all of those that have lost their files.
        assert f'The latest good backup was made <a class="link" href="{PREFIX}/{good(app)}"' in (
            answer.text
        )
        assert peak < 4
    assert f'href="{PREFIX}/20240101-{BACKUPS - 1:06}-fedcba"' in client.get(f"{PREFIX}/").text
    assert "completed, 1,499 warnings" in answer.text
    assert client.get(f"{PREFIX}/?page={pages + 1}").status_code == 404


def good(app: Flask) -> str:
    made: str = app.extensions["good"]
    return made


def test_what_carried_out_a_plan_and_what_undid_a_restore_are_asked_for(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    restore = backups.catalog.operation(_operation(10)["id"])
    found, peak = memory_of(lambda: verbs.undo.undone_by(backups.catalog, restore.id))
    assert (found, peak < 1) == (None, True)
    with db.engine.begin() as connection:
        connection.execute(
            sa.update(operations_table)
            .where(operations_table.c.id == _operation(1301)["id"])
            .values(follows_id=restore.id)
        )
    found, peak = memory_of(lambda: verbs.undo.undone_by(backups.catalog, restore.id))
    assert found is not None
    assert found.id == _operation(1301)["id"]
    assert peak < 1
    answer, peak = memory_of(lambda: client.get(f"{PREFIX}/operations/{restore.id}"))
    assert "undone" in answer.text
    assert peak < 4
    plan = {**_operation(20), "id": "plan-500", "verb": "inspect", "options": {"archive": "/a.tar"}}
    with db.engine.begin() as connection:
        connection.execute(sa.insert(operations_table), plan)
    answer, peak = memory_of(lambda: client.get(f"{PREFIX}/plans/plan-500"))
    assert answer.status_code == 404
    assert f"/operations/{_operation(500)['id']}" in answer.text
    assert peak < 4


def test_lists_of_the_command_line_have_no_manifests_and_no_outcomes(app: Flask) -> None:
    def said(*arguments: str) -> Any:
        found: Result = app.test_cli_runner().invoke(args=["backups", *arguments, "--json"])
        assert found.exit_code == 0, found.output
        return json.loads(found.output)

    said("list")
    rows, peak = memory_of(lambda: said("list"))
    assert len(rows) == BACKUPS + 1
    assert rows[0]["contents"] == MANIFEST["contents"]
    assert rows[0]["checksums"] is True
    assert peak < 6
    rows, peak = memory_of(lambda: said("operations"))
    assert len(rows) >= OPERATIONS
    assert peak < 10
    rows, peak = memory_of(lambda: said("prune", "--dry-run"))
    assert (rows["backups"], rows["dry_run"]) == ([], True)
    assert len(rows["held"]) == BACKUPS + 1
    assert {*map(tuple, rows["held"].values())} == {("days",)}
    assert peak < 6


def test_the_file_of_the_directory_that_has_no_row_is_looked_for_one_by_one(
    backups: Backups, app: Flask
) -> None:
    _, peak = memory_of(lambda: backups.prepare(app))
    assert peak < 4
    assert Path(depot_of(backups).archive(good(app))).exists()
