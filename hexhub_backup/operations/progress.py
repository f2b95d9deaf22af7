"""Steps, percent, rate and time left of one operation, its warnings, and when it has to stop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from threading import Lock, get_ident
from typing import IO, Any

from hexhub_backup.errors import BackupError
from hexhub_backup.notices import WARNINGS, Notice

#: What one record counts beside one byte of a file: about what it costs to read and write.
RECORD_WORK = 2048
#: Seconds between two progress events: at most ten a second.
_INTERVAL = 0.1
#: Seconds after which the speed of a step is its own.
_MEASURABLE = 1.0
#: Seconds between two looks for a reason to stop.
_CHECK_INTERVAL = 0.02
#: An outcome lists so many warnings; the operation's log has all of them.
LISTED_WARNINGS = 100

#: So many characters of events are held in memory; there may be one of each record.
_HELD = 2**20

Event = dict[str, Any]


@dataclass
class _Work:
    bytes_total: int = 0
    items_total: int = 0
    bytes_done: int = 0
    items_done: int = 0
    #: How long the step has taken; None before its end.
    seconds: float | None = None

    @property
    def total(self) -> int:
        return self.bytes_total + self.items_total * RECORD_WORK

    @property
    def done(self) -> int:
        done = self.bytes_done + self.items_done * RECORD_WORK
        return min(done, self.total)


@dataclass
class Progress:
    """Handed to an operation, which reports to it what there is to do and what is done.

    `emit` gets each event as a dict with a `type`. `stop` is asked at every chunk and returns
    the error with which the operation has to end, or None. `before` is what an earlier operation
    of its kind has measured; see `measured`.
    """

    steps: Sequence[str]
    emit: Callable[[Event], None]
    stop: Callable[[], BackupError | None]
    before: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    warnings: list[Notice] = field(default_factory=list)
    warning_count: int = 0

    def __post_init__(self) -> None:
        self._work = {name: _Work() for name in self.steps}
        self._current = ""
        self._percent = 0.0
        self._started = self._step_started = time.monotonic()
        self._next = self._next_check = 0.0
        self._held: IO[str] | None = None
        self._thread = get_ident()
        self._lock = Lock()
        #: Bytes that other threads have done, and nobody was told of yet.
        self._by_others = 0
        self._decided = False
        self._first_warnings = 0

    def expect(self, work: Mapping[str, tuple[int, int]]) -> None:
        """Say for each step how many bytes and items there are to do."""
        for name, (size, items) in work.items():
            self._work[name].bytes_total = size
            self._work[name].items_total = items

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Run one step: an event when it begins and one when it is done."""
        self.check()
        self._current = name
        self._step_started = time.monotonic()
        self._step_event("running")
        yield
        work = self._work[name]
        work.bytes_done, work.items_done = work.bytes_total, work.items_total
        work.seconds = round(time.monotonic() - self._step_started, 3)
        self._progress_event()
        self._step_event("done", seconds=work.seconds)

    def measured(self) -> dict[str, dict[str, float]]:
        """For each step that is done: its `seconds`, and the `bytes` and `items` of its work."""
        return {
            name: {"seconds": work.seconds, "bytes": work.bytes_total, "items": work.items_total}
            for name, work in self._work.items()
            if work.seconds is not None
        }

    def advance(self, size: int = 0, items: int = 0) -> None:
        """So many more bytes and items are done. Raises the error of `stop`, some fifty times a
        second: it is called for each small file and each record.

        Bytes that other threads than the operation's own have done are told by its next call, as
        whoever hears of them may need that thread's context.
        """
        if get_ident() != self._thread:
            with self._lock:
                self._by_others += size
            return
        if self._by_others:
            with self._lock:
                size, self._by_others = size + self._by_others, 0
        work = self._work[self._current]
        work.bytes_done += size
        work.items_done += items
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + _CHECK_INTERVAL
            self.check()
            if now >= self._next:
                self._progress_event()

    def check(self) -> None:
        """Raise the error of `stop`, until the decision."""
        if not self._decided and (error := self.stop()) is not None:
            raise error

    def decided(self) -> None:
        """The operation has happened: from here on it is finished, whatever comes."""
        self._decided = True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep events back, in a file where they are many: a receiver that writes to the
        database would wait for the transaction that waits for the receiver."""
        with SpooledTemporaryFile(_HELD, "w+", encoding="utf-8") as file:
            self._held = file
            try:
                yield
            finally:
                self._held = None
                file.seek(0)
                for line in file:
                    self.emit(json.loads(line))

    def log(self, message: str) -> None:
        self._send({"type": "log", "message": message})

    def warn(self, warning: Notice, *, first: bool = False) -> None:
        """Warn of something; `first` before all that is not. Raises ValueError for a notice that
        stands in plans only."""
        if warning.code not in WARNINGS:
            raise ValueError(f"an operation does not warn of {warning.code}")
        self.warning_count += 1
        if first:
            self.warnings.insert(self._first_warnings, warning)
            self._first_warnings += 1
        else:
            self.warnings.append(warning)
        del self.warnings[LISTED_WARNINGS:]
        self._send({"type": "warning", **warning.as_json()})

    def _send(self, event: Event) -> None:
        if self._held is None:
            self.emit(event)
        else:
            self._held.write(json.dumps(event) + "\n")

    def _step_event(self, state: str, **more: Any) -> None:
        index = list(self.steps).index(self._current) + 1
        self._send(
            {
                "type": "step",
                "step": self._current,
                "state": state,
                "index": index,
                "of": len(self.steps),
                **more,
            }
        )

    def _progress_event(self) -> None:
        now = time.monotonic()
        self._next = now + _INTERVAL
        total = sum(work.total for work in self._work.values())
        done = sum(work.done for work in self._work.values())
        if total:
            self._percent = max(self._percent, round(100 * done / total, 1))
        work = self._work[self._current]
        step_elapsed = now - self._step_started
        self._send(
            {
                "type": "progress",
                "step": self._current,
                "percent": self._percent,
                "bytes_done": work.bytes_done,
                "bytes_total": work.bytes_total,
                "items_done": work.items_done,
                "items_total": work.items_total,
                "bytes_per_second": round(work.bytes_done / step_elapsed) if step_elapsed else 0,
                "seconds_left": self._seconds_left(now, done),
            }
        )

    def _seconds_left(self, now: float, done: int) -> float | None:
        """By the speed of each step: as it runs, else as it was before, else the mean so far.
        None before anything is known."""
        mean = done / (now - self._started) if now > self._started else 0
        left = 0.0
        for name, work in self._work.items():
            if work.seconds is not None:
                continue
            running_for = now - self._step_started if name == self._current else 0.0
            before = self.before.get(name)
            if running_for >= _MEASURABLE and work.done:
                left += (work.total - work.done) * running_for / work.done
            elif before is not None:
                worked = before["bytes"] + before["items"] * RECORD_WORK
                if work.total and worked:
                    left += (work.total - work.done) * before["seconds"] / worked
                else:
                    left += max(0.0, before["seconds"] - running_for)
            elif mean:
                left += (work.total - work.done) / mean
            elif work.total:
                return None
        return round(left, 1)


class Within(Progress):
    """The progress of an operation that is one step of another: its own steps are lines of the
    log, its work is that of the step, and its decision is not that of the whole."""

    def __init__(self, outer: Progress, step: str, words: Mapping[str, str]) -> None:
        """`words` has each of its own steps in words."""
        super().__init__((), outer.emit, outer.stop, warnings=outer.warnings)
        self._words = words
        self._outer = outer
        self._step = step
        self._parts: dict[str, tuple[int, int]] = {}

    def expect(self, work: Mapping[str, tuple[int, int]]) -> None:
        self._parts.update(work)
        size = sum(size for size, _ in self._parts.values())
        self._outer.expect({self._step: (size, sum(items for _, items in self._parts.values()))})

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.check()
        self.log(f"Backup first: {self._words[name]}")
        yield

    def advance(self, size: int = 0, items: int = 0) -> None:
        self._outer.advance(size, items)

    def check(self) -> None:
        self._outer.check()

    def decided(self) -> None:
        """The whole may still be cancelled."""

    def log(self, message: str) -> None:
        self._outer.log(message)

    def warn(self, warning: Notice, *, first: bool = False) -> None:
        self._outer.warn(warning, first=first)
