"""A MariaDB server for the tests alone: made in a folder of /tmp, and gone with its user.

`python -m tests.support.mariadb COMMAND …` runs a command beside one, whose address is in
`TEST_DATABASE_URI`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pymysql  # type: ignore[import-untyped]

from tests.support.patience import PATIENCE
from tests.support.postgres import GUARD, name_of
from tests.support.servers import run_beside, running, unprivileged

_MISSING = (
    "There is no MariaDB to test with, and its tests are never skipped: install the Debian package "
    "mariadb-server (or another one of MariaDB 10.6 or later, and put mariadbd on the PATH)."
)
_USER = "tests"
#: Of the kernel's asynchronous I/O there is not enough for one server a test process.
_MANY = ("--innodb-use-native-aio=OFF",)
#: PyMySQL is what all have; mysqlclient has to be compiled.
_DRIVER = os.environ.get("TEST_MARIADB_DRIVER", "pymysql")


def _program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([*os.get_exec_path(), "/usr/sbin"]))
    if found is None:
        raise RuntimeError(_MISSING)
    return found


class Server:
    """A server below `folder`, reached over a socket in it. Its collation folds case, as that of
    most servers does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "socket"
        self._whom = unprivileged("mysql", "nobody")
        self._process: subprocess.Popen[bytes] | None = None
        temporary = folder / "tmp"
        temporary.mkdir()
        # Whichever server starts removes the temporary tables that it finds.
        self._environment = {**os.environ, "TMPDIR": str(temporary)}
        for each in (folder, temporary) if self._whom else ():
            os.chown(each, self._whom["user"], self._whom["group"])
        made = self._run(
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={folder / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *_MANY,
        )
        if made.returncode:
            raise RuntimeError(f"mariadb-install-db failed: {made.stdout}{made.stderr}")

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_program(program), *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            **self._whom,
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [
            _program("mariadbd"),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.socket}",
            f"--pid-file={self.folder / 'pid'}",
            "--skip-networking",
            # As Debian configures it.
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_general_ci",
            # Nothing here has to outlive a power cut.
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-fast-shutdown=2",
            *_MANY,
            "--max-connections=500",
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = process = subprocess.Popen(
                ["sh", "-c", GUARD, "sh", "TERM", *command],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                **self._whom,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "log").read_text()
                raise RuntimeError(f"MariaDB does not start: {said[-2000:]}") from None
            time.sleep(0.02)
        self.execute(
            f"CREATE USER IF NOT EXISTS {_USER}@localhost",
            f"GRANT ALL ON *.* TO {_USER}@localhost",
        )

    def _answers(self) -> bool:
        # By the socket alone: PyMySQL leaves one open that does not connect.
        with socket.socket(socket.AF_UNIX) as asking:
            try:
                asking.connect(str(self.socket))
            except OSError:
                return False
        return True

    def stop(self) -> None:
        """Stop it, in the middle of whatever is going on."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def uri(self, database: str) -> str:
        return uri_of(self.folder, database)

    def create(self, *, collation: str = "utf8mb4_general_ci") -> str:
        """The URI of a new, empty database."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE {collation}")
        return self.uri(name)

    def copy(self, database: str) -> str:
        """The URI of a new database that is as another one."""
        name = f"test_{secrets.token_hex(6)}"
        copy(self.folder, name_of(database), name)
        return self.uri(name)

    def connect(self, uri: str | None = None, **options: Any) -> pymysql.Connection[Any]:
        """A connection of its own: to a database under test, or as root to none."""
        return pymysql.connect(
            unix_socket=str(self.socket),
            user="root" if uri is None else _USER,
            database=None if uri is None else name_of(uri),
            charset="utf8mb4",
            **{"autocommit": True, **options},
        )

    def execute(self, *statements: str, uri: str | None = None) -> list[tuple[Any, ...]]:
        """Say something, beside the connections under test; gives the rows of the last."""
        connection = self.connect(uri)
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def disconnect(self, uri: str) -> int:
        """End every connection to a database, as an administrator would; gives their number."""
        processes = self.execute(
            f"SELECT id FROM information_schema.processlist WHERE db = '{name_of(uri)}'"
        )
        for (process,) in processes:
            with suppress(pymysql.OperationalError):
                self.execute(f"KILL CONNECTION {process}")
        return len(processes)


def copy(folder: Path, database: str, name: str) -> None:
    """Create a database on the server of a folder that is as another one."""
    asked = f"--no-defaults --user=root --socket={folder / 'socket'}"
    dump = f"mariadb-dump {asked} --databases {database} --skip-dump-date"
    # Its own name is in it twice: in CREATE DATABASE, and in USE.
    renamed = f"sed 's/^\\(CREATE DATABASE .*\\|USE \\)`{database}`/\\1`{name}`/'"
    subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{dump} | {renamed} | mariadb {asked}"], check=True
    )


def drop(folder: Path, name: str) -> None:
    connection = pymysql.connect(unix_socket=str(folder / "socket"), user="root")
    try:
        connection.cursor().execute(f"DROP DATABASE IF EXISTS {name}")
    finally:
        connection.close()


def uri_of(folder: Path, database: str) -> str:
    """The URI as SQLAlchemy knows it."""
    return (
        f"mysql+{_DRIVER}://{_USER}@localhost/{database}"
        f"?unix_socket={folder / 'socket'}&charset=utf8mb4"
    )


def server() -> AbstractContextManager[Server]:
    """A server that runs. Raises RuntimeError, which names the fix."""
    return running(Server, "mariadb")


if __name__ == "__main__":
    run_beside(server())
