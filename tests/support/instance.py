"""An instance of the example host, used as its admin does: by commands, in processes of its own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.support import forks
from tests.support.patience import PATIENCE
from tests.support.stored import HostBucket

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).parents[1] / "data"
_DATABASE_URI = "HOST_APP_DATABASE_URI"
_UNDO = Path(".hexhub-backup/undo")
#: Columns that a restore does not restore, and what hears of it changes.
_RANDOM = {"session_token"}
APP = "examples.host_app"
FLASK = [sys.executable, "-m", "flask", "--app", APP]


@dataclass(frozen=True)
class Instance:
    """All state of it lies in `path`, but for its database where `uri` names one."""

    path: Path
    uri: str | None = None
    #: Where its files are, and maybe its backups, unless in `path` too.
    bucket: HostBucket | None = None

    @property
    def environment(self) -> dict[str, str]:
        given = {name: value for name, value in os.environ.items() if name != _DATABASE_URI}
        return {
            **given,
            **({} if self.uri is None else {_DATABASE_URI: self.uri}),
            **({} if self.bucket is None else self.bucket.config),
            "HOST_APP_DATA": str(self.path),
            **({"HOST_APP_NAS": str(self.nas)} if self.nas.is_dir() else {}),
            "PYTHONPATH": str(ROOT),
            # A host does not close its pool of connections when it ends.
            "PYTHONWARNINGS": "error,ignore:datetime.datetime.utcnow:DeprecationWarning,"
            "ignore:<psycopg.Connection object:ResourceWarning,"
            # Python 3.13 says so of SQLite's too.
            "ignore:unclosed database in <sqlite3.Connection object:ResourceWarning",
        }

    def run(
        self,
        *arguments: str,
        stdin: str = "",
        started: Callable[[int], object] = lambda _: None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `flask …` and give what it said, whatever its exit code."""
        return forks.run(
            *("flask", "--app", APP, *arguments),
            folder=ROOT,
            environment=self.environment,
            stdin=stdin,
            timeout=PATIENCE,
            started=started,
        )

    def start(self, *arguments: str, app: str = APP) -> subprocess.Popen[str]:
        """Start `flask …` and leave it running."""
        return subprocess.Popen(
            [*FLASK[:-1], app, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def seed(self, **numbers: int) -> None:
        options = [f"--{name.replace('_', '-')}={number}" for name, number in numbers.items()]
        done = self.run("seed", *options)
        assert done.returncode == 0, done.stderr

    def backups(self, *arguments: str) -> Any:
        """Run `flask backups … --json`, which has to succeed, and give its document."""
        done = self.run("backups", *arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def refused(self, *arguments: str) -> dict[str, Any]:
        """Run `flask backups … --json`, which has to be refused without a traceback."""
        done = self.run("backups", *arguments, "--json")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        error: dict[str, Any] = json.loads(done.stdout)["error"]
        return error

    @property
    def depot(self) -> Path:
        if self.bucket is not None and self.bucket.depot:
            return self.bucket.backups
        return self.path / "backups"

    @property
    def storage(self) -> Path:
        return self.path / "storage" if self.bucket is None else self.bucket.root

    @property
    def nas(self) -> Path:
        """Where its backups are copied to, if that is there."""
        return self.path / "nas"

    @contextmanager
    def database(self) -> Iterator[sa.Connection]:
        """A connection to its database, in one transaction."""
        uri = self.uri or f"sqlite:///{self.path / 'host_app.sqlite3'}"
        engine = sa.create_engine(uri, poolclass=sa.NullPool)
        with engine.begin() as connection:
            yield connection

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of the host's own tables, without what is new each time: a session token."""
        with self.database() as connection:
            inspector = sa.inspect(connection)
            return {
                name: [
                    tuple(row)
                    for row in connection.execute(_columns(inspector, name).order_by(sa.text("1")))
                ]
                for name in sorted(inspector.get_table_names())
                if not name.startswith(("hexhub_backup_", "audit"))
            }

    def files(self) -> dict[str, str]:
        """Every file of the storage, staged ones too, by its hash; not what an undo needs."""
        undo = self.storage / _UNDO
        found = {}
        for path in sorted(self.storage.rglob("*")):
            # The host may delete it meanwhile.
            with suppress(FileNotFoundError):
                if path.is_file() and undo not in path.parents:
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    found[str(path.relative_to(self.storage))] = digest
        return found

    def registry(self) -> tuple[Any, ...]:
        """All that a restore may change, to be compared."""
        return self.rows(), self.files()

    def leftovers(self) -> list[str]:
        """What an operation must not leave behind."""
        staged = [
            path
            for path in (self.storage / _UNDO.parent).glob("*")
            # What the undo of a restore that has happened needs stays. What dies while it tries a
            # bucket leaves that to the bucket's rule.
            if path.name not in (_UNDO.name, *(() if self.bucket is None else ("probe",)))
        ]
        parts = [*self.path.glob("backups/*.part"), *self.path.glob("backups/work-*")]
        return [str(path.relative_to(path.parents[1])) for path in (*parts, *staged)]


def _columns(inspector: sa.Inspector, table: str) -> sa.Select[Any]:
    names = (column["name"] for column in inspector.get_columns(table))
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in names if name not in _RANDOM]
    return sa.select(*columns).select_from(sa.table(table))
