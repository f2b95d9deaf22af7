"""What copies rely on of a destination."""

from __future__ import annotations

import os
import signal
import warnings
from datetime import datetime, timezone

import pytest

from hexhub_backup.destinations.base import Destination, check_name
from hexhub_backup.errors import LockedError
from hexhub_backup.testing.destinations.host import (
    ARCHIVE,
    OTHER,
    SIDECAR,
    Bytes,
    DestinationHost,
)

#: More than destinations hold in memory, and no whole number of anything.
_LARGE = bytes(range(251)) * 90_001


class _StoppedError(Exception):
    """What a reader raises when its operation is cancelled."""


class _Stopping(Bytes):
    """Stops after the first pieces, as somebody cancels the copy."""

    def __init__(self) -> None:
        super().__init__(_LARGE)
        self._reads = 0

    def read(self, size: int, /) -> bytes:
        self._reads += 1
        if self._reads > 2_500:
            self.stop()
        return super().read(size)

    def stop(self) -> None:
        raise _StoppedError


class _Killing(_Stopping):
    """Kills its process there."""

    def stop(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class DestinationConformance(DestinationHost):
    """Subclass it, and override `destination` and `reopen`."""

    def test_it_has_a_name_and_says_where_it_is(self, destination: Destination) -> None:
        assert check_name(destination.name)
        assert destination.location
        destination.init()
        about = destination.about()
        assert about.free is None or about.free > 0

    def test_a_file_is_read_as_it_was_written(self, destination: Destination) -> None:
        self.put(destination, ARCHIVE, _LARGE)
        assert self.content(destination, ARCHIVE) == _LARGE
        other = self.reopen(destination)
        assert self.content(other, ARCHIVE) == _LARGE
        assert self.listed(other) == {ARCHIVE: len(_LARGE)}

    def test_an_empty_file_is_a_file(self, destination: Destination) -> None:
        self.put(destination, ARCHIVE, b"")
        assert self.content(destination, ARCHIVE) == b""
        assert self.listed(destination) == {ARCHIVE: 0}

    @pytest.mark.parametrize("size", [0, 10, 10**6])
    def test_the_size_is_what_is_read_and_not_what_was_expected(
        self, destination: Destination, size: int
    ) -> None:
        """How long an encrypted copy becomes is known when it is written."""
        destination.put(ARCHIVE, Bytes(b"a copy"), size)
        assert self.content(destination, ARCHIVE) == b"a copy"

    def test_a_part_of_a_file_is_read(self, destination: Destination) -> None:
        """A manifest is the last member of an archive, and a download goes on where it ended."""
        self.put(destination, ARCHIVE, b"0123456789")
        for start, length, expected in (
            (0, None, b"0123456789"),
            (4, None, b"456789"),
            (9, None, b"9"),
            (0, 3, b"012"),
            (4, 3, b"456"),
            (8, 100, b"89"),
        ):
            with destination.open(ARCHIVE, start, length) as file:
                assert file.size == 10
                read = b"".join(iter(lambda: file.read(2), b""))
                assert read == expected
                assert file.read(2) == b""

    def test_a_missing_file_is_known_to_be_missing(self, destination: Destination) -> None:
        self.put(destination, OTHER, b"another one")
        with pytest.raises(FileNotFoundError):
            destination.open(ARCHIVE)
        with pytest.raises(FileNotFoundError):
            destination.open(ARCHIVE, 3, 2)

    def test_a_file_that_is_there_is_never_replaced(self, destination: Destination) -> None:
        self.put(destination, ARCHIVE, b"the first")
        for each in (destination, self.reopen(destination)):
            with pytest.raises(FileExistsError):
                self.put(each, ARCHIVE, b"the second")
            assert self.content(each, ARCHIVE) == b"the first"
        assert self.listed(destination) == {ARCHIVE: 9}

    def test_what_a_reader_raises_ends_it_and_nothing_is_left(
        self, destination: Destination
    ) -> None:
        with pytest.raises(_StoppedError):
            destination.put(ARCHIVE, _Stopping(), len(_LARGE))
        assert self.listed(destination) == {}
        assert self.content(destination, ARCHIVE) is None
        self.put(destination, ARCHIVE, b"again")
        assert self.content(destination, ARCHIVE) == b"again"

    def test_a_process_that_is_killed_leaves_no_file(self, destination: Destination) -> None:
        """What it leaves half written is nobody's file, and in nobody's way."""
        with warnings.catch_warnings():
            # Since Python 3.12, where there are threads: the child does nothing but this.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                self.reopen(destination).put(ARCHIVE, _Killing(), len(_LARGE))
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        assert self.listed(destination) == {}
        assert self.content(destination, ARCHIVE) is None
        self.put(destination, ARCHIVE, b"again")
        assert self.content(destination, ARCHIVE) == b"again"
        assert self.listed(destination) == {ARCHIVE: 5}

    def test_each_name_is_a_file_of_its_own(self, destination: Destination) -> None:
        """A copy, its sidecar and its encrypted twin lie beside each other."""
        locked = False
        for name in (ARCHIVE, SIDECAR, OTHER):
            locked = self.put(destination, name, name.encode())
        for name in (ARCHIVE, SIDECAR, OTHER):
            assert self.content(destination, name) == name.encode()
        assert self.listed(destination) == {
            name: len(name.encode()) for name in (ARCHIVE, SIDECAR, OTHER)
        }
        if not locked:
            destination.delete(ARCHIVE)
            assert self.listed(destination).keys() == {SIDECAR, OTHER}

    def test_a_file_is_deleted_or_locked_until_a_day_to_come(
        self, destination: Destination
    ) -> None:
        destination.put(ARCHIVE, Bytes(b"a copy"), 6)
        until = destination.lock(ARCHIVE)
        # A process may be killed before it has written down that it is.
        again = self.reopen(destination).lock(ARCHIVE)
        assert (until is None) is (again is None)
        if until is None:
            for each in (destination, self.reopen(destination)):
                each.delete(ARCHIVE)
                assert self.content(each, ARCHIVE) is None
                assert self.listed(each) == {}
            self.put(destination, ARCHIVE, b"anew")
            assert self.content(destination, ARCHIVE) == b"anew"
        else:
            assert until > datetime.now(timezone.utc)
            with pytest.raises(LockedError) as caught:
                self.reopen(destination).delete(ARCHIVE)
            assert abs((caught.value.until - until).total_seconds()) < 2
            assert self.content(destination, ARCHIVE) == b"a copy"
