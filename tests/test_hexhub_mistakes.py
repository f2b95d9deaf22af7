"""What HexHub's own backup gets wrong, each as a test that it can not happen here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.instance import FLASK, ROOT, Instance

WRITES = "write,pwrite64,writev,copy_file_range,sendfile"
RENAMES = "rename,renameat,renameat2"


@pytest.fixture
def filled(tmp_path: Path) -> Instance:
    instance = Instance(tmp_path / "filled")
    instance.seed(users=12, packages=4, releases=2, file_size=200_000)
    return instance


@pytest.fixture
def empty(tmp_path: Path) -> Instance:
    return Instance(tmp_path / "empty")


def a_release(instance: Instance) -> tuple[int, str, str]:
    """The id, package and version of a release that is published here and has files."""
    with instance.database() as connection:
        found = connection.exec_driver_sql(
            "SELECT releases.id, packages.name, version FROM releases "
            "JOIN packages ON packages.id = package_id WHERE source = 'local' ORDER BY 1"
        ).first()
    assert found is not None
    return found[0], found[1], found[2]


def stored(instance: Instance, package: str, version: str) -> Path:
    return instance.storage / "hosted" / "packages" / package / f"{package}-{version}.tar.gz"


def manifest(archive: str) -> dict[str, Any]:
    with tarfile.open(archive) as tar:
        file = tar.extractfile("manifest.json")
        assert file is not None
        found: dict[str, Any] = json.load(file)
    return found


def written_by(instance: Instance, folder: Path, *arguments: str) -> dict[str, int]:
    """Bytes that a command writes, by the file that they go to."""
    trace = folder / "trace"
    done = subprocess.run(
        ["strace", "-f", "-y", "-qq", "-o", trace, f"--trace={WRITES}", *FLASK, *arguments],
        cwd=ROOT,
        env={**instance.environment, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = {}
    for line in trace.read_text(errors="replace").splitlines():
        head, arrow, result = line.rpartition(" = ")
        file = head.partition("<")[2].partition(">")[0]
        if arrow and file.startswith("/") and result.split()[0].isdigit():
            found[file] = found.get(file, 0) + int(result.split()[0])
    return found


def test_a_backup_is_not_copied_together_before_it_is_packed(
    filled: Instance, tmp_path: Path
) -> None:
    """HexHub first makes a second copy of every file, and then a tar of the copies, so that it
    needs the room twice. Here each byte is written once, into the archive itself."""
    written = written_by(filled, tmp_path, "backups", "create")
    (archive,) = filled.depot.glob("hexhub-backup-*.tar")
    size = archive.stat().st_size
    files = sum(path.stat().st_size for path in filled.storage.rglob("*.gz"))
    into = sum(count for file, count in written.items() if "hexhub-backup-" in file)
    # The headers of the four JSON members are put right when their sizes are known.
    assert into == size + 4 * 512
    # The rows lie in the database, and a little goes to its history and the log of events.
    assert sum(written.values()) - into < files / 4, written
    assert filled.leftovers() == []


def test_a_restore_copies_each_file_once(filled: Instance, empty: Instance, tmp_path: Path) -> None:
    """The same on the way back: nothing is unpacked before it is put where it belongs."""
    archive = filled.backups("create")["archive"]
    written = written_by(empty, tmp_path, "backups", "restore", archive, "--yes")
    served = sum((empty.storage / name).stat().st_size for name in empty.files())
    into = sum(count for file, count in written.items() if str(empty.storage) in file)
    # A restore takes a few notes there.
    assert served <= into < served + 4096
    assert empty.leftovers() == []


def test_a_file_that_is_missing_is_told_at_create_and_at_restore(
    filled: Instance, empty: Instance
) -> None:
    """HexHub goes on without a word where a file is not there."""
    _, package, version = a_release(filled)
    stored(filled, package, version).unlink()
    made = filled.backups("create")
    record = f"release {package} {version}"
    assert [(each["code"], each["record"]) for each in made["warnings"]] == [
        ("missing_package_file", record)
    ]
    member = f"packages/{package}-{version}.tar.gz"
    assert manifest(made["archive"])["missing_files"] == [member]
    restored = empty.backups("restore", made["archive"], "--yes")
    told = [(each["code"], each["record"]) for each in restored["warnings"]]
    assert ("missing_package_file", record) in told


def test_every_byte_has_a_checksum_and_it_is_held_to_it(filled: Instance, empty: Instance) -> None:
    """HexHub writes no checksum, and so restores whatever became of its archives."""
    archive = Path(filled.backups("create")["archive"])
    with tarfile.open(archive) as tar:
        names = set(tar.getnames())
        sums = tar.extractfile("SHA256SUMS")
        assert sums is not None
        vouched = {line[66:] for line in sums.read().decode().splitlines()}
        places = [(info.name, info.offset_data) for info in tar if info.size]
    assert vouched | {"SHA256SUMS", "manifest.json"} == names
    assert "SHA256SUMS" in manifest(str(archive))["checksums"]
    empty.backups("list")
    before = empty.registry()
    whole = archive.read_bytes()
    for at in (dict(places)["users.json"] + 40, max(at for name, at in places if "docs/" in name)):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        archive.write_bytes(damaged)
        assert empty.refused("restore", str(archive), "--yes")["code"] == "bad_archive"
        assert empty.registry() == before


@pytest.mark.parametrize("table", ["users", "packages", "releases", "owners"])
def test_a_restore_that_fails_at_any_row_leaves_none_of_them(
    filled: Instance, empty: Instance, table: str
) -> None:
    """HexHub commits row by row, so that what was written before a failure stays."""
    archive = filled.backups("create")["archive"]
    empty.backups("list")
    with empty.database() as connection:
        # The last row of the table is one that the database will not have.
        connection.exec_driver_sql(
            f"CREATE TRIGGER no_more BEFORE INSERT ON {table} "
            f"WHEN (SELECT count(*) FROM {table}) >= 2 BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    before = empty.registry()
    assert empty.refused("restore", archive, "--yes")["code"] == "refused"
    assert empty.registry() == before
    assert empty.leftovers() == []
    with empty.database() as connection:
        connection.exec_driver_sql("DROP TRIGGER no_more")
    assert empty.backups("restore", archive, "--yes")["state"] == "completed"


def test_restored_files_are_where_they_are_served_from(filled: Instance, empty: Instance) -> None:
    """HexHub unpacks them into a folder that nothing is served from."""
    _, package, version = a_release(filled)
    content = stored(filled, package, version).read_bytes()
    empty.backups("restore", filled.backups("create")["archive"], "--yes")
    hosted = {name: digest for name, digest in filled.files().items() if "cached" not in name}
    assert empty.files() == hosted
    script = (
        "import sys; from examples.host_app import create_app\n"
        f"page = create_app().test_client().get('/packages/{package}/releases/{version}/package')\n"
        "sys.stdout.buffer.write(page.data)"
    )
    served = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=empty.environment, capture_output=True
    )
    assert served.stdout == content, served.stderr


def test_a_release_that_is_skipped_keeps_its_file(filled: Instance) -> None:
    """HexHub skips the row, and copies the archive's file over the one that is there."""
    archive = filled.backups("create")["archive"]
    number, package, version = a_release(filled)
    file = stored(filled, package, version)
    file.write_bytes(b"published anew")
    with filled.database() as connection:
        connection.exec_driver_sql(f"UPDATE releases SET retired = '1' WHERE id = {number}")
    before = filled.registry()
    restored = filled.backups("restore", archive, "--strategy", "skip", "--yes")
    assert restored["records"]["releases"]["skipped"] == 1
    assert file.read_bytes() == b"published anew"
    assert filled.registry() == before


