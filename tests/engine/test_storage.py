"""What a host relies on from LocalStorage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.errors import ChangedError, StorageError
from hexhub_backup.storage.local import LocalStorage

JASON = ReleaseFile("package", "jason", "1.4.0")
DOCS = ReleaseFile("docs", "jason", "1.4.0")


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "storage")


def store(storage: LocalStorage, file: ReleaseFile, content: bytes) -> Path:
    path = storage.path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def content(storage: LocalStorage, file: ReleaseFile) -> bytes:
    with storage.open(file) as stored:
        return stored.read(1000)


def everything(storage: LocalStorage) -> list[Path]:
    return sorted(storage.root.rglob("*"))


def test_files_lie_where_hexhub_has_them(storage: LocalStorage) -> None:
    assert storage.path(JASON) == storage.root / "hosted/packages/jason/jason-1.4.0.tar.gz"
    assert storage.path(DOCS) == storage.root / "hosted/docs/jason/jason-1.4.0.tar.gz"


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("..", "1"),
        ("../../etc", "1"),
        ("/etc/passwd", "1"),
        ("a", "../../1"),
        ("a\0", "1"),
        ("a\\b", "1"),
        ("", "1"),
        ("a", ""),
        ("a\n", "1"),
        ("a" * 300, "1"),
        (".hexhub-backup", "1"),
    ],
)
def test_no_name_leaves_the_storage(storage: LocalStorage, name: str, version: str) -> None:
    with pytest.raises(StorageError):
        storage.path(ReleaseFile("package", name, version))


@pytest.mark.parametrize("path", ["../a", "/a", "", "a/../../b", ".hexhub-backup/a"])
def test_no_layout_leaves_the_storage(tmp_path: Path, path: str) -> None:
    storage = LocalStorage(tmp_path, layout=lambda file: path)
    with pytest.raises(StorageError, match="layout"):
        storage.path(JASON)


def test_a_host_can_have_another_layout(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, layout=lambda file: f"{file.type}/{file.package}.tar")
    assert storage.path(JASON) == tmp_path / "package/jason.tar"


def test_a_missing_file_is_known_to_be_missing(storage: LocalStorage) -> None:
    assert storage.stat(JASON) is None
    with pytest.raises(FileNotFoundError):
        storage.open(JASON)


def test_what_is_no_file_is_refused(storage: LocalStorage) -> None:
    storage.path(JASON).mkdir(parents=True)
    with pytest.raises(StorageError, match="is not a file"):
        storage.open(JASON)


def test_a_staged_file_is_not_there_before_it_is_placed(storage: LocalStorage) -> None:
    tag = storage.stage("op", JASON, [b"new"], replaces=False)
    assert storage.stat(JASON) is None
    storage.place("op", [(JASON, tag)])
    storage.clear("op")
    assert content(storage, JASON) == b"new"
    assert list(storage.staged()) == []


def test_placing_never_replaces_a_file(storage: LocalStorage) -> None:
    files = [(JASON, storage.stage("op", JASON, [b"new"], replaces=False))]
    store(storage, JASON, b"of the host")
    with pytest.raises(ChangedError):
        storage.place("op", files)
    storage.take_back("op", files)
    storage.clear("op")
    assert content(storage, JASON) == b"of the host"


def test_taking_back_leaves_nothing_and_removes_only_what_is_ours(storage: LocalStorage) -> None:
    store(storage, ReleaseFile("package", "other", "1.0.0"), b"of the host")
    before = everything(storage)
    files = [
        (JASON, storage.stage("op", JASON, [b"new"], replaces=False)),
        (DOCS, storage.stage("op", DOCS, [b"docs"], replaces=False)),
    ]
    storage.place("op", files)
    storage.path(DOCS).unlink()
    store(storage, DOCS, b"of the host")
    for _ in range(2):
        storage.take_back("op", files)
    assert content(storage, DOCS) == b"of the host"
    storage.path(DOCS).unlink()
    storage.take_back("op", files)
    storage.clear("op")
    storage.forget("op")
    assert everything(storage) == before


@pytest.mark.parametrize("new", [b"new", b"ours", b"longer"])
def test_what_a_host_writes_over_in_place_is_not_taken_back(
    storage: LocalStorage, new: bytes
) -> None:
    files = [(JASON, storage.stage("op", JASON, [b"ours"], replaces=False))]
    storage.place("op", files)
    # A host that writes later than the clock's next tick.
    later = storage.path(JASON).stat().st_mtime_ns + 10_000_000
    with storage.path(JASON).open("r+b") as file:
        file.write(new)
        file.truncate()
    os.utime(storage.path(JASON), ns=(later, later))
    storage.take_back("op", files)
    assert content(storage, JASON) == new


def test_a_file_is_known_by_its_content_where_its_tag_is_sealed(storage: LocalStorage) -> None:
    path = store(storage, JASON, b"old")
    found = storage.stat(JASON)
    assert found is not None
    tag = storage.keep("op", JASON, found.tag)
    assert storage.known(JASON, tag) == tag
    path.unlink()
    path.write_bytes(b"old")
    assert storage.known(JASON, found.tag) is None
    assert storage.known(JASON, tag, by_content=False) is None
    now = storage.known(JASON, tag)
    assert now not in {None, tag}
    assert storage.known(JASON, str(now), by_content=False) == now
    path.write_bytes(b"new")
    assert storage.known(JASON, tag) is None


def test_replacing_puts_the_staged_file_there_and_twice_is_as_once(storage: LocalStorage) -> None:
    store(storage, JASON, b"old")
    found = storage.stat(JASON)
    assert found is not None
    storage.stage("op", JASON, [b"ne", b"w"], replaces=True)
    assert storage.replace("op", JASON, found.tag)
    assert content(storage, JASON) == b"new"
    assert storage.replace("op", JASON, found.tag)


@pytest.mark.parametrize("change", ["rewritten", "replaced", "deleted"])
def test_a_file_that_the_host_changed_meanwhile_is_not_replaced(
    storage: LocalStorage, change: str
) -> None:
    path = store(storage, JASON, b"old")
    found = storage.stat(JASON)
    assert found is not None
    storage.stage("op", JASON, [b"new"], replaces=True)
    if change != "rewritten":
        path.unlink()
    if change != "deleted":
        path.write_bytes(b"of the host")
    assert not storage.replace("op", JASON, found.tag)
    assert path.exists() == (change != "deleted")


def test_room_is_known_before_the_storage_is_there(storage: LocalStorage) -> None:
    assert storage.free() > 0
    storage.flush()
    assert not storage.root.exists()
