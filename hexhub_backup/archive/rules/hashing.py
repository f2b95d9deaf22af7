"""A SHA-256 that another processor works out."""

from __future__ import annotations

import hashlib
from concurrent.futures import Executor, Future
from typing import Protocol


class Digest(Protocol):
    """As the hashes of the standard library are."""

    def update(self, data: memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class DigestBeside:
    """A `Digest` whose bytes are hashed by an executor, in their order."""

    def __init__(self, beside: Executor) -> None:
        self._beside = beside
        self._digest = hashlib.sha256()
        self._hashing: Future[None] | None = None

    def update(self, data: memoryview, /) -> None:
        self._wait()
        try:
            self._hashing = self._beside.submit(self._digest.update, data)
        except RuntimeError:
            # The interpreter is about to end, and takes no new thread.
            self._digest.update(data)

    def hexdigest(self) -> str:
        self._wait()
        return self._digest.hexdigest()

    def _wait(self) -> None:
        if self._hashing is not None:
            self._hashing.result()
            self._hashing = None
