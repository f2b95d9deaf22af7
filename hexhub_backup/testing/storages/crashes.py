"""A process that is killed between two calls of a storage: another one takes back, or finishes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.storage.base import Purpose, Storage
from hexhub_backup.testing.storages.host import DOCS, NEW, OLD, RESTORE, UNDO, StorageHost

#: One call of a storage, on an object that is made for it.
Step = Callable[[Storage], object]


class CrashConformance(StorageHost):
    """What recovery relies on."""

    @pytest.mark.parametrize("calls", range(8))
    def test_a_restore_without_a_decision_is_taken_back(self, storage: Storage, calls: int) -> None:
        """The process is killed after so many calls, and so is each that takes it back, but the
        last: nothing is left, and every file is as it was."""
        self.store(storage, OLD, b"old")
        tag = self.tag(storage, OLD)
        placed: list[tuple[ReleaseFile, str]] = []
        self._run(storage, self._restoring(tag, placed)[:calls])
        self._recover(
            storage,
            [
                lambda it: it.take_back(RESTORE, placed),
                lambda it: it.flush(),
                lambda it: it.clear(RESTORE),
                lambda it: it.forget(RESTORE),
            ],
        )
        assert self.content(storage, NEW) is None
        assert self.content(storage, DOCS) is None
        assert self.tag(storage, OLD) == tag
        assert self.content(storage, OLD) == b"old"
        assert [*storage.staged(), *storage.kept()] == []

    @pytest.mark.parametrize("calls", range(7))
    def test_a_decided_restore_is_finished(self, storage: Storage, calls: int) -> None:
        """The process is killed so many calls after the decision, and so is each that finishes
        it, but the last. Then the same of its undo."""
        self.store(storage, OLD, b"old")
        before = self.tag(storage, OLD)
        placed: list[tuple[ReleaseFile, str]] = []
        self._run(storage, self._restoring(before, placed))
        finishing: list[Step] = [
            lambda it: it.replace(RESTORE, OLD, before),
            lambda it: it.flush(),
            lambda it: it.clear(RESTORE),
        ]
        self._run(storage, finishing[:calls])
        self._recover(storage, finishing)
        assert self.content(storage, NEW) == b"new"
        assert self.content(storage, DOCS) == b"docs"
        assert self.content(storage, OLD) == b"replacing"
        assert list(storage.staged()) == []
        assert list(storage.kept()) == [RESTORE]

        after = self.tag(storage, OLD)
        assert self.reopen(storage).stage_kept(UNDO, OLD, RESTORE, None)
        undoing: list[Step] = [
            lambda it: it.remove(placed[:1]),
            lambda it: it.remove(placed),
            lambda it: it.replace(UNDO, OLD, after),
            lambda it: it.flush(),
            lambda it: it.clear(UNDO),
            lambda it: it.forget(RESTORE, undone=True),
        ]
        self._run(storage, undoing[:calls])
        self._recover(storage, undoing)
        assert self.content(storage, NEW) is None
        assert self.content(storage, DOCS) is None
        assert self.content(storage, OLD) == b"old"
        assert [*storage.staged(), *storage.kept()] == []

    @pytest.mark.parametrize("calls", range(3))
    def test_an_undo_without_a_decision_is_taken_back(self, storage: Storage, calls: int) -> None:
        """The restore can still be undone after that."""
        self.store(storage, OLD, b"old")
        kept = storage.keep(RESTORE, OLD, self.tag(storage, OLD))
        undoing: list[Step] = [
            lambda it: it.stage_kept(UNDO, OLD, RESTORE, kept),
            lambda it: it.flush(),
        ]
        self._run(storage, undoing[:calls])
        self._recover(
            storage,
            [
                lambda it: it.take_back(UNDO, ()),
                lambda it: it.flush(),
                lambda it: it.clear(UNDO),
                lambda it: it.forget(UNDO),
            ],
        )
        assert self.content(storage, OLD) == b"old"
        assert list(storage.staged()) == []
        assert list(storage.kept()) == [RESTORE]
        assert storage.stage_kept(UNDO, OLD, RESTORE, kept)

    def _restoring(self, tag: str, placed: list[tuple[ReleaseFile, str]]) -> list[Step]:
        """The calls of a restore up to its decision. What is placed is noted, as in an undo
        set."""

        def stage(file: ReleaseFile, content: bytes, purpose: Purpose, storage: Storage) -> None:
            placed.append(self.stage(storage, file, content, purpose=purpose))

        return [
            partial(stage, NEW, b"new", "place"),
            partial(stage, DOCS, b"docs", "put_back"),
            lambda it: self.stage(it, OLD, b"replacing", purpose="replace"),
            lambda it: it.keep(RESTORE, OLD, tag),
            lambda it: it.flush(),
            lambda it: self.place(it, placed),
            lambda it: it.flush(),
        ]

    def _run(self, storage: Storage, steps: Sequence[Step]) -> None:
        """Take each step by an object of its own: there is nothing that only one of them knows."""
        for step in steps:
            step(self.reopen(storage))

    def _recover(self, storage: Storage, steps: Sequence[Step]) -> None:
        """Begin anew after each step, as if killed, and go on one step more each time."""
        for count in range(1, len(steps) + 1):
            self._run(storage, steps[:count])
        self._run(storage, steps)
