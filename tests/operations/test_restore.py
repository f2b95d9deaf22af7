"""Restore, on the example host, as its admin does it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.archives import content
from tests.support.databases import NewDatabase
from tests.support.instance import DATA, FLASK, ROOT, Instance
from tests.torture.scenarios import changed_registry
from tests.torture.state import unfinished


@pytest.fixture
def empty(tmp_path: Path, database: NewDatabase) -> Instance:
    return Instance(tmp_path / "empty", database())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, database: NewDatabase) -> Instance:
    """A filled instance with one backup, never changed by a test."""
    instance = Instance(tmp_path_factory.mktemp("source"), database())
    instance.seed(packages=12, releases=3, file_size=3000)
    instance.backups("create")
    return instance


@pytest.fixture(scope="module")
def archive(source: Instance) -> str:
    found: str = source.backups("list")[0]["archive"]
    return found


def codes(warnings: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((warning["code"], warning["record"]) for warning in warnings)


def unpacked(archive: str, folder: Path) -> Any:
    folder.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
    return json.loads((folder / "users.json").read_text())


@pytest.mark.sample
def test_a_registry_comes_back_record_for_record_and_byte_for_byte(
    archive: str, empty: Instance, tmp_path: Path
) -> None:
    restored = empty.backups(
        "restore", archive, "--strategy", "overwrite", "--grant-protected", "--yes"
    )
    assert restored["state"] == "completed"
    assert {warning["code"] for warning in restored["warnings"]} == {"totp_not_restored"}
    again = empty.backups("create")["archive"]
    ours, theirs = content(Path(archive)), content(Path(again))
    for member in ("users.json", "SHA256SUMS"):
        del ours[member], theirs[member]
    assert ours == theirs
    users, users_again = unpacked(archive, tmp_path / "one"), unpacked(again, tmp_path / "two")
    assert [{**user, "totp_enabled": False} for user in users] == users_again
    assert [user for user in users_again if user["is_admin"]]


def test_protected_columns_come_in_only_where_granted(archive: str, empty: Instance) -> None:
    empty.backups("restore", archive, "--yes")
    with empty.database() as connection:
        admins = connection.exec_driver_sql("SELECT count(*) FROM users WHERE is_admin")
        assert admins.scalar_one() == 0


def test_an_archive_of_hexhub_restores_with_exactly_its_warnings(empty: Instance) -> None:
    restored = empty.backups("restore", str(DATA / "hexhub-small.tar"), "--yes")
    assert codes(restored["warnings"]) == sorted(
        [
            ("duplicate_record", "release beta_http 0.1.0"),
            ("missing_package_file", "release zeta_missing 3.1.0"),
            ("missing_package_file", "release eta_legacy 1.0.0"),
            ("missing_package_file", "release eta_legacy 1.1.0"),
            ("missing_docs_file", "release zeta_missing 3.0.0"),
            ("totp_not_restored", "user bob.2fa"),
            ("not_checked", "archive"),
        ]
    )
    records = restored["records"]
    assert {kind: counts["created"] for kind, counts in records.items()} == {
        "users": 5,
        "packages": 8,
        "releases": 21,
        "owners": records["owners"]["created"],
    }
    assert restored["files"]["placed"] == 18 + 6
    again = empty.backups("restore", str(DATA / "hexhub-small.tar"), "--yes")
    for kind, counts in again["records"].items():
        assert counts["unchanged"] == records[kind]["created"], kind
    assert again["files"] == {"placed": 0, "replaced": 0, "bytes": 0}


def test_an_empty_archive_of_hexhub_restores(empty: Instance) -> None:
    restored = empty.backups("restore", str(DATA / "hexhub-empty.tar"), "--yes")
    assert codes(restored["warnings"]) == [("not_checked", "archive")]


@pytest.fixture
def changed(tmp_path: Path, database: NewDatabase) -> tuple[Instance, Path]:
    """An instance, and an archive from before a release was removed, a file and an e-mail were
    changed and a file was lost."""
    return changed_registry(tmp_path, database())


def test_skip_leaves_conflicts_and_their_files_and_puts_back_what_is_lost(
    changed: tuple[Instance, Path],
) -> None:
    instance, archive = changed
    rows, files = instance.registry()
    restored = instance.backups("restore", str(archive), "--yes")
    assert restored["records"]["releases"]["created"] == 1
    assert restored["records"]["releases"]["skipped"] == 1
    assert restored["records"]["users"]["skipped"] == 1
    assert restored["files"]["replaced"] == 0
    rows_now, files_now = instance.registry()
    assert rows_now["users"] == rows["users"]
    assert rows_now["packages"] == rows["packages"]
    assert {name: files_now[name] for name in files} == files
    assert len(files_now) > len(files)


def test_overwrite_makes_conflicts_the_archives_and_keeps_their_ids(
    changed: tuple[Instance, Path],
) -> None:
    instance, archive = changed
    ids = [row[0] for row in instance.rows()["users"]]
    restored = instance.backups("restore", str(archive), "--strategy", "overwrite", "--yes")
    assert restored["files"]["replaced"] >= 1
    assert [row[0] for row in instance.rows()["users"]] == ids
    assert content(archive) == content(Path(instance.backups("create")["archive"]))
    assert instance.leftovers() == []
    again = instance.backups("restore", str(archive), "--strategy", "fail", "--yes")
    assert not any(each["count"] for each in again["changed"].values())


def test_fail_restores_nothing_and_lists_the_conflicts(changed: tuple[Instance, Path]) -> None:
    instance, archive = changed
    before = instance.registry()
    error = instance.refused("restore", str(archive), "--strategy", "fail", "--yes")
    assert error["code"] == "conflicts"
    assert {fault["code"] for fault in error["faults"]} == {"conflict"}
    assert [f["record"].split()[0] for f in error["faults"]] == ["user", "package", "release"]
    assert instance.registry() == before


def test_the_account_of_the_acting_admin_is_never_changed(
    changed: tuple[Instance, Path],
) -> None:
    instance, archive = changed
    query = "SELECT username FROM users WHERE email = 'other@example.org'"
    with instance.database() as connection:
        name = connection.exec_driver_sql(query).scalar_one()
    restored = instance.backups(
        "restore", str(archive), "--strategy", "overwrite", "--as", name, "--yes"
    )
    assert ("own_account", f"user {name}") in codes(restored["warnings"])
    with instance.database() as connection:
        assert connection.exec_driver_sql(query).scalar_one() == name


def flipped(archive: str, folder: Path) -> Path:
    """The archive with one byte of a package file changed."""
    data = bytearray(Path(archive).read_bytes())
    at = data.index(b"packages/", data.index(b"owners.json")) + 512 + 700
    data[at] ^= 1
    path = folder / "flipped.tar"
    path.write_bytes(data)
    return path


def rewritten(archive: str, folder: Path, *arguments: str) -> Path:
    """The archive unpacked and packed again by GNU tar, with other arguments."""
    place = folder / "unpacked"
    place.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", place], check=True)
    path = folder / "rewritten.tar"
    subprocess.run(["tar", "--format=ustar", "-cf", path, "-C", place, *arguments], check=True)
    return path


def wrong(kind: str, archive: str, folder: Path) -> Path:
    path = folder / "wrong.tar"
    if kind == "no tar":
        path.write_bytes(b"this is no tar at all. " * 100)
    elif kind == "truncated":
        path.write_bytes(Path(archive).read_bytes()[:20_000])
    elif kind == "gzipped":
        path = folder / "wrong.tar.gz"
        path.write_bytes(subprocess.run(["gzip", "-c", archive], capture_output=True).stdout)
    elif kind == "version":
        shutil.copyfile(DATA / "hexhub-small.tar", path)
        data = path.read_bytes()
        path.write_bytes(data.replace(b'"version": "1.0"\n}', b'"version": "2.0"\n}'))
    elif kind == "flipped":
        path = flipped(archive, folder)
    elif kind == "path":
        (folder / "evil").write_text("evil")
        path = rewritten(archive, folder, ".", "-P", "--transform=s,^.*/evil$,../evil,", "../evil")
    else:
        path = rewritten(archive, folder, "--hard-dereference", ".", "./users.json")
    return path


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("no tar", "not_a_tar", "tar"),
        ("truncated", "truncated", "end"),
        ("gzipped", "compressed", "gunzip"),
        ("version", "unsupported_version", "2.0"),
        ("flipped", "checksum_mismatch", "packages/"),
        ("path", "unsafe_name", "evil"),
        ("twice", "duplicate_member", "users.json"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_changes_nothing(
    archive: str, source: Instance, tmp_path: Path, kind: str, code: str, words: str
) -> None:
    path = wrong(kind, archive, tmp_path)
    before = source.registry()
    error = source.refused("restore", str(path), "--yes")
    assert error["code"] == "bad_archive"
    assert code in [fault["code"] for fault in error["faults"]]
    assert words in json.dumps(error)
    for_people = source.run("backups", "verify", str(path))
    assert for_people.returncode == 1
    assert "Traceback" not in for_people.stderr
    assert words in for_people.stderr
    assert source.registry() == before
    assert source.leftovers() == []


def test_a_name_that_is_nothing_is_refused(source: Instance) -> None:
    assert source.refused("restore", "nothing", "--yes")["code"] == "not_found"
    assert source.refused("show", "nothing")["code"] == "not_found"


def test_a_restore_that_is_not_confirmed_does_nothing(source: Instance) -> None:
    before = source.registry()
    name = source.backups("list")[0]["id"]
    done = source.run("backups", "restore", name, stdin="n\n")
    assert done.returncode == 1
    assert "Nothing was restored" in done.stderr
    assert source.registry() == before


def test_a_restore_that_is_killed_before_its_decision_has_not_happened(
    changed: tuple[Instance, Path],
) -> None:
    instance, archive = changed
    before = instance.registry()
    kill_at(instance, archive, "linkat,link")
    assert instance.registry() != before
    (operation, *_) = instance.backups("operations")
    assert (operation["verb"], operation["state"]) == ("restore", "interrupted")
    assert instance.registry() == before
    assert instance.leftovers() == []
    assert instance.backups("restore", str(archive), "--yes")["state"] == "completed"


def test_a_restore_that_is_killed_after_its_decision_has_happened(
    changed: tuple[Instance, Path],
) -> None:
    instance, archive = changed
    kill_at(instance, archive, "rename,renameat,renameat2")
    assert instance.leftovers() != []
    (operation, *_) = instance.backups("operations")
    assert (operation["verb"], operation["state"]) == ("restore", "completed")
    assert instance.leftovers() == []
    assert unfinished(instance) == []
    (result,) = [e for e in instance.backups("log", operation["id"]) if e["type"] == "result"]
    assert "recovered" in [warning["code"] for warning in result["outcome"]["warnings"]]
    assert content(archive) == content(Path(instance.backups("create")["archive"]))


def kill_at(instance: Instance, archive: Path, calls: str) -> None:
    """Restore with the strategy overwrite, and be killed at the first such system call."""
    done = subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-o",
            os.devnull,
            f"--trace={calls}",
            f"--inject={calls}:signal=SIGKILL:when=1",
            *FLASK,
            *("backups", "restore", str(archive), "--strategy", "overwrite", "--yes"),
        ],
        cwd=ROOT,
        env={**instance.environment, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
