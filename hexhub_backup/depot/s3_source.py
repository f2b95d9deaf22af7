"""An archive in a bucket, read by ranges, a few requests ahead."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from hexhub_backup.depot.s3_objects import Objects, Stored
from hexhub_backup.errors import NotFoundError
from hexhub_backup.s3.server import TakenError

#: Bytes of a request: the first after a jump, and the most.
_FIRST = 64 * 1024
_MOST = 2 * 1024 * 1024
#: Requests that are under way, at most, for what comes next.
_AHEAD = 3


@dataclass
class _Block:
    start: int
    end: int
    data: Future[bytes]
    #: How many threads wait for its data.
    readers: int = 0


class S3Source:
    """The bytes of an object as it was found: of another one that came since nothing is read.

    Who reads on and on gets what comes next from requests that are under way by then, each for four
    times as many bytes as the one before; a jump asks for little. Several threads that read small
    files in turn are as one that reads on: what was passed last is still there for the slower ones.
    """

    near = False

    def __init__(self, objects: Objects, key: str, found: Stored, name: str) -> None:
        self.name = name
        self.size = found.size
        self.version = found.version or found.etag.strip('"')
        self.modified = found.modified.timestamp()
        self._objects = objects
        self._key = key
        self._found = found
        self._lock = threading.Lock()
        #: One behind the other, and asked for; the first may have been passed.
        self._blocks: deque[_Block] = deque()
        self._far = _FIRST
        #: How far it was read.
        self._at = 0
        self._requests: ThreadPoolExecutor | None = None

    def read(self, offset: int, length: int) -> bytes:
        """Raises NotFoundError where it is not there any more, DepotError."""
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        with self._lock:
            blocks = self._asked_for(offset, end)
        try:
            parts = [
                block.data.result()[max(offset - block.start, 0) : end - block.start]
                for block in blocks
            ]
        finally:
            with self._lock:
                for block in blocks:
                    block.readers -= 1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _asked_for(self, offset: int, end: int) -> list[_Block]:
        """The blocks that hold these bytes; what comes next is asked for where it is likely."""
        blocks = self._blocks
        # What is passed over is less than what would be asked for anyway.
        is_near = blocks and blocks[0].start <= offset <= blocks[-1].end + self._far
        reads_on = is_near and offset >= self._at
        if not is_near:
            self._drop()
            self._far, self._at = _FIRST, offset
            self._ask(offset, max(self._far, min(end - offset, _MOST)))
        while blocks[-1].end < end:
            self._ask(blocks[-1].end, max(self._far, min(end - offset, _MOST)))
        wanted = [each for each in blocks if each.start < end and offset < each.end]
        for block in wanted:
            block.readers += 1
        self._at = max(self._at, end)
        while len(blocks) > 1 and blocks[1].end <= self._at:
            blocks.popleft()
        if reads_on:
            self._look_ahead()
        return wanted

    def _look_ahead(self) -> None:
        ahead = sum(each.start >= self._at for each in self._blocks)
        while ahead < _AHEAD and self._blocks[-1].end < self.size:
            self._far = min(4 * self._far, _MOST)
            self._ask(self._blocks[-1].end, self._far)
            ahead += 1

    def _ask(self, start: int, length: int) -> None:
        end = min(start + length, self.size)
        if self._requests is None:
            self._requests = ThreadPoolExecutor(_AHEAD + 1, "hexhub-backup-ranges")
        data = self._requests.submit(self._get, start, end - start)
        self._blocks.append(_Block(start, end, data))

    def _get(self, start: int, length: int) -> bytes:
        try:
            return self._objects.read(self._key, self._found, start, length)
        except (FileNotFoundError, TakenError):
            raise NotFoundError(
                f"{self.name} was deleted or replaced while it was read: start again."
            ) from None

    def _drop(self) -> None:
        for block in self._blocks:
            if not block.readers:
                block.data.cancel()
        self._blocks.clear()

    def changed(self) -> bool:
        """Never: what is another object by now is not read."""
        return False

    def forget(self) -> None:
        """This machine remembers nothing of it."""

    def close(self) -> None:
        self._drop()
        if self._requests is not None:
            self._requests.shutdown(wait=False, cancel_futures=True)
            self._requests = None

    def __enter__(self) -> S3Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
