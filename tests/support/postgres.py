"""A PostgreSQL server for the tests alone: made in a folder of /tmp, and gone with its user.

`python -m tests.support.postgres COMMAND …` runs a command beside one, whose address is in
`TEST_DATABASE_URI`.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.support.patience import PATIENCE
from tests.support.servers import run_beside, running, unprivileged

_MISSING = (
    "There is no PostgreSQL to test with, and its tests are never skipped: install the Debian "
    "package postgresql (or another one of PostgreSQL 15 or later, and put initdb on the PATH)."
)
#: A server, after the signal that ends it: it ends with whoever holds the other end of its
#: standard input, however that ends.
GUARD = 'by=$1; shift; "$@" </dev/null & server=$!; read -r _; kill -$by $server; wait $server'


def programs() -> Path:
    """The folder of `initdb`, `postgres`, `createdb` and the like."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    with suppress(OSError, subprocess.CalledProcessError):
        asked = subprocess.run(["pg_config", "--bindir"], capture_output=True, check=True)
        candidates.insert(0, Path(os.fsdecode(asked.stdout.strip())))
    candidates += [Path("/usr/local/bin"), *map(Path, os.get_exec_path())]
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return (folder / "initdb").resolve().parent
    raise RuntimeError(_MISSING)


class Server:
    """One cluster below `folder`, reached over a socket in it; its databases sort like English
    does, so that what sorts by bytes has said so."""

    #: Nothing here has to outlive a power cut: with -F it takes no fsync, of which each new
    #: database takes hundreds.
    unsafe: tuple[str, ...] = ("-F",)

    def __init__(self, folder: Path) -> None:
        self.programs = programs()
        self.folder = folder
        self._whom = unprivileged("postgres", "nobody")
        self._process: subprocess.Popen[bytes] | None = None
        if self._whom:
            os.chown(folder, self._whom["user"], self._whom["group"])
        locale = ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]
        options = ["--no-sync", "-U", "tests", "-A", "trust", *locale]
        made = self._run("initdb", "-D", folder / "data", *options)
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stdout}{made.stderr}")

    def _run(self, program: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.programs / program, *map(str, arguments)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            **self._whom,
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [str(self.programs / "postgres"), *self.unsafe]
        command += ["-D", str(self.folder / "data")]
        command += ["--listen_addresses=", f"--unix_socket_directories={self.folder}"]
        with (self.folder / "log").open("ab") as log:
            self._process = process = subprocess.Popen(
                ["sh", "-c", GUARD, "sh", "INT", *command],
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                **self._whom,
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                psycopg.connect(self.address("postgres")).close()
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    said = (self.folder / "log").read_text()
                    raise RuntimeError(f"PostgreSQL does not start: {said[-2000:]}") from None
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop it, in the middle of whatever is going on."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def address(self, database: str) -> str:
        """The URI as the server's own programs and its driver know it."""
        return f"postgresql://tests@/{database}?host={self.folder}"

    def uri(self, database: str) -> str:
        """The URI as SQLAlchemy knows it."""
        return self.address(database).replace("postgresql:", "postgresql+psycopg:")

    def command(self, program: str, *arguments: str) -> str:
        """A program of PostgreSQL's with its arguments, for a shell."""
        return " ".join(
            [str(self.programs / program), "-h", str(self.folder), "-U tests", *arguments]
        )

    def create(self) -> str:
        """The URI of a new, empty database."""
        return self.copy("template1")

    def copy(self, database: str, *, tablespace: str = "pg_default") -> str:
        """The URI of a new database that is as another one, which nobody uses just now."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {name_of(database)} TABLESPACE {tablespace}")
        return self.uri(name)

    @contextmanager
    def tablespace(self, folder: Path) -> Iterator[str]:
        """A place for databases in a folder that its server can reach; they go with it."""
        if self._whom:
            os.chown(folder, self._whom["user"], self._whom["group"])
        name = f"space_{secrets.token_hex(6)}"
        self.execute(f"CREATE TABLESPACE {name} LOCATION '{folder}'")
        try:
            yield name
        finally:
            in_it = (
                "SELECT datname FROM pg_database JOIN pg_tablespace AS space "
                f"ON dattablespace = space.oid WHERE spcname = '{name}'"
            )
            for (database,) in self.execute(in_it):
                self.execute(f"DROP DATABASE {database} WITH (FORCE)")
            self.execute(f"DROP TABLESPACE {name}")

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Say something as the superuser, outside of the databases under test."""
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def disconnect(self, uri: str) -> int:
        """End every connection to a database, as an administrator would; gives their number."""
        return len(
            self.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = '{name_of(uri)}'"
            )
        )


def name_of(uri: str) -> str:
    """The database that a URI names; a name is its own."""
    return uri.partition("?")[0].rpartition("/")[2]


def server() -> AbstractContextManager[Server]:
    """A server that runs. Raises RuntimeError, which names the fix."""
    return running(Server, "pg")


if __name__ == "__main__":
    run_beside(server())