def test_nobody_is_locked_out_by_a_second_factor_that_did_not_travel(
    filled: Instance, empty: Instance
) -> None:
    """HexHub restores that an account has a second factor, and not the secret that it needs."""
    with filled.database() as connection:
        names = connection.exec_driver_sql("SELECT username FROM users WHERE totp_enabled").all()
    assert names
    made = filled.backups("create")
    restored = empty.backups("restore", made["archive"], "--yes")
    with empty.database() as connection:
        query = "SELECT count(*) FROM users WHERE totp_enabled AND totp_secret IS NULL"
        assert connection.exec_driver_sql(query).scalar_one() == 0
    told = {each["record"] for each in restored["warnings"] if each["code"] == "totp_not_restored"}
    assert told == {f"user {name}" for (name,) in names}
    # Who has a secret keeps it, and what it is for.
    query = "SELECT username, totp_enabled, totp_secret FROM users ORDER BY 1"
    with filled.database() as connection:
        before = connection.exec_driver_sql(query).all()
        connection.exec_driver_sql("UPDATE users SET email = 'x' || email")
    filled.backups("restore", made["archive"], "--strategy", "overwrite", "--yes")
    with filled.database() as connection:
        assert connection.exec_driver_sql(query).all() == before


def test_overwriting_a_release_changes_its_row_and_adds_none(filled: Instance) -> None:
    """HexHub's overwrite leaves the old row there and adds another of the same release."""
    archive = filled.backups("create")["archive"]
    number, package, version = a_release(filled)
    before = filled.registry()
    with filled.database() as connection:
        connection.exec_driver_sql(f"UPDATE releases SET url = 'elsewhere' WHERE id = {number}")
    stored(filled, package, version).write_bytes(b"another file")
    restored = filled.backups("restore", archive, "--strategy", "overwrite", "--yes")
    assert restored["records"]["releases"]["overwritten"] == 1
    assert restored["records"]["releases"]["created"] == 0
    assert filled.registry() == before


