"""Each call of a storage that changes something: files are staged, placed, replaced, removed and
kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.errors import ChangedError
from hexhub_backup.storage.base import Purpose, Storage, bare, sha256_of
from hexhub_backup.testing.storages.host import DOCS, NEW, OLD, OTHER, RESTORE, UNDO, StorageHost

#: Of what is placed where there is none.
PURPOSES = pytest.mark.parametrize("purpose", ["place", "put_back"])
#: What is always written before it is placed.
BEFORE: tuple[tuple[ReleaseFile, Purpose], ...] = ((DOCS, "put_back"), (OLD, "replace"))


class FilesConformance(StorageHost):
    """What operations rely on."""

    # --- staging and placing -----------------------------------------------------------------

    @PURPOSES
    def test_a_staged_file_is_not_there_before_it_is_placed(
        self, storage: Storage, purpose: Purpose
    ) -> None:
        """Up to the decision nobody sees anything of a restore."""
        placed = self.stage(storage, NEW, b"new", purpose=purpose)
        storage.flush()
        assert storage.stat(NEW) is None
        assert list(storage.sizes([NEW])) == [None]
        assert list(storage.staged()) == [RESTORE]
        self.place(storage, [placed])
        storage.clear(RESTORE)
        assert self.content(storage, NEW) == b"new"
        assert list(storage.staged()) == []

    def test_a_file_in_its_place_has_the_tag_that_it_was_staged_with(
        self, storage: Storage
    ) -> None:
        """By it a restore sees that nobody has written over it, and an undo whose it is."""
        self.store(storage, OLD, b"old")
        before = self.tag(storage, OLD)
        placed = [
            self.stage(storage, NEW, b"new"),
            self.stage(storage, DOCS, b"docs", purpose="put_back"),
        ]
        replacing = self.stage(storage, OLD, b"replacing", purpose="replace")
        self.place(storage, placed)
        assert storage.replace(RESTORE, OLD, before)
        storage.clear(RESTORE)
        for file, tag in (*placed, replacing):
            assert self.tag(storage, file) == bare(tag)
            assert storage.known(file, tag) == tag

    @pytest.mark.parametrize("purpose", ["place", "put_back", "replace"])
    def test_no_two_staged_files_have_one_tag(self, storage: Storage, purpose: Purpose) -> None:
        """Whatever they hold: recovery must not take the file of one restore for that of another
        one."""
        self.store(storage, OLD, b"old")
        tags = {
            self.stage(storage, OLD, b"same", operation, purpose)[1]
            for operation in (RESTORE, OTHER)
        }
        assert len({*tags, self.tag(storage, OLD)}) == 3

    def test_an_error_in_what_is_staged_is_passed_on(self, storage: Storage) -> None:
        """The archive is read while it is staged, and may turn out to be damaged."""

        def chunks() -> Iterator[bytes]:
            yield b"half"
            raise ZeroDivisionError

        self.store(storage, OLD, b"old")
        for file, purpose in BEFORE:
            with pytest.raises(ZeroDivisionError):
                storage.stage(RESTORE, file, chunks(), purpose=purpose)
        if storage.places_directly:
            tag = storage.stage(RESTORE, NEW, chunks(), purpose="place")
            with pytest.raises(ZeroDivisionError):
                storage.place(RESTORE, [(NEW, tag)], lambda _: chunks())
        else:
            with pytest.raises(ZeroDivisionError):
                storage.stage(RESTORE, NEW, chunks(), purpose="place")
        storage.clear(RESTORE)
        assert storage.stat(NEW) is storage.stat(DOCS) is None
        assert self.content(storage, OLD) == b"old"
        assert list(storage.staged()) == []

    def test_what_is_placed_before_an_error_is_taken_back(self, storage: Storage) -> None:
        """The archive of a storage that places directly may end in the middle."""
        files = [self.stage(storage, file, b"new") for file in (NEW, DOCS)]

        def content(file: ReleaseFile) -> Iterator[bytes]:
            yield b"new"
            if file == DOCS:
                raise ZeroDivisionError

        try:
            storage.place(RESTORE, files, content)
        except ZeroDivisionError:
            assert storage.places_directly
        self.reopen(storage).take_back(RESTORE, files)
        storage.clear(RESTORE)
        assert storage.stat(NEW) is storage.stat(DOCS) is None

    @PURPOSES
    @pytest.mark.parametrize("content", [b"of the host", b"new"])
    def test_placing_never_replaces_a_file(
        self, storage: Storage, purpose: Purpose, content: bytes
    ) -> None:
        """What the host has stored since the plan was made stays."""
        files = [self.stage(storage, file, b"new", purpose=purpose) for file in (NEW, DOCS)]
        self.store(storage, DOCS, content)
        tag = self.tag(storage, DOCS)
        with pytest.raises(ChangedError):
            self.place(storage, files)
        assert self.tag(storage, DOCS) == tag
        storage.take_back(RESTORE, files)
        storage.clear(RESTORE)
        assert self.content(storage, NEW) is None
        assert self.content(storage, DOCS) == content
        assert self.tag(storage, DOCS) == tag

    def test_only_the_files_that_are_named_are_placed(self, storage: Storage) -> None:
        """Those of new releases come before a decision begins, the others in it."""
        files = [
            self.stage(storage, NEW, b"new"),
            self.stage(storage, DOCS, b"new", purpose="put_back"),
        ]
        self.place(storage, files[:1])
        assert self.content(storage, NEW) == b"new"
        assert self.content(storage, DOCS) is None
        self.place(self.reopen(storage), files[1:])
        assert self.content(storage, DOCS) == b"new"
        storage.take_back(RESTORE, files)
        assert self.content(storage, NEW) is self.content(storage, DOCS) is None

    @PURPOSES
    @pytest.mark.parametrize("content", [b"ours", b"new!", b"longer than ours"])
    def test_what_the_host_has_stored_since_is_not_taken_back(
        self, storage: Storage, purpose: Purpose, content: bytes
    ) -> None:
        """Whatever it holds: also the very bytes that were placed."""
        files = [self.stage(storage, file, b"ours", purpose=purpose) for file in (NEW, DOCS)]
        self.place(storage, files)
        self.store(storage, NEW, content)
        for _ in range(2):
            storage.take_back(RESTORE, files)
        assert self.content(storage, NEW) == content
        assert self.content(storage, DOCS) is None

    def test_operations_have_staging_areas_of_their_own(self, storage: Storage) -> None:
        """Recovery clears one, and must not touch that of another."""
        placed = self.stage(storage, NEW, b"new")
        self.stage(storage, NEW, b"other", OTHER)
        assert {*storage.staged()} == {OTHER, RESTORE}
        storage.clear(OTHER)
        assert list(storage.staged()) == [RESTORE]
        self.place(storage, [placed])
        assert self.content(storage, NEW) == b"new"

    # --- replacing and removing ----------------------------------------------------------------

    def test_replacing_puts_the_staged_file_there_and_is_idempotent(self, storage: Storage) -> None:
        """Recovery does again what may have been done."""
        self.store(storage, OLD, b"old")
        tag = self.tag(storage, OLD)
        self.stage(storage, OLD, b"new", purpose="replace")
        assert storage.staged_size(RESTORE, OLD) == 3
        assert storage.staged_size(RESTORE, NEW) is None
        assert self.content(storage, OLD) == b"old"
        for _ in range(2):
            assert self.reopen(storage).replace(RESTORE, OLD, tag)
            assert self.content(storage, OLD) == b"new"

    def test_removing_is_idempotent(self, storage: Storage) -> None:
        """An undo removes what the restore has stored."""
        self.store(storage, OLD, b"old")
        tag = self.tag(storage, OLD)
        for _ in range(2):
            assert self.reopen(storage).remove([(OLD, tag)]) == [True]
            assert storage.stat(OLD) is None

    def test_what_is_removed_is_said_of_each_file(self, storage: Storage) -> None:
        """In their order: an undo warns of those that stay."""
        files = []
        for file in (OLD, NEW, DOCS):
            self.store(storage, file, b"content")
            files.append((file, self.tag(storage, file)))
        self.store(storage, NEW, b"own")
        assert storage.remove(files) == [True, False, True]
        assert storage.stat(OLD) is storage.stat(DOCS) is None
        assert self.content(storage, NEW) == b"own"
        assert storage.remove([]) == []

    def test_a_file_that_the_host_has_stored_meanwhile_is_not_replaced_or_removed(
        self, storage: Storage
    ) -> None:
        """After the decision too: the file that stays is warned of."""
        self.store(storage, OLD, b"old")
        tag = self.tag(storage, OLD)
        self.stage(storage, OLD, b"new", purpose="replace")
        self.store(storage, OLD, b"own")
        assert not storage.replace(RESTORE, OLD, tag)
        assert storage.remove([(OLD, tag)]) == [False]
        assert self.content(storage, OLD) == b"own"

    def test_a_file_that_the_host_has_removed_meanwhile_does_not_come_back(
        self, storage: Storage
    ) -> None:
        self.store(storage, OLD, b"old")
        tag = self.tag(storage, OLD)
        self.stage(storage, OLD, b"new", purpose="replace")
        self.delete(storage, OLD)
        assert not storage.replace(RESTORE, OLD, tag)
        assert storage.stat(OLD) is None

    # --- keeping for an undo ---------------------------------------------------------------------

    def test_what_is_kept_is_sealed_with_its_content(self, storage: Storage) -> None:
        """By the seal a file is known again where its tag is another one."""
        self.store(storage, OLD, b"old")
        tag = self.tag(storage, OLD)
        sealed = storage.keep(RESTORE, OLD, tag)
        assert bare(sealed) == tag
        assert sha256_of(sealed) == hashlib.sha256(b"old").hexdigest()
        assert storage.keep(OTHER, OLD, sealed) == sealed
        assert self.content(storage, OLD) == b"old"

    def test_a_file_is_known_by_its_content_where_its_tag_is_sealed(self, storage: Storage) -> None:
        """The storage may have been copied to another disk since the restore."""
        self.store(storage, OLD, b"old")
        tag = self.tag(storage, OLD)
        sealed = storage.keep(RESTORE, OLD, tag)
        assert storage.known(OLD, sealed) == sealed
        self.delete(storage, OLD)
        assert storage.known(OLD, sealed) is None
        self.store(storage, OLD, b"old")
        assert storage.known(OLD, tag) is None
        assert storage.known(OLD, sealed, by_content=False) is None
        now = storage.known(OLD, sealed)
        assert now not in {None, sealed}
        assert storage.known(OLD, str(now), by_content=False) == now
        self.store(storage, OLD, b"new")
        assert storage.known(OLD, sealed) is None

    def test_a_file_of_another_tag_is_not_kept(self, storage: Storage) -> None:
        """A restore replaces exactly what its plan has seen, or nothing."""
        self.store(storage, OLD, b"old")
        tag = self.tag(storage, OLD)
        self.store(storage, OLD, b"new")
        with pytest.raises(ChangedError):
            storage.keep(RESTORE, OLD, tag)
        self.delete(storage, OLD)
        with pytest.raises(ChangedError):
            storage.keep(OTHER, OLD, tag)

    def test_what_is_kept_outlives_the_stored_file(self, storage: Storage) -> None:
        """Until it is forgotten, and no longer: it is as large as what was replaced."""
        self.store(storage, OLD, b"old")
        kept = storage.keep(RESTORE, OLD, self.tag(storage, OLD))
        self.delete(storage, OLD)
        self.store(storage, OLD, b"new")
        storage.clear(RESTORE)
        assert list(storage.kept()) == [RESTORE]
        tag = self.tag(storage, OLD)
        assert self.reopen(storage).stage_kept(UNDO, OLD, RESTORE, kept)
        assert storage.staged_size(UNDO, OLD) == len(b"old")
        for _ in range(2):
            assert self.reopen(storage).replace(UNDO, OLD, tag)
            assert self.content(storage, OLD) == b"old"
        storage.clear(UNDO)
        for _ in range(2):
            storage.forget(RESTORE, undone=True)
        assert list(storage.kept()) == []
        assert not storage.stage_kept(UNDO, OLD, RESTORE, kept)

    def test_what_was_not_kept_is_not_staged(self, storage: Storage) -> None:
        """The undo leaves such a release as it is, and warns of it."""
        assert not storage.stage_kept(UNDO, OLD, RESTORE, None)
        storage.clear(UNDO)
        assert list(storage.staged()) == []

    # --- many ------------------------------------------------------------------------------------

    def test_a_large_file_is_whole(self, storage: Storage) -> None:
        """Of several parts, where there are any, of which the last one is smaller."""
        content = b"".join(bytes([n]) * 1_000_003 for n in range(13))
        self.store(storage, OLD, b"old")
        tag = self.tag(storage, OLD)
        placed = self.stage(storage, NEW, content)
        self.stage(storage, OLD, content, purpose="replace")
        self.place(storage, [placed])
        assert storage.replace(RESTORE, OLD, tag)
        storage.clear(RESTORE)
        for file in (NEW, OLD):
            with storage.open(file) as stored:
                assert stored.size == len(content)
                assert b"".join(iter(partial(stored.read, 300_000), b"")) == content
        storage.take_back(RESTORE, [placed])
        assert storage.stat(NEW) is None

    def test_several_files_are_worked_on_at_a_time(self, storage: Storage) -> None:
        """By threads, as many as the storage says."""
        old = [ReleaseFile("package", "old", f"1.{n}.0") for n in range(2 * storage.at_once)]
        new = [ReleaseFile("package", "new", f"1.{n}.0") for n in range(2 * storage.at_once)]
        for file in old:
            self.store(storage, file, file.member.encode())
        tags = {file: self.tag(storage, file) for file in old}

        def both(file: ReleaseFile) -> str:
            self.stage(storage, file, b"replacing", purpose="replace")
            return storage.keep(RESTORE, file, tags[file])

        def opened(file: ReleaseFile) -> bytes | None:
            return self.content(storage, file)

        with ThreadPoolExecutor(storage.at_once) as pool:
            placed = list(pool.map(partial(self.stage, storage, content=b"new"), new))
            kept = list(pool.map(both, old))
            self.place(storage, placed)
            assert all(pool.map(lambda each: storage.replace(RESTORE, each, tags[each]), old))
            storage.clear(RESTORE)
            assert [*pool.map(opened, new), *pool.map(opened, old)] == [
                *(b"new" for _ in new),
                *(b"replacing" for _ in old),
            ]
            undone = {file: self.tag(storage, file) for file in old}
            staged = [
                storage.stage_kept(UNDO, *each)
                for each in zip(old, [RESTORE] * len(old), kept, strict=True)
            ]
            assert all(staged)
            assert all(pool.map(lambda each: storage.replace(UNDO, each, undone[each]), old))
        assert [opened(file) for file in old] == [file.member.encode() for file in old]
        storage.clear(UNDO)
        storage.forget(RESTORE, undone=True)
        assert [*storage.staged(), *storage.kept()] == []

    # --- room ------------------------------------------------------------------------------------

    def test_an_empty_storage_has_room_and_nothing_left_over(self, storage: Storage) -> None:
        """Before the first file is stored a restore asks for all of this."""
        assert storage.location
        assert storage.free() > 0
        storage.flush()
        storage.take_back(RESTORE, ())
        storage.clear(RESTORE)
        storage.forget(RESTORE)
        assert [*storage.staged(), *storage.kept()] == []
