"""A registry with something in it, into which hostile archives are restored, one after another.

Each goes the way an admin's upload goes: inspect and restore, overwriting, with everything
granted. Then the registry, the storage and everything around them is looked at.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sqlite3
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from flask import Flask

import hexhub_backup
from examples.host_app import create_app
from examples.host_app.models import db
from hexhub_backup import verbs
from hexhub_backup.archive.faults import shown
from hexhub_backup.errors import FAULT_CODES, BackupError
from hexhub_backup.history.models import Who
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.choice import Choice
from tests.hostile import oracle
from tests.hostile.archives import PASSWORD, ROWS, TIME
from tests.hostile.variants import Variant

ADMIN = "ada"
_PRODUCT = Path(hexhub_backup.__file__).parent
_ACCOUNTS = (ADMIN, "bob", "carol")
#: What names with an absolute path would write.
TARGET = Path("/tmp/hexhub_backup_hostile_target")
_COLUMNS = {
    "users": "SELECT username, * FROM users",
    "packages": "SELECT name, * FROM packages",
    "releases": "SELECT p.name AS package_name, r.* FROM releases r"
    " JOIN packages p ON p.id = r.package_id",
    "owners": "SELECT p.name AS package_name, u.username AS username, o.* FROM owners o"
    " JOIN packages p ON p.id = o.package_id JOIN users u ON u.id = o.user_id",
}
# Forgotten after so many: the history of operations would make each slower than the one before.
_FRESH_AFTER = 50

# What every operation writes, refused or not: its history, its events, who has the lock.
_OURS = ("host/host_app.sqlite3", "host/backups/operations/", "host/backups/lock")

# What is kept to undo a restore that has happened.
_TO_UNDO = ("host/backups/undo/", "host/storage/.hexhub-backup/undo", "host/storage/.hexhub-backup")
# All else in a record is passed over.
_TRAVELS = {kind: {*rows[0]} for kind, rows in ROWS.items()}
_TRAVELS["users"].add("is_admin")

Files = dict[str, bytes]


@dataclass(frozen=True)
class State:
    """All that a refused archive must leave alone."""

    registry: oracle.Registry
    #: Every other table of the host, row by row.
    others: dict[str, list[Any]]
    files: Files
    surroundings: dict[str, tuple[int, bytes | None]]


@dataclass(frozen=True)
class Outcome:
    """What became of a variant: `restored`, `refused` with its codes, or `failed` with a reason."""

    result: str
    codes: tuple[str, ...] = ()
    why: str = ""


class _TooSlowError(BaseException):
    """No Exception, so that nothing swallows it."""


class _Errors(logging.Handler):
    """Keeps what is logged with a traceback."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        cause = traceback.format_exception(*record.exc_info)[-3:] if record.exc_info else ""
        self.found.append(f"{record.getMessage()} {cause}")


