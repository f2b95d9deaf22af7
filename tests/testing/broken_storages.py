"""Storages with one fault each, and the test that finds it. Run by `test_broken.py`."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import ClassVar

import pytest

from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.storage.base import Purpose, Storage, StoredFile
from tests.support.memory_storage import (
    Content,
    Memory,
    MemoryConformance,
    MemoryStorage,
    OpenContent,
)

Placed = Iterable[tuple[ReleaseFile, str]]
Read = Callable[[ReleaseFile], Iterable[bytes]]


class BrokenStorage(MemoryStorage):
    #: The name of the test that finds the fault.
    found_by: ClassVar[str]


class PlacesNothing(BrokenStorage):
    found_by = "test_a_staged_file_is_not_there_before_it_is_placed"

    def place(self, operation: str, files: Placed, content: Read) -> None:
        """Forgets it."""


class PlacesOverOthers(BrokenStorage):
    found_by = "test_placing_never_replaces_a_file"

    def place(self, operation: str, files: Placed, content: Read) -> None:
        for file, _ in files:
            self.memory.files[file] = self.memory.staged[operation][file]


class PlacesAllAtOnce(BrokenStorage):
    found_by = "test_only_the_files_that_are_named_are_placed"

    def place(self, operation: str, files: Placed, content: Read) -> None:
        super().place(operation, files, content)
        staged = self.memory.staged.get(operation, {}).items()
        super().place(operation, [(file, "") for file, _ in staged], content)


class StagesInPlace(BrokenStorage):
    found_by = "test_a_staged_file_is_not_there_before_it_is_placed"

    def stage(
        self, operation: str, file: ReleaseFile, chunks: Iterable[bytes], *, purpose: Purpose
    ) -> str:
        tag = super().stage(operation, file, chunks, purpose=purpose)
        self.memory.files[file] = self.memory.staged[operation][file]
        return tag


class StagesAtOnce(BrokenStorage):
    """Keeps what it stages in the object: another process does not find it."""

    found_by = "test_a_decided_restore_is_finished"

    def __init__(self, memory: Memory) -> None:
        super().__init__(Memory(files=memory.files, kept=memory.kept))


class TakesBackWhatIsNotOurs(BrokenStorage):
    found_by = "test_what_the_host_has_stored_since_is_not_taken_back"

    def take_back(self, operation: str, files: Placed) -> None:
        for file, _ in files:
            self.memory.files.pop(file, None)


class TakesBackByContent(BrokenStorage):
    """A host may have stored the same bytes."""

    found_by = "test_what_the_host_has_stored_since_is_not_taken_back"

    def take_back(self, operation: str, files: Placed) -> None:
        for file, tag in files:
            if self.known(file, tag) is not None:
                del self.memory.files[file]


class TakesNothingBack(BrokenStorage):
    found_by = "test_a_restore_without_a_decision_is_taken_back"

    def take_back(self, operation: str, files: Placed) -> None:
        """Forgets it."""


class ReplacesOnlyOnce(BrokenStorage):
    found_by = "test_replacing_puts_the_staged_file_there_and_is_idempotent"

    def replace(self, operation: str, file: ReleaseFile, tag: str) -> bool:
        return self.staged_size(operation, file) is not None and super().replace(
            operation, file, tag
        )


class ReplacesWhateverIsThere(BrokenStorage):
    found_by = "test_a_file_that_the_host_has_stored_meanwhile_is_not_replaced_or_removed"

    def replace(self, operation: str, file: ReleaseFile, tag: str) -> bool:
        now = self.stat(file)
        return super().replace(operation, file, tag if now is None else now.tag)


class BringsBackWhatIsGone(BrokenStorage):
    found_by = "test_a_file_that_the_host_has_removed_meanwhile_does_not_come_back"

    def replace(self, operation: str, file: ReleaseFile, tag: str) -> bool:
        if file not in self.memory.files:
            self.memory.files[file] = self.memory.staged[operation][file]
            return True
        return super().replace(operation, file, tag)


class RemovesWhateverIsThere(BrokenStorage):
    found_by = "test_a_file_that_the_host_has_stored_meanwhile_is_not_replaced_or_removed"

    def remove(self, files: Placed) -> list[bool]:
        for file, _ in files:
            self.memory.files.pop(file, None)
        return [True]


class KeepsWhateverIsThere(BrokenStorage):
    found_by = "test_a_file_of_another_tag_is_not_kept"

    def keep(self, operation: str, file: ReleaseFile, tag: str) -> str:
        stored = self.stat(file)
        return super().keep(operation, file, tag if stored is None else stored.tag)


class ClearsWhatIsKept(BrokenStorage):
    found_by = "test_what_is_kept_outlives_the_stored_file"

    def clear(self, operation: str) -> None:
        super().clear(operation)
        self.forget(operation)


class ForgetsNothing(BrokenStorage):
    found_by = "test_what_is_kept_outlives_the_stored_file"

    def forget(self, operation: str, *, undone: bool = False) -> None:
        """Forgets to."""


class ForgetsOnUndo(BrokenStorage):
    """Whose undo was taken back loses what the restore had kept."""

    found_by = "test_an_undo_without_a_decision_is_taken_back"

    def forget(self, operation: str, *, undone: bool = False) -> None:
        self.memory.kept.clear()


class ClearsAll(BrokenStorage):
    found_by = "test_operations_have_staging_areas_of_their_own"

    def clear(self, operation: str) -> None:
        self.memory.staged.clear()


class FoldsNames(BrokenStorage):
    """And says nothing of it."""

    found_by = "test_two_names_are_apart_or_said_to_be_alike"

    def open(self, file: ReleaseFile) -> OpenContent:
        lower = [each for each in self.memory.files if each.version.lower() == file.version.lower()]
        return super().open(lower[-1] if lower else file)


class TellsBySize(BrokenStorage):
    found_by = "test_a_tag_stays_until_the_file_is_stored_again"

    def stat(self, file: ReleaseFile) -> StoredFile | None:
        found = super().stat(file)
        return None if found is None else StoredFile(found.size, str(found.size))


class TellsDifferently(BrokenStorage):
    """Each object has tags of its own."""

    found_by = "test_a_tag_stays_until_the_file_is_stored_again"

    def stat(self, file: ReleaseFile) -> StoredFile | None:
        found = super().stat(file)
        return None if found is None else StoredFile(found.size, f"{found.tag}-{id(self)}")


class ReadsAhead(BrokenStorage):
    """Goes on with the new file where the old one was replaced, and does not say so."""

    found_by = "test_a_file_that_changes_while_it_is_read_says_so"

    def open(self, file: ReleaseFile) -> OpenContent:
        memory, opened = self.memory, super().open(file)

        class Ahead(OpenContent):
            place = 0

            def read(self, size: int) -> bytes:
                part = memory.files[file].bytes[self.place : self.place + size]
                self.place += len(part)
                return part

        return Ahead(opened.read(opened.size))


class StagesHalf(BrokenStorage):
    """Takes what it has for all where the archive turns out to be damaged."""

    found_by = "test_an_error_in_what_is_staged_is_passed_on"

    def stage(
        self, operation: str, file: ReleaseFile, chunks: Iterable[bytes], *, purpose: Purpose
    ) -> str:
        def read() -> Iterator[bytes]:
            try:
                yield from chunks
            except Exception:
                return

        return super().stage(operation, file, read(), purpose=purpose)


class SealsNothing(BrokenStorage):
    found_by = "test_what_is_kept_is_sealed_with_its_content"

    def keep(self, operation: str, file: ReleaseFile, tag: str) -> str:
        super().keep(operation, file, tag)
        return tag


class StagesACopy(BrokenStorage):
    """The file in its place has another tag than it was staged with."""

    found_by = "test_a_file_in_its_place_has_the_tag_that_it_was_staged_with"

    def place(self, operation: str, files: Placed, content: Read) -> None:
        files = list(files)
        super().place(operation, files, content)
        for file, _ in files:
            self.memory.files[file] = Content(self.memory.files[file].bytes)


class ReadsOneByteLess(BrokenStorage):
    found_by = "test_a_stored_file_is_read_whole"

    def open(self, file: ReleaseFile) -> OpenContent:
        opened = super().open(file)
        return OpenContent(opened.read(opened.size - 1))


class TakesAnEmptyFileForNone(BrokenStorage):
    found_by = "test_an_empty_file_is_a_file"

    def sizes(self, files: Iterable[ReleaseFile]) -> Iterator[int | None]:
        return (size or None for size in super().sizes(files))


class TakesNoneForAnEmptyFile(BrokenStorage):
    found_by = "test_a_missing_file_is_known_to_be_missing"

    def open(self, file: ReleaseFile) -> OpenContent:
        return super().open(file) if file in self.memory.files else OpenContent(b"")


class TakesDocsForThePackage(BrokenStorage):
    found_by = "test_each_file_has_a_place_of_its_own"

    def open(self, file: ReleaseFile) -> OpenContent:
        return super().open(next(each for each in self.memory.files if each[1:] == file[1:]))


class TellsInTwoWords(BrokenStorage):
    found_by = "test_a_tag_fits_into_one_word"

    def stat(self, file: ReleaseFile) -> StoredFile | None:
        found = super().stat(file)
        return None if found is None else StoredFile(found.size, f"number {found.tag}")


class KnowsNoContent(BrokenStorage):
    found_by = "test_a_file_is_known_by_its_content_where_its_tag_is_sealed"

    def known(self, file: ReleaseFile, tag: str, *, by_content: bool = True) -> str | None:
        return super().known(file, tag, by_content=False)


class RemovesOnlyOnce(BrokenStorage):
    found_by = "test_removing_is_idempotent"

    def remove(self, files: Placed) -> list[bool]:
        there = [file in self.memory.files for file, _ in files]
        super().remove(files)
        return there


class RemovesUpToTheFirstOther(BrokenStorage):
    found_by = "test_what_is_removed_is_said_of_each_file"

    def remove(self, files: Placed) -> list[bool]:
        done: list[bool] = []
        for each in files:
            if all(done):
                done += super().remove([each])
        return done


class StagesWhatWasNotKept(BrokenStorage):
    found_by = "test_what_was_not_kept_is_not_staged"

    def stage_kept(self, operation: str, file: ReleaseFile, undone: str, tag: str | None) -> bool:
        super().stage_kept(operation, file, undone, tag)
        return True


class TagsByContent(BrokenStorage):
    """As an ETag is."""

    found_by = "test_no_two_staged_files_have_one_tag"

    def stage(
        self, operation: str, file: ReleaseFile, chunks: Iterable[bytes], *, purpose: Purpose
    ) -> str:
        super().stage(operation, file, chunks, purpose=purpose)
        return hashlib.md5(self.memory.staged[operation][file].bytes).hexdigest()


class TellsInAnyOrder(BrokenStorage):
    """As a listing does."""

    found_by = "test_many_are_told_in_their_order"

    def sizes(self, files: Iterable[ReleaseFile]) -> Iterator[int | None]:
        return super().sizes(sorted(files))


class WritesOnePart(BrokenStorage):
    found_by = "test_a_large_file_is_whole"

    def stage(
        self, operation: str, file: ReleaseFile, chunks: Iterable[bytes], *, purpose: Purpose
    ) -> str:
        first = b"".join(chunks)[: 8 * 2**20]
        return super().stage(operation, file, [first], purpose=purpose)


class StagesOneAtATime(BrokenStorage):
    """Mixes up files that are staged at the same time."""

    found_by = "test_several_files_are_worked_on_at_a_time"
    at_once = 4

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self._both = threading.Barrier(2)
        self._file = ReleaseFile("package", "", "")

    def stage(
        self, operation: str, file: ReleaseFile, chunks: Iterable[bytes], *, purpose: Purpose
    ) -> str:
        self._file = file
        with suppress(threading.BrokenBarrierError):
            self._both.wait(0.2)
        return super().stage(operation, self._file, chunks, purpose=purpose)


class LeavesWhatItPlacedLast(BrokenStorage):
    """Takes back only what was placed before an error."""

    found_by = "test_what_is_placed_before_an_error_is_taken_back"
    places_directly = True

    def place(self, operation: str, files: Placed, content: Read) -> None:
        for file, _ in files:
            self.memory.files[file] = Content(b"")
            self.memory.files[file] = Content(b"".join(content(file)))


class HasNoRoom(BrokenStorage):
    found_by = "test_an_empty_storage_has_room_and_nothing_left_over"

    def free(self) -> int:
        return 0


BROKEN = {each.__name__: each for each in BrokenStorage.__subclasses__()}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = [name for name, each in BROKEN.items() if each.found_by == metafunc.function.__name__]
    metafunc.parametrize("storage", names, indirect=True)


class Faults(MemoryConformance):
    @pytest.fixture
    def storage(self, request: pytest.FixtureRequest) -> MemoryStorage:
        return BROKEN[request.param](Memory())

    def reopen(self, storage: Storage) -> MemoryStorage:
        assert isinstance(storage, MemoryStorage)
        return type(storage)(storage.memory)
