"""What is asked of a storage: whether files are there, what they hold, and by which tags they are
known."""

from __future__ import annotations

from functools import partial

import pytest

from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.storage.base import Storage
from hexhub_backup.testing.storages.host import DOCS, NEW, OLD, RESTORE, StorageHost

#: Any two of them are easily taken for one file.
APART = (
    NEW,
    DOCS,
    ReleaseFile("package", "jason", "1.4.0-rc.1"),
    ReleaseFile("package", "jason", "1.4.0+build"),
    ReleaseFile("package", "a", "b-1"),
    ReleaseFile("package", "a-b", "1"),
    ReleaseFile("docs", "r\u00e9sum\u00e9", "1.0.0"),
)
#: Names that differ in case or in Unicode normal form only.
ALIKE = (
    (ReleaseFile("package", "jason", "2.0.0-rc.1"), ReleaseFile("package", "jason", "2.0.0-RC.1")),
    (ReleaseFile("docs", "r\u00e9sum\u00e9", "1"), ReleaseFile("docs", "re\u0301sume\u0301", "1")),
)


class ReadingConformance(StorageHost):
    """What a backup and a plan rely on."""

    def test_a_stored_file_is_read_whole(self, storage: Storage) -> None:
        """A backup reads each file once, and has announced its size before."""
        self.store(storage, NEW, b"of the host")
        stored = storage.stat(NEW)
        assert stored is not None
        assert stored.size == len(b"of the host")
        buffer = bytearray(4)
        with storage.open(NEW) as file:
            assert file.size == len(b"of the host")
            count = file.readinto(memoryview(buffer))
            rest = b"".join(iter(partial(file.read, 4), b""))
            assert bytes(buffer[:count]) + rest == b"of the host"
            assert not file.changed()

    def test_an_empty_file_is_a_file(self, storage: Storage) -> None:
        self.store(storage, NEW, b"")
        assert list(storage.sizes([NEW])) == [0]
        assert self.content(storage, NEW) == b""

    def test_a_missing_file_is_known_to_be_missing(self, storage: Storage) -> None:
        """A file that its release should have, and has not, is listed in the archive."""
        assert storage.stat(NEW) is None
        assert list(storage.sizes([NEW])) == [None]
        assert storage.known(NEW, "a-tag") is None
        with pytest.raises(FileNotFoundError):
            storage.open(NEW)

    def test_each_file_has_a_place_of_its_own(self, storage: Storage) -> None:
        """Package and docs file, versions, and names with hyphens are told apart."""
        for file in APART:
            self.store(storage, file, repr(file).encode())
        for file in APART:
            assert self.content(storage, file) == repr(file).encode()

    @pytest.mark.parametrize("pair", ALIKE, ids=["case", "normal form"])
    def test_two_names_are_apart_or_said_to_be_alike(
        self, storage: Storage, pair: tuple[ReleaseFile, ReleaseFile]
    ) -> None:
        """A restore blocks a release whose file would be written over another one's."""
        one, other = pair
        alike = storage.alike()
        if alike is not None:
            assert alike(one) == alike(one)
            assert alike(NEW) != alike(DOCS)
        if alike is None or alike(one) != alike(other):
            self.store(storage, one, b"one")
            self.store(storage, other, b"the other")
            assert self.content(storage, one) == b"one"

    def test_a_tag_stays_until_the_file_is_stored_again(self, storage: Storage) -> None:
        """What a plan has compared is what it replaces: the tag alone says so, to any process."""
        self.store(storage, NEW, b"content")
        tag = self.tag(storage, NEW)
        assert self.tag(self.reopen(storage), NEW) == tag
        assert storage.known(NEW, tag) == storage.known(NEW, tag, by_content=False) == tag
        for content in (b"content", b"another", b"longer than that"):
            self.store(storage, NEW, content)
            assert self.tag(storage, NEW) != tag
            assert storage.known(NEW, tag) is None
            tag = self.tag(storage, NEW)

    def test_a_tag_fits_into_one_word(self, storage: Storage) -> None:
        """Tags are sealed, after a space, and kept line by line."""
        self.store(storage, NEW, b"content")
        assert len(self.tag(storage, NEW).split()) == 1

    def test_a_file_that_changes_while_it_is_read_says_so(self, storage: Storage) -> None:
        """A backup never holds half of one file and half of the next."""
        self.store(storage, NEW, b"before" * 1000)
        with storage.open(NEW) as file:
            first = file.read(10)
            self.store(storage, NEW, b"behind" * 1000)
            whole = first + b"".join(iter(partial(file.read, 4096), b""))
            assert file.changed() or whole == b"before" * 1000

    def test_many_are_told_in_their_order(self, storage: Storage) -> None:
        """Those that are there and those that are not: an estimate asks for all of them."""
        files = [ReleaseFile("package", "many", f"1.{n}.0") for n in range(30)]
        for n, file in enumerate(files[::3]):
            self.store(storage, file, bytes(n))
        asked = [*files[::-1], *files]
        expected = [n // 3 if n % 3 == 0 else None for n in (*range(29, -1, -1), *range(30))]
        assert list(storage.sizes(iter(asked))) == expected
        found = list(storage.stats(iter(asked)))
        assert found == [storage.stat(file) for file in asked]
        assert [each and each.size for each in found] == expected

    def test_every_stored_file_is_listed_by_its_name(self, storage: Storage) -> None:
        """A file without a release is found so, and none that has one is taken for such a file.
        What is staged or kept for an undo is ours."""
        assert list(storage.names()) == []
        for file in APART:
            self.store(storage, file, b"content")
        kept = self.tag(storage, NEW)
        self.stage(storage, OLD, b"staged", purpose="place")
        storage.keep(RESTORE, NEW, kept)
        names = [storage.name_of(file) for file in APART]
        assert len(set(names)) == len(APART)
        assert sorted(self.reopen(storage).names()) == sorted(names)
        self.delete(storage, NEW)
        assert sorted(storage.names()) == sorted(set(names) - {storage.name_of(NEW)})