class Arena:
    """Its state is set back after every variant that is restored."""

    def __init__(self, root: Path, *, seconds: int = 60) -> None:
        self.root = root
        self._seconds = seconds
        self._archive = root / "in" / "archive.tar"
        self._archive.parent.mkdir(parents=True)
        canary = root / "here" / "canary"
        canary.parent.mkdir()
        canary.write_bytes(b"alive")
        self.app: Flask = create_app(root / "host")
        self._storage = root / "host" / "storage"
        self._errors = _Errors()
        self._ran = 0
        with self.app.app_context():
            self.backups: Backups = self.app.extensions["hexhub_backup"]
            self.backups.prepare(self.app)
            db.engine.dispose()
        self._database = sqlite3.connect(root / "host" / "host_app.sqlite3", isolation_level=None)
        self._database.row_factory = sqlite3.Row
        _fill(self._database)
        self._files = {
            "hosted/packages/jason/jason-1.4.0.tar.gz": b"another jason",
            "hosted/packages/own/own-1.0.0.tar.gz": b"own",
            "hosted/docs/own/own-1.0.0.tar.gz": b"docs of own",
        }
        self._kept = sqlite3.connect(":memory:")
        self._database.backup(self._kept)
        self._expected: dict[bytes, State] = {}
        with self.entered(), suppress(BackupError):
            # The first operation of all makes what all of them use.
            self._archive.write_bytes(b"")
            self._restore(self._archive)
        self._set_back()
        self._before = self.state()

    def close(self) -> None:
        self._database.close()
        self._kept.close()
        with self.app.app_context():
            db.engine.dispose()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Work from a directory that is looked after, and keep the log to ourselves."""
        log, here = logging.getLogger("hexhub_backup"), Path.cwd()
        level = log.level
        log.addHandler(self._errors)
        log.propagate = False
        log.setLevel(logging.ERROR)
        os.chdir(self.root / "here")
        try:
            with self.app.app_context():
                yield
        finally:
            os.chdir(here)
            log.removeHandler(self._errors)
            log.propagate = True
            log.setLevel(level)

    def _restore(self, path: Path) -> dict[str, Any]:
        """The one place that knows how a restore is called. Raises BackupError."""
        who = Who(actor=ADMIN, address="192.0.2.1")
        choice = Choice(strategy="overwrite", protected=True)
        plan = self.backups.orders.run(
            self.app, verbs.inspect.order(self.backups.history, who, str(path), choice)
        ).operation
        try:
            return self.backups.orders.run(
                self.app, verbs.restore.order(self.backups.plans, who, plan)
            ).outcome
        finally:
            # One that was not carried out would wait for another try.
            self.backups.depot.kept("plan", plan).remove()

    def run(self, variant: Variant) -> Outcome:
        """Restore a variant, and judge what came of it. Only in `entered`."""
        self._errors.found.clear()
        self._archive.write_bytes(variant.data)
        outcome: dict[str, Any] | None = None
        try:
            with self._bounded():
                outcome = self._restore(self._archive)
        except BackupError as error:
            result = self._judge_refusal(variant, error)
        except _TooSlowError:
            result = Outcome("failed", why=f"it takes more than {self._seconds} s")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            result = Outcome("failed", why=f"a traceback: {error!r}")
        else:
            result = self._judge_restore(variant, outcome)
        if self._errors.found:
            result = Outcome("failed", why=f"an error was logged: {self._errors.found[0]}")
        self._ran += 1
        if result.result != "refused" or self._ran % _FRESH_AFTER == 0:
            self._set_back()
        return result

    # -- judging -----------------------------------------------------------------------------

    def _judge_refusal(self, variant: Variant, error: BackupError) -> Outcome:
        codes = tuple(sorted({fault.code for fault in error.faults})) or (error.code,)
        why = ""
        if variant.expect == "same":
            why = f"it is harmless, and was refused: {error}"
        elif error.code == "failed":
            why = f"an unexpected error: {error!r} of {error.__cause__!r}"
        elif len(error.faults) > 100 or not FAULT_CODES.keys() >= {f.code for f in error.faults}:
            why = "faults that are too many, or of no code"
        elif len(str(error)) > 2000 or not str(error).isprintable():
            why = "a message that is no message"
        elif self.state() != self._before:
            why = f"it was refused, and changed {self._changes()}"
        return Outcome("failed" if why else "refused", codes, why)

    def _judge_restore(self, variant: Variant, outcome: dict[str, Any]) -> Outcome:
        after = self.state()
        if variant.expect == "refused":
            return Outcome("failed", why="it had to be refused, and was restored")
        around = {
            name: what
            for name, what in after.surroundings.items()
            if not name.startswith(_TO_UNDO[:2]) and name not in _TO_UNDO
        }
        if around != self._before.surroundings or after.others != self._before.others:
            return Outcome("failed", why=f"it changed {self._changes()}")
        why = ""
        try:
            if variant.expect == "any":
                self._compare(variant.data, after, outcome)
        except Exception as error:
            # The other code does not take what ours took, in whichever way it says so.
            why = f"it was restored: {error!r}"
        # tarfile wants sense of every field of a header; a restore has no use for most of them.
        unread = why.startswith("it was restored: ReadError")
        if variant.expect == "same" or unread:
            wanted = self._same_as(variant)
            if (after.registry, after.files) == (wanted.registry, wanted.files):
                why = ""
            else:
                why = why or "it is harmless, and was restored as something else"
        return Outcome("failed" if why else "restored", why=why)

    def _same_as(self, variant: Variant) -> State:
        """The state after the restore of the valid archive that a variant was made of."""
        data = variant.original
        if data not in self._expected:
            self._set_back()
            self._archive.write_bytes(data)
            outcome = self._restore(self._archive)
            self._expected[data] = self.state()
            self._compare(data, self._expected[data], outcome)
        return self._expected[data]

    def _compare(self, data: bytes, after: State, outcome: dict[str, Any]) -> None:
        """Hold the registry against what other code reads in the archive."""
        archive, members = oracle.read(data)
        before = self._before
        blocked = {w["record"] for w in outcome["warnings"] if w["code"] == "blocked"}
        left_out = sum(counts["left_out"] for counts in outcome["records"].values())
        if left_out != len(blocked):
            raise oracle.WronglyTakenError(f"{left_out} records left out, {len(blocked)} named")
        files = dict(before.files)
        for kind, records in archive.items():
            known = {*records, *before.registry[kind]}
            if not after.registry[kind].keys() <= known:
                raise oracle.WronglyTakenError(f"{kind} that nobody knows")
            for key in known:
                there, now = before.registry[kind].get(key), after.registry[kind].get(key)
                if (
                    blocked & {_label(kind, key), _label(kind, map(shown, key))}
                    or key not in records
                    or key == (ADMIN,)
                ):
                    if there != now:
                        raise oracle.WronglyTakenError(f"{kind} {key}: not to be changed")
                    continue
                _compare_record(kind, records[key], there, now)
                if kind == "releases":
                    for type_ in ("packages", "docs"):
                        member = oracle.member_of(type_, *key)
                        if member in members:
                            path = f"hosted/{type_}/{key[0]}/{key[0]}-{key[1]}.tar.gz"
                            files[path] = members[member]
        if after.files != files:
            raise oracle.WronglyTakenError("files that are not those of the archive")

    def _changes(self) -> list[str]:
        after = self.state()
        parts = ("registry", "others", "files", "surroundings")
        return [part for part in parts if getattr(after, part) != getattr(self._before, part)]

    # -- looking -----------------------------------------------------------------------------

    def state(self) -> State:
        query = self._database.execute
        registry: oracle.Registry = {}
        for kind, sql in _COLUMNS.items():
            records = [dict(row) for row in query(sql)]
            for record in records:
                # A new account gets one by chance.
                if kind == "users" and record["id"] > len(_ACCOUNTS):
                    record["session_token"] = None
            registry[kind] = {
                tuple(record[name] for name in oracle.KEYS[kind]): record for record in records
            }
            if len(registry[kind]) != len(records):
                raise oracle.WronglyTakenError(f"two {kind} of one key in the registry")
        others = {
            name: [tuple(row) for row in query(f'SELECT * FROM "{name}"')]
            for (name,) in query("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            if name not in _COLUMNS and not name.startswith(("hexhub_backup_", "audit", "sqlite"))
        }
        files: Files = {}
        surroundings: dict[str, tuple[int, bytes | None]] = {}
        for path in self.root.rglob("*"):
            name = str(path.relative_to(self.root))
            if name.startswith(_OURS):
                continue
            if name.startswith("host/storage/hosted/"):
                if not path.is_dir():
                    files[name.removeprefix("host/storage/")] = path.read_bytes()
            elif path != self._archive:
                content = path.read_bytes() if path.is_file() else None
                surroundings[name] = (path.lstat().st_mode, content)
        if TARGET.exists() or TARGET.is_symlink():
            surroundings[str(TARGET)] = (0, None)
        return State(registry, others, files, surroundings)

    def _set_back(self) -> None:
        """Make everything as it was; what a variant did not change is not touched."""
        with self.app.app_context():
            db.session.remove()
        self._kept.backup(self._database)
        for name in ("operations", "undo"):
            for path in (self.root / "host" / "backups" / name).iterdir():
                path.unlink()
        for name in ("hosted", ".hexhub-backup"):
            with suppress(FileNotFoundError):
                shutil.rmtree(self._storage / name)
        for name, data in self._files.items():
            path = self._storage / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        def too_slow(_: int, frame: FrameType | None) -> None:
            # What is raised in a callback of the collector or of a weak reference is swallowed, and
            # warned of: it is raised where our own code is, now or a moment later.
            if frame is not None and Path(frame.f_code.co_filename).is_relative_to(_PRODUCT):
                raise _TooSlowError

        previous = signal.signal(signal.SIGALRM, too_slow)
        signal.setitimer(signal.ITIMER_REAL, self._seconds, 0.01)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)


def _compare_record(
    kind: str,
    told: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    now: Mapping[str, Any] | None,
) -> None:
    if now is None:
        raise oracle.WronglyTakenError(f"{kind}: a record that is not there")
    if before is not None and before["id"] != now["id"]:
        raise oracle.WronglyTakenError(f"{kind}: a record that became another row")
    if now.get("totp_secret") is not None:
        raise oracle.WronglyTakenError(f"{kind}: a secret came in")
    for field, value in told.items():
        if field not in _TRAVELS[kind] or field in oracle.KEYS[kind]:
            continue
        if field == "totp_enabled":
            # No account of the arena's has a secret.
            value = False  # noqa: PLW2901
        unchanged = before is not None and field in oracle.VOLATILE and before[field] == now[field]
        if not (unchanged or oracle.same(field, value, now[field])):
            raise oracle.WronglyTakenError(
                f"{kind}: {field} is {now[field]!r}, where the archive says {value!r}"[:200]
            )


def _label(kind: str, key: Iterable[str]) -> str:
    return " ".join((kind[:-1], *key))


def _fill(database: sqlite3.Connection) -> None:
    """Rows that the archives know, that they know otherwise, and that they don't know."""

    def add(table: str, **values: Any) -> None:
        marks = ", ".join("?" * len(values))
        sql = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"
        database.execute(sql, [*values.values()])

    at = TIME.replace("T", " ").removesuffix("Z")
    times = {"inserted_at": at, "updated_at": at}
    columns = {row["name"] for row in database.execute("PRAGMA table_info(users)")}
    for number, name in enumerate(_ACCOUNTS, start=1):
        values = {
            "id": number,
            "username": name,
            "email": f"{name}@registry.example",
            "password_hash": PASSWORD,
            "is_admin": name == ADMIN,
            "totp_enabled": False,
            "service_account": False,
            "session_token": f"{number:032}",
            **times,
        }
        add("users", **{key: value for key, value in values.items() if key in columns})
    empty = json.dumps({})
    for number, name in enumerate(("jason", "own"), start=11):
        add(
            "packages",
            id=number,
            name=name,
            repository_name="hexpm",
            meta=empty,
            private=False,
            downloads=0,
            source="local",
            **times,
        )
        add(
            "releases",
            id=number,
            package_id=number,
            version=("1.4.0", "1.0.0")[number - 11],
            has_docs=number == 12,
            meta=empty,
            requirements=empty,
            downloads=0,
            **times,
        )
    add("owners", id=21, package_id=11, user_id=3, level="full", inserted_at=at)
    with closing(database.execute("SELECT count(*) FROM users")) as found:
        assert found.fetchone()[0] == 3
