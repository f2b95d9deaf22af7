"""Destinations with one fault each, and the test that finds it. Run by `test_broken.py`."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hexhub_backup import DirectoryDestination
from hexhub_backup.destinations.base import Destination, Listed, Reader
from hexhub_backup.testing import DestinationConformance


class BrokenDestination(DirectoryDestination):
    #: The name of the test that finds the fault.
    found_by: ClassVar[str]


class Replaces(BrokenDestination):
    found_by = "test_a_file_that_is_there_is_never_replaced"

    def put(self, name: str, source: Reader, size: int) -> None:
        (self.path / name).unlink(missing_ok=True)
        super().put(name, source, size)


class WritesInPlace(BrokenDestination):
    found_by = "test_a_process_that_is_killed_leaves_no_file"

    def put(self, name: str, source: Reader, size: int) -> None:
        if (self.path / name).exists():
            raise FileExistsError(errno.EEXIST, "There is such a file already")
        with (self.path / name).open("wb", buffering=0) as file:
            while chunk := source.read(1000):
                file.write(chunk)


class KeepsWhatWasStopped(WritesInPlace):
    found_by = "test_what_a_reader_raises_ends_it_and_nothing_is_left"


class TrustsTheSize(BrokenDestination):
    found_by = "test_the_size_is_what_is_read_and_not_what_was_expected"

    def put(self, name: str, source: Reader, size: int) -> None:
        class Cut:
            left = size

            def read(self, most: int, /) -> bytes:
                data = source.read(min(most, self.left))
                self.left -= len(data)
                return data

        super().put(name, Cut(), size)


class TakesAShortReadForTheEnd(BrokenDestination):
    found_by = "test_a_file_is_read_as_it_was_written"

    def put(self, name: str, source: Reader, size: int) -> None:
        class Once:
            done = False

            def read(self, most: int, /) -> bytes:
                data = b"" if self.done else source.read(most)
                self.done = True
                return data

        super().put(name, Once(), size)


class ReadsFromTheStart(BrokenDestination):
    found_by = "test_a_part_of_a_file_is_read"

    def open(self, name: str, start: int = 0, length: int | None = None) -> Any:
        return super().open(name, 0, length)


class ReadsToTheEnd(BrokenDestination):
    found_by = "test_a_part_of_a_file_is_read"

    def open(self, name: str, start: int = 0, length: int | None = None) -> Any:
        return super().open(name, start)


class ListsOnlyArchives(BrokenDestination):
    found_by = "test_each_name_is_a_file_of_its_own"

    def list(self) -> Iterator[Listed]:
        return (each for each in super().list() if each.name.endswith(".tar"))


class DeletesTheLikes(BrokenDestination):
    found_by = "test_each_name_is_a_file_of_its_own"

    def delete(self, name: str) -> None:
        for path in self.path.glob(f"{name}*"):
            path.unlink()


class DeletesOnce(BrokenDestination):
    found_by = "test_a_file_is_deleted_or_locked_until_a_day_to_come"

    def delete(self, name: str) -> None:
        (self.path / name).unlink()


class HasNoPlace(BrokenDestination):
    found_by = "test_it_has_a_name_and_says_where_it_is"

    def __init__(self, name: str, path: Path | str) -> None:
        super().__init__(name, path)
        self.location = ""


BROKEN: dict[str, type[BrokenDestination]] = {
    each.__name__: each
    for each in (
        Replaces,
        WritesInPlace,
        KeepsWhatWasStopped,
        TrustsTheSize,
        TakesAShortReadForTheEnd,
        ReadsFromTheStart,
        ReadsToTheEnd,
        ListsOnlyArchives,
        DeletesTheLikes,
        DeletesOnce,
        HasNoPlace,
    )
}


class Faults(DestinationConformance):
    @pytest.fixture(params=BROKEN)
    def destination(self, request: pytest.FixtureRequest, tmp_path: Path) -> BrokenDestination:
        destination = BROKEN[request.param]("nas", tmp_path)
        destination.init()
        return destination

    def reopen(self, destination: Destination) -> BrokenDestination:
        assert isinstance(destination, BrokenDestination)
        return type(destination)(destination.name, destination.path)