@pytest.mark.parametrize("how", ["refused", "killed"])
def test_a_backup_that_failed_says_so(filled: Instance, how: str) -> None:
    """HexHub's stays `pending` for ever, whatever became of the process."""
    if how == "refused":
        stored(filled, *a_release(filled)[1:]).unlink()
        stored(filled, *a_release(filled)[1:]).mkdir()
        assert filled.refused("create")["code"] == "storage"
    else:
        killed = subprocess.run(
            [
                *("strace", "-f", "-qq", "-o", os.devnull, f"--trace={RENAMES}"),
                *(f"--inject={RENAMES}:signal=SIGKILL:when=1", *FLASK),
                *("backups", "create"),
            ],
            cwd=ROOT,
            env={**filled.environment, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
        )
        assert killed.returncode != 0
    (operation, *_) = filled.backups("operations")
    assert operation["verb"] == "create"
    assert operation["state"] == ("failed" if how == "refused" else "interrupted")
    assert operation["reason"]
    assert [row for row in filled.backups("list") if row["state"] == "completed"] == []
    assert filled.leftovers() == []


def test_progress_is_what_was_done(filled: Instance) -> None:
    """HexHub's progress is a table of constants, a number for each step. Here the bytes that are
    told as done are those that there are, also where one file is nearly everything."""
    _, package, version = a_release(filled)
    large = stored(filled, package, version)
    large.write_bytes(os.urandom(1 << 20) * 60)
    made = filled.backups("create")
    events = filled.backups("log", made["id"])
    steps = [event for event in events if event["type"] == "progress"]
    percents = [event["percent"] for event in steps]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    hosted = sum(
        path.stat().st_size for path in (filled.storage / "hosted" / "packages").rglob("*.gz")
    )
    copied = [event for event in steps if event["step"] == "copy_packages"]
    assert max(event["bytes_done"] for event in copied) == hosted
    assert {event["bytes_total"] for event in copied} == {hosted}
    restored = filled.backups("restore", made["archive"], "--yes")
    again = [each for each in filled.backups("log", restored["id"]) if each["type"] == "progress"]
    assert [each["percent"] for each in again] == sorted(each["percent"] for each in again)
