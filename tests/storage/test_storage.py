"""What LocalStorage has beside what every storage does: see `test_conformance.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.errors import StorageError
from hexhub_backup.storage import local_files
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


def test_what_is_no_file_is_refused(storage: LocalStorage) -> None:
    storage.path(JASON).mkdir(parents=True)
    with pytest.raises(StorageError, match="is not a file"):
        storage.open(JASON)


def test_taking_back_removes_the_folders_that_were_made(storage: LocalStorage) -> None:
    store(storage, ReleaseFile("package", "other", "1.0.0"), b"of the host")
    before = everything(storage)
    files = [
        (JASON, storage.stage("op", JASON, [b"new"], purpose="place")),
        (DOCS, storage.stage("op", DOCS, [b"docs"], purpose="place")),
    ]
    storage.place("op", files, lambda _: ())
    storage.path(DOCS).unlink()
    store(storage, DOCS, b"of the host")
    storage.take_back("op", files)
    assert storage.path(DOCS).exists()
    storage.path(DOCS).unlink()
    storage.take_back("op", files)
    storage.clear("op")
    storage.forget("op")
    assert everything(storage) == before


def test_room_is_known_before_the_storage_is_there(storage: LocalStorage) -> None:
    assert storage.free() > 0
    storage.flush()
    assert not storage.root.exists()


def test_a_staging_area_of_an_earlier_release_is_cleared(storage: LocalStorage) -> None:
    """There new files lay in folders, as they do where they are placed."""
    old = storage.root / ".hexhub-backup/op/new/hosted/packages/jason"
    old.mkdir(parents=True)
    (old / "jason-1.4.0.tar.gz").write_bytes(b"new")
    storage.clear("op")
    assert everything(storage) == []


def test_a_folder_that_the_host_removes_meanwhile_is_made_again(storage: LocalStorage) -> None:
    """Some hosts remove a folder as soon as it is empty."""
    files = [(JASON, storage.stage("op", JASON, [b"new"], purpose="place"))]
    storage.path(JASON).parent.rmdir()
    storage.place("op", files, lambda _: ())
    assert storage.path(JASON).read_bytes() == b"new"
    storage.take_back("op", files)
    storage.clear("op")
    storage.forget("op")
    assert [path for path in everything(storage) if path.name == "jason"] == []


def test_many_files_are_removed_as_one_is(storage: LocalStorage) -> None:
    files = []
    for number in range(1000):
        file = ReleaseFile("package", "jason", f"{number}.0.0")
        store(storage, file, b"content")
        stored = storage.stat(file)
        assert stored is not None
        files.append((file, stored.tag))
    own = {3, 250, 999}
    for number in own:
        store(storage, files[number][0], b"own")
    assert storage.remove(files) == [number not in own for number in range(1000)]
    assert len(list(storage.path(JASON).parent.iterdir())) == len(own)


def test_a_file_that_the_host_removes_while_it_is_read_is_known_no_more(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(storage, JASON, b"a tarball")
    tag = local_files.sealed_tag(str(path))
    # Of another inode, as after a copy of the disk: its content is read.
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)
    assert storage.known(JASON, tag) is not None
    sealed_tag = local_files.sealed_tag

    def removed(name: str) -> str:
        path.unlink()
        return sealed_tag(name)

    monkeypatch.setattr(local_files, "sealed_tag", removed)
    assert storage.known(JASON, tag) is None
