"""Registries of names, versions and values of every odd sort: what `create` calls completed,
`verify` and a restore take, record for record and byte for byte; what it refuses, it names."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from examples.host_app import create_app
from examples.host_app.models import db
from hexhub_backup import verbs
from hexhub_backup.archive.faults import shown
from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.records import FILE_TYPES, KINDS, RELEASES, Record, ReleaseFile
from hexhub_backup.archive.rules.strict_json import MAX_VALUES
from hexhub_backup.archive.source import FileSource
from hexhub_backup.errors import BackupError, RecordError
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.jobs.running import Done
from hexhub_backup.storage.local import LocalStorage
from tests.support.directory import depot_of
from tests.support.extent import fewer
from tests.support.hosts import ADA, restored

AT = "2026-01-31 10:30:00.123456"

#: Beside letters of every kind: what is the same to some systems, and what some take for more.
NAMES = [
    *(
        "json",
        "JSON",
        "Json",
        "jſon",
        "re\u0301sume\u0301",
        "r\u00e9sum\u00e9",
        "ﬀ",
        "ff",
        "ß",
        "SS",
    ),
    *("x", "x-1.0.0-rc.1.tar.gz", "X-1.0.0-rc.1.tar.gz", "x.tar.gz", "a", "a-b", "-", "--", "_"),
    *("metadata.json", "metadata", "packages", "CON", "a b", " a", "a ", "a'b\"c%s{}", "a:b*?<>|"),
    *("~", "$HOME", "a,b;c", "😀", "\u202eevil", "a\u200bb", "\ufeffa", "é" * 60, "n" * 200, "*"),
]
VERSIONS = [
    *("1.0.0", "1.0.0-rc.1", "1.0.0-RC.1", "1.0.0-RC1", "1.0.0-rc1", "1.0.0+b", "1", "b-1"),
    *("1.0.0-rc.1.tar.gz", "1.0.0 ", "latest", "0", "é", "e\u0301", "1.0.0-𝒂", "v" * 30),
]
#: What no path or no JSON may hold.
BAD_NAMES = [
    *("", ".", "..", "../a", "/a", "a/b", "a\\b", "a\nb", "1.0.0\n", "\x1b[31m", "a\0b", "\x7f"),
    *(".hidden", "a\u0085", "a\u2028b", "n" * 241, "é" * 121, "😀" * 61),
]
#: By a word, as some are long.
JSON: dict[str, str | bytes] = {
    "empty": "{}",
    "values": json.dumps({"a": [1, -0.5, 1e308, 5e-324, None, True, "é\u0301😀\n\u2028\x7f"]}),
    "no key": '{"": {"": []}}',
    "integers": json.dumps({"é": 2**63 - 1, "e\u0301": -(2**63)}),
    "long integer": '{"a": -' + "9" * 400 + "}",
    "escapes": json.dumps({"a" * 1000: "\\u0000 \\ud800 %s"}),
    "case": '{"A": 1, "a": 2}',
    "white space": ' { "a" :\n1 } ',
    "bytes": b'{"a": "\xc3\xa9"}',
    "depth": '{"a": ' + "[" * 62 + "]" * 62 + "}",
}
LARGE: dict[str, str | bytes] = {
    "many values": json.dumps({"a": [[]] * (MAX_VALUES - 100)}),
    "many objects": json.dumps({"a": [{"": 0}] * (MAX_VALUES // 3 - 100)}),
    "long text": json.dumps({"a": "😀" * 1_000_000}, ensure_ascii=False),
}
#: What no reader takes.
BAD_JSON: dict[str, str | bytes] = {
    "NaN": '{"a": NaN}',
    "infinite": '{"a": 1e999}',
    "longer integer": '{"a": ' + "9" * 401 + "}",
    "endless integer": '{"a": ' + "9" * 5000 + "}",
    "NUL": '{"a": "\\u0000"}',
    "half a pair": '{"a": "\\ud800"}',
    "an array": "[]",
    "a text": '"text"',
    "none": "{",
    "too deep": '{"a": ' + "[" * 65 + "]" * 65 + "}",
    "endless": "[" * 10**6,
    "no text": b"\xff",
}
BAD_LARGE: dict[str, str | bytes] = {
    "too many values": json.dumps({"a": [[]] * MAX_VALUES}),
    "too long": json.dumps({"a": "x" * 2**22}),
}
TIMES = [AT, "0001-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.5"]


#: Each name in some versions: a pair of them would make a folder of a file.
_PAIRS = itertools.product([name for name in NAMES if name != "x"], VERSIONS[:5])
ALL = [(*pair, word) for pair, word in zip(_PAIRS, itertools.cycle(JSON), strict=False)]


class Any_(NamedTuple):  # noqa: N801 (`Any` is something else)
    """A registry: rows of tables by their columns, and the files of some releases."""

    rows: dict[str, list[dict[str, Any]]]
    files: dict[ReleaseFile, bytes]
    bad: bool


names = st.sampled_from(NAMES) | st.text("aA-é.e\u0301😀", min_size=1, max_size=6).filter(
    lambda text: not text.startswith(".")
)
versions = st.sampled_from(VERSIONS)
texts = st.sampled_from([None, "", "text", " ", "\n", "é😀", "x" * 5000, "'; DROP TABLE users; --"])


def one_of(draw: st.DrawFn, good: Any, bad: Any, *, chance: bool) -> Any:
    """Something of `bad` in one of ten cases, where there is a `chance` of it at all."""
    return draw(bad if chance and draw(st.integers(0, 9)) == 0 else good)


@st.composite
def registries(draw: st.DrawFn) -> Any_:
    bad = draw(st.booleans())
    objects, bad_objects = st.sampled_from([*JSON]), st.sampled_from([*BAD_JSON])
    bad_names = st.sampled_from(BAD_NAMES)

    def unique(good: Any, size: int) -> list[str]:
        return list(dict.fromkeys(one_of(draw, good, bad_names, chance=bad) for _ in range(size)))

    rows: dict[str, list[dict[str, Any]]] = {"users": [], "packages": [], "releases": []}
    rows["owners"] = []
    files: dict[ReleaseFile, bytes] = {}
    for n, username in enumerate(unique(names, draw(st.integers(0, 3))), start=1):
        rows["users"].append(
            {
                "id": n,
                "username": username,
                "email": f"{n}{draw(texts)}",
                "password_hash": "pbkdf2:sha256:1000$salt$" + "ab" * 32,
                "is_admin": draw(st.booleans()),
                "totp_enabled": False,
                "service_account": draw(st.booleans()),
                "deactivated_at": draw(st.none() | st.sampled_from(TIMES)),
                "session_token": f"{n:032}",
                "inserted_at": AT,
                "updated_at": AT,
            }
        )
    for n, name in enumerate(unique(names, draw(st.integers(1, 4))), start=1):
        rows["packages"].append(
            {
                "id": n,
                "name": name,
                "repository_name": draw(texts.filter(lambda text: text is not None)),
                "meta": one_of(draw, objects, bad_objects, chance=bad),
                "private": draw(st.booleans()),
                "downloads": draw(st.sampled_from([0, -1, 2**63 - 1, -(2**63)])),
                "inserted_at": draw(st.sampled_from(TIMES)),
                "updated_at": AT,
                "html_url": draw(texts),
                "source": "local",
            }
        )
        for version in unique(versions, draw(st.integers(0, 3))):
            has_docs = draw(st.booleans())
            rows["releases"].append(
                {
                    "id": len(rows["releases"]) + 1,
                    "package_id": n,
                    "version": version,
                    "has_docs": has_docs,
                    "meta": one_of(draw, objects, bad_objects, chance=bad),
                    "requirements": "{}",
                    "retired": draw(st.sampled_from([None, "null", "0", '"x"', '{"reason": "é"}'])),
                    "downloads": 0,
                    "inserted_at": AT,
                    "updated_at": draw(st.sampled_from(TIMES)),
                    "url": draw(texts),
                }
            )
            for file_type in FILE_TYPES:
                if draw(st.integers(0, 3)) and (has_docs or file_type == "package"):
                    content = draw(st.binary(max_size=20)) * draw(st.sampled_from([0, 1, 60]))
                    files[ReleaseFile(file_type, name, version)] = content
        for user in rows["users"]:
            if draw(st.booleans()):
                rows["owners"].append(
                    {
                        "id": len(rows["owners"]) + 1,
                        "package_id": n,
                        "user_id": user["id"],
                        "level": draw(st.sampled_from(["full", "", "é"])),
                        "inserted_at": AT,
                    }
                )
    return Any_(rows, files, bad)


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Flask, Flask]]:
    """A host, and another to restore into."""
    made = [create_app(tmp_path_factory.mktemp("any") / name) for name in ("one", "other")]
    for app in made:
        with app.app_context():
            db.create_all()
            backups_of(app).prepare(app)
            # What lies there is no package file.
            backups_of(app).check_restored = backups_of(app).check_release = None
    yield made[0], made[1]
    for app in made:
        with app.app_context():
            db.session.remove()
            db.engine.dispose()


def fill(app: Flask, registry: Any_ | None) -> None:
    """Let the host hold this registry and nothing else."""
    storage = backups_of(app).storage
    assert isinstance(storage, LocalStorage)
    shutil.rmtree(storage.root, ignore_errors=True)
    with db.engine.begin() as connection:
        for table in ("owners", "releases", "packages", "users"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
        if registry is None:
            return
        for table, rows in registry.rows.items():
            for row in rows:
                marks = ", ".join(f":{column}" for column in row)
                statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"
                long = {name: row[name] for name in ("meta",) if name in row}
                text = {
                    name: (JSON | LARGE | BAD_JSON | BAD_LARGE)[word] for name, word in long.items()
                }
                connection.execute(sa.text(statement), row | text)
    for file, content in registry.files.items():
        try:
            path = storage.path(file)
        except BackupError:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


Content = tuple[dict[str, list[Record]], dict[ReleaseFile, bytes]]


def content(app: Flask, operation: str, index: Path) -> Content:
    """Every record and every file of a backup."""
    archive = depot_of(backups_of(app)).archive(operation)
    with ArchiveReader(FileSource(archive), index) as reader:
        reader.read_members(lambda _: None)
        reader.check_manifest()
        reader.check_files(lambda _: None)
        records = {kind.name: [row for _, row in reader.records(kind)] for kind in KINDS}
        files = {}
        for release in records["releases"]:
            for file_type in FILE_TYPES:
                file = ReleaseFile(file_type, *RELEASES.key_of(release))
                entry = reader.file(file)
                if entry is not None:
                    files[file] = b"".join(reader.open_file(entry))
    return records, files


def labels(registry: Any_) -> set[str]:
    """How every record of the registry is called in a message."""
    rows = registry.rows
    name_of = {row["id"]: row["name"] for row in rows["packages"]}
    user_of = {row["id"]: row["username"] for row in rows["users"]}
    found = {f"user {row['username']}" for row in rows["users"]}
    found |= {f"package {row['name']}" for row in rows["packages"]}
    found |= {f"release {name_of[row['package_id']]} {row['version']}" for row in rows["releases"]}
    found |= {
        f"owner {name_of[row['package_id']]} {user_of[row['user_id']]}" for row in rows["owners"]
    }
    return set(map(shown, found))


def registry_of(*releases: tuple[str, str, str], bad: bool) -> Any_:
    """Releases by name, version and the word for their JSON, each with both files."""
    names = list(dict.fromkeys(name for name, _, _ in releases))
    packages = [
        {
            "id": n,
            "name": name,
            "repository_name": "",
            "meta": "empty",
            "private": False,
            "downloads": 0,
            "inserted_at": AT,
            "updated_at": AT,
            "source": "local",
        }
        for n, name in enumerate(names, start=1)
    ]
    rows = [
        {
            "id": n,
            "package_id": names.index(name) + 1,
            "version": version,
            "has_docs": True,
            "meta": word,
            "requirements": "{}",
            "downloads": 0,
            "inserted_at": AT,
            "updated_at": AT,
        }
        for n, (name, version, word) in enumerate(releases, start=1)
    ]
    files = {
        ReleaseFile(file_type, name, version): f"{file_type} {name} {version}".encode()
        for name, version, _ in releases
        for file_type in FILE_TYPES
    }
    return Any_({"users": [], "packages": packages, "releases": rows, "owners": []}, files, bad)


@given(registries())
@example(registry_of(*ALL, bad=False))
@example(registry_of(*(("a", str(n), word) for n, word in enumerate(LARGE)), bad=False))
@example(registry_of(("a", "1", "too many values"), bad=True))
@example(registry_of(("a", "1", "too long"), bad=True))
@example(registry_of(("a", "1\n\x1b\u0085", "endless"), bad=True))
@example(registry_of(("x", "1.0.0-rc.1", "empty"), ("x-1.0.0-rc.1.tar.gz", "1", "empty"), bad=True))
@settings(
    max_examples=fewer(20),
    deadline=None,
    derandomize=True,
    # One that fails is small, and told in words: no time is spent on a smaller one.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[*HealthCheck],
)
def test_what_is_backed_up_is_restored_and_what_is_refused_is_named(
    apps: tuple[Flask, Flask], tmp_path: Path, registry: Any_
) -> None:
    one, other = apps
    with one.app_context():
        fill(one, registry)
        try:
            done = backups_of(one).orders.run(one, verbs.create.order(ADA))
        except RecordError as error:
            refused = str(error)
        else:
            refused = ""
        if refused:
            assert any(label in refused for label in labels(registry)), refused
            assert registry.bad, refused
            return
        _is_rehearsed(one, done)
        archive = depot_of(backups_of(one)).archive(done.operation)
        records, files = content(one, done.operation, tmp_path / "index")
        assert files == registry.files
        assert {name: len(rows) for name, rows in records.items()} == {
            name: len(rows) for name, rows in registry.rows.items()
        }
    with other.app_context():
        fill(other, None)
        backups = backups_of(other)
        made = restored(other, str(archive))
        assert {warning["code"] for warning in made.outcome["warnings"]} <= {
            "missing_package_file",
            "missing_docs_file",
            # The one who is deactivated may be the only one who has it.
            "no_right_left",
        }
        again = backups.orders.run(other, verbs.create.order(ADA))
        assert content(other, again.operation, tmp_path / "index") == (records, files)


def _is_rehearsed(app: Flask, made: Done) -> None:
    """A rehearsal finds what is missing, and nothing else."""
    history = backups_of(app).history
    done = backups_of(app).orders.run(app, verbs.rehearse.order(history, ADA, made.operation))
    found = done.outcome["findings"]
    assert set(found) <= {"missing_package_file", "missing_docs_file"}, done.outcome["warnings"]
    assert sum(found.values()) == len(made.outcome["manifest"]["missing_files"])


NO_TEXT = "CAST(x'6aff' AS TEXT)"


@pytest.mark.parametrize(
    ("table", "column", "value", "label"),
    [
        ("releases", "version", NO_TEXT, "release b j\\xff, field version"),
        ("releases", "url", NO_TEXT, "release b 1, field url"),
        ("releases", "meta", NO_TEXT, "release b 1, field meta"),
        ("packages", "name", NO_TEXT, "package j\\xff, field name"),
        ("packages", "private", NO_TEXT, "package b, field private"),
        ("packages", "name", "x'ff'", "package b'\\xff', field name"),
        ("packages", "downloads", "'many'", "package b, field downloads"),
        ("packages", "downloads", "1.5", "package b, field downloads"),
        ("releases", "inserted_at", "'yesterday'", "release b 1, field inserted_at"),
        ("releases", "inserted_at", "1769855400", "release b 1, field inserted_at"),
        ("releases", "version", "''", "release b , field version"),
        ("packages", "name", "''", "package , field name"),
    ],
)
def test_what_sqlite_keeps_in_a_column_of_another_type_is_named(
    apps: tuple[Flask, Flask], table: str, column: str, value: str, label: str
) -> None:
    app, _ = apps
    with app.app_context():
        fill(app, registry_of(("a", "1", "empty"), ("b", "1", "empty"), bad=True))
        with db.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE {table} SET {column} = {value} WHERE id = 2")
        with pytest.raises(RecordError) as caught:
            backups_of(app).orders.run(app, verbs.create.order(ADA))
        assert label in str(caught.value)
        assert len(caught.value.faults) == 1
