"""What an admin would run instead: GNU tar, sha256sum, and the database's own dump."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.support import postgres
from tests.support.instance import Instance

_COPY = (
    "import sqlite3, sys; source, target = map(sqlite3.connect, sys.argv[1:]); "
    "source.backup(target)"
)


class Database(Protocol):
    """One that holds registries, and its own way to dump one."""

    def new(self) -> str | None:
        """The URI of a new, empty database; None for a file of the instance's."""
        ...

    def dump(self, instance: Instance, to: Path) -> str:
        """The command that dumps an instance's database."""
        ...

    def load(self, dump: Path, place: Path) -> str:
        """The command that loads a dump into a new database, in `place` if it is a file."""
        ...

    def versions(self) -> list[str]: ...


class SQLite:
    def __init__(self) -> None:
        self._shell = shutil.which("sqlite3")

    def new(self) -> None:
        return None

    def dump(self, instance: Instance, to: Path) -> str:
        to.unlink(missing_ok=True)
        return self._copy(instance.path / "host_app.sqlite3", to)

    def load(self, dump: Path, place: Path) -> str:
        return self._copy(dump, place / "loaded.sqlite3")

    def _copy(self, source: Path, target: Path) -> str:
        if self._shell is None:
            return f"{sys.executable} -c '{_COPY}' {source} {target}"
        return f"{self._shell} {source} '.backup {target}'"

    def versions(self) -> list[str]:
        if self._shell is None:
            return [f"the backup API of Python's sqlite3 {sqlite3.sqlite_version}"]
        return [f"sqlite3 {first_line(self._shell).split()[0]}"]


class Durable(postgres.Server):
    """A server that syncs what it commits, unlike that of the tests: it is measured."""

    unsafe = ()


class PostgreSQL:
    def __init__(self, server: postgres.Server) -> None:
        self._server = server

    def new(self) -> str:
        return self._server.create()

    def dump(self, instance: Instance, to: Path) -> str:
        name = postgres.name_of(str(instance.uri))
        return self._server.command("pg_dump", "-Fc", f"-f {to}", name)

    def load(self, dump: Path, place: Path) -> str:
        name = postgres.name_of(self._server.create())
        return self._server.command("pg_restore", f"-d {name}", str(dump))

    def versions(self) -> list[str]:
        return [first_line(str(self._server.programs / "pg_dump"))]


@contextmanager
def database(name: str, at: Path | None) -> Iterator[Database]:
    """SQLite, or a PostgreSQL server that runs with its files below `at`."""
    if name == "sqlite":
        yield SQLite()
        return
    with tempfile.TemporaryDirectory(prefix="bench-pg-", dir=at) as folder:
        server = Durable(Path(folder))
        try:
            server.start()
            yield PostgreSQL(server)
        finally:
            server.stop()


def first_line(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()[0]


def versions(database: Database) -> list[str]:
    """Of everything that is beside ours."""
    return [first_line("sha256sum"), first_line("tar"), *database.versions()]


class Peers:
    """The commands beside the operations of one instance, with what they leave in `folder`."""

    def __init__(self, database: Database, instance: Instance, folder: Path) -> None:
        self._database, self._instance = database, instance
        self._tar, self._sums = folder / "peer.tar", folder / "peer.sums"
        self._dump = folder / "peer.dump"

    def create(self) -> str:
        """(a): all files in a tar, their hashes, and the database dumped; all of it synced."""
        self._tar.unlink(missing_ok=True)
        return " && ".join(
            (
                f"cd {self._instance.storage}",
                f"tar -cf {self._tar} .",
                f"find . -type f -print0 | xargs -0 sha256sum > {self._sums}",
                self._database.dump(self._instance, self._dump),
                f"sync {self._tar} {self._sums} {self._dump}",
            )
        )

    def restore(self, place: Path) -> str:
        """(b): the tar unpacked and checked in an empty folder, and the dump loaded; synced."""
        return " && ".join(
            (
                f"cd {place}",
                f"tar -xf {self._tar}",
                f"sha256sum --quiet -c {self._sums}",
                self._database.load(self._dump, place),
                f"sync -f {place}",
            )
        )

    def check(self, archive: Path) -> str:
        """(c): the hash of an archive."""
        return f"sha256sum {archive}"
