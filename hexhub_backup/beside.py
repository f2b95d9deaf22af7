"""Work that another thread does meanwhile: Python lets it, while bytes are hashed or written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_Done = TypeVar("_Done")


def start(
    beside: Executor, work: Callable[_P, _Done], /, *args: _P.args, **kwargs: _P.kwargs
) -> Future[_Done]:
    """Let an executor do some work. It is done here where there is no new thread: the interpreter
    is about to end, or the process has many."""
    done: Future[_Done] = Future()
    turns = [work]

    def take_turn() -> None:
        try:
            turns.pop()
        except IndexError:
            return
        if not done.set_running_or_notify_cancel():
            return
        try:
            done.set_result(work(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)

    try:
        beside.submit(take_turn)
    except RuntimeError:
        # CPython keeps work that it found no thread for, and another thread may come to it.
        take_turn()
    return done


class DigestBeside:
    """A SHA-256 whose bytes are hashed by an executor, in their order; without one they are hashed
    at once."""

    def __init__(self, beside: Executor | None) -> None:
        self._beside = beside
        self._digest = hashlib.sha256()
        self._marked = self._digest.copy()
        self._hashing: Future[None] | None = None

    def update(self, data: bytes | bytearray | memoryview, /, *, mark: int | None = None) -> None:
        """Hash `data`, which stays as it is up to the next call. `mark` is a place in there to
        which `rewind` may go back."""
        self._wait()
        if self._beside is None:
            self._update(data, mark)
        else:
            self._hashing = start(self._beside, self._update, data, mark)

    def _update(self, data: bytes | bytearray | memoryview, mark: int | None) -> None:
        view = memoryview(data)
        if mark is not None:
            self._digest.update(view[:mark])
            self._marked = self._digest.copy()
            view = view[mark:]
        self._digest.update(view)

    def rewind(self) -> None:
        """Forget everything behind the last mark."""
        self._wait()
        self._digest = self._marked.copy()

    def hexdigest(self) -> str:
        self._wait()
        return self._digest.hexdigest()

    def _wait(self) -> None:
        if self._hashing is not None:
            self._hashing.result()
            self._hashing = None
