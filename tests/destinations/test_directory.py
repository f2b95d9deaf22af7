"""A destination in a directory: whose disk may not be mounted, and may be full."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from hexhub_backup import DirectoryDestination
from hexhub_backup.destinations.directory import MARKER
from hexhub_backup.errors import DestinationError, SettingError, SpaceError
from hexhub_backup.testing.destinations.host import ARCHIVE, Bytes


@pytest.fixture
def nas(tmp_path: Path) -> DirectoryDestination:
    (tmp_path / "nas").mkdir()
    destination = DirectoryDestination("nas", tmp_path / "nas")
    destination.init()
    return destination


def test_nothing_is_written_below_a_disk_that_is_not_mounted(nas: DirectoryDestination) -> None:
    assert nas.about().free
    nas.put(ARCHIVE, Bytes(b"a copy"), 6)
    (nas.path / MARKER).unlink()
    before = sorted(nas.path.iterdir())
    for use in (
        lambda: nas.put("another.tar", Bytes(b"a copy"), 6),
        lambda: nas.open(ARCHIVE),
        lambda: list(nas.list()),
        lambda: nas.delete(ARCHIVE),
        nas.about,
    ):
        with pytest.raises(DestinationError, match=r"mount its disk.*destinations init nas"):
            use()
    assert sorted(nas.path.iterdir()) == before
    nas.init()
    nas.delete(ARCHIVE)


def test_a_disk_that_goes_away_meanwhile_gets_no_copy(nas: DirectoryDestination) -> None:
    class Unmounting(Bytes):
        def read(self, size: int, /) -> bytes:
            (nas.path / MARKER).unlink(missing_ok=True)
            return super().read(size)

    with pytest.raises(DestinationError):
        nas.put(ARCHIVE, Unmounting(b"a copy"), 6)
    assert list(nas.path.iterdir()) == []


def test_what_is_no_file_is_neither_listed_nor_waited_for_nor_followed(
    nas: DirectoryDestination, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"of somebody else")
    os.mkfifo(nas.path / "pipe.tar")
    (nas.path / "link.tar").symlink_to(secret)
    (nas.path / "folder.tar").mkdir()
    nas.put(ARCHIVE, Bytes(b"a copy"), 6)
    assert [each.name for each in nas.list()] == [ARCHIVE]
    for name in ("link.tar", "folder.tar", "pipe.tar"):
        with pytest.raises(OSError, match=name):
            nas.open(name)
    with nas.open(ARCHIVE) as file:
        assert file.read(10) == b"a copy"


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    nas = DirectoryDestination("nas", tmp_path / "mnt" / "nas")
    with pytest.raises(DestinationError, match="make the directory"):
        nas.init()
    with pytest.raises(DestinationError, match="is not there"):
        nas.put(ARCHIVE, Bytes(b"a copy"), 6)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_for_which_there_is_no_room_is_refused_before_it_begins(
    nas: DirectoryDestination,
) -> None:
    with pytest.raises(SpaceError, match="Nothing was written"):
        nas.put(ARCHIVE, Bytes(b"a copy"), 2**62)
    assert list(nas.list()) == []


def test_a_disk_that_becomes_full_is_named_and_keeps_no_part(nas: DirectoryDestination) -> None:
    content = bytes(2 * 1024 * 1024)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024, hard))
    try:
        with pytest.raises(OSError) as caught:  # noqa: PT011 (EFBIG has no class of its own)
            nas.put(ARCHIVE, Bytes(content), 6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(nas.path)
    assert sorted(each.name for each in nas.path.iterdir()) == [MARKER]


def test_files_are_for_the_owner_and_strangers_are_not_listed(nas: DirectoryDestination) -> None:
    nas.put(ARCHIVE, Bytes(b"a copy"), 6)
    (nas.path / "folder").mkdir()
    (nas.path / "half.tar.part").touch()
    (nas.path / ".hidden").touch()
    assert [each.name for each in nas.list()] == [ARCHIVE]
    assert (nas.path / ARCHIVE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["../up.tar", "a/b.tar", "", ".tar", "a.tar.part", "a\0.tar"])
def test_a_name_never_leads_elsewhere(nas: DirectoryDestination, name: str) -> None:
    with pytest.raises(ValueError, match="holds no file"):
        nas.put(name, Bytes(b"a copy"), 6)


@pytest.mark.parametrize("name", ["", "Offsite", "off site", "here", "-x", "a" * 31, None, "é"])
def test_a_name_that_can_not_be_one_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match="such as offsite"):
        DirectoryDestination(name, "/mnt/nas")
