"""An object that is written from its beginning to its end, in parts, a few of them under way."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from hexhub_backup.depot.s3_objects import DepotError, Objects

_MIB = 1024 * 1024
#: Bytes of a part, which is in memory until it is sent: of an object that has more than the most
#: parts, these are larger. Some servers want all parts but the last to be of one size.
_LEAST = 8 * _MIB
_MOST_PARTS = 9_000
#: Bytes of the parts that are under way, at most; but for one part.
_UNDER_WAY = 24 * _MIB


def part_size(about: int) -> int:
    """Bytes of the parts of an object of about so many bytes."""
    return max(_LEAST, -(-about // _MOST_PARTS // _MIB) * _MIB)


class Parts:
    """One object. It may be cut back to the place that was marked last: a part that was sent is
    sent again then.

    One that is smaller than a part is written at once. Raises DepotError.
    """

    def __init__(self, objects: Objects, key: str, size: int) -> None:
        """`size` is that of the parts."""
        self._objects = objects
        self._key = key
        self._size = size
        self._buffer = bytearray()
        #: Where the buffer begins in the object.
        self._start = 0
        self._mark = 0
        #: The part in which the mark is, and its bytes before that, where it was sent.
        self._before: tuple[int, bytes] | None = None
        self._upload: str | None = None
        self._sent: deque[Future[dict[str, Any]]] = deque()
        self._parts: list[dict[str, Any]] = []
        self._under_way = max(1, _UNDER_WAY // size)
        self._requests: ThreadPoolExecutor | None = None
        self._is_complete = False

    @property
    def length(self) -> int:
        """Bytes so far."""
        return self._start + len(self._buffer)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        left = memoryview(data)
        while left:
            part = left[: self._size - len(self._buffer)]
            self._buffer += part
            left = left[len(part) :]
            if len(self._buffer) == self._size:
                self._send()

    def mark(self, at: int) -> None:
        """Nothing before this place is cut off any more."""
        self._mark = at
        if at >= self._start:
            self._before = None

    def cut(self, at: int) -> None:
        """Let it end at a place, not before the mark."""
        if at < self._start:
            assert self._before is not None  # noqa: S101 (it was marked)
            number, before = self._before
            self._wait(0)
            del self._parts[number - 1 :]
            self._start = (number - 1) * self._size
            self._buffer = bytearray(before)
            self._before = None
        del self._buffer[at - self._start :]

    def complete(self, *, new: bool) -> None:
        """All of it is written. Where it is to be `new`, none is replaced."""
        if self._upload is None:
            self._objects.put(self._key, self._buffer, new=new)
            self._start = len(self._buffer)
            self._buffer = bytearray()
        else:
            if self._buffer:
                self._send()
            self._wait(0)
            self._objects.complete(self._key, self._upload, self._parts, self._start, new=new)
        self._is_complete = True
        self.close()

    def _send(self) -> None:
        if self._upload is None:
            self._upload = self._objects.begin(self._key)
            self._requests = ThreadPoolExecutor(self._under_way, "hexhub-backup-parts")
        self._wait(self._under_way - 1)
        number = len(self._parts) + len(self._sent) + 1
        data, self._buffer = self._buffer, bytearray()
        if 0 <= self._mark - self._start < len(data):
            self._before = number, bytes(data[: self._mark - self._start])
        self._start += len(data)
        assert self._requests is not None  # noqa: S101 (with the upload)
        self._sent.append(
            self._requests.submit(self._objects.part, self._key, self._upload, number, data)
        )

    def _wait(self, left: int) -> None:
        """Until so many are under way at most."""
        while len(self._sent) > left:
            self._parts.append(self._sent.popleft().result())

    def close(self) -> None:
        """Drop it, unless it is complete. Idempotent."""
        if self._requests is not None:
            self._requests.shutdown(wait=True, cancel_futures=True)
            self._requests = None
        self._buffer = bytearray()
        if self._upload is not None and not self._is_complete:
            # What can't be dropped now goes with what died.
            with suppress(DepotError):
                self._objects.abort(self._key, self._upload)
            self._upload = None
