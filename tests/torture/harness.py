"""Runs points of scenarios in victims, one for each core, and tells what came of it."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.instance import ROOT
from tests.torture.points import CHANGING, KILL, TALK, Point, points_of
from tests.torture.scenarios import Prepared, at
from tests.torture.table import Row
from tests.torture.victim import Result, Task

#: How many events there are to write hangs on the clock: where a run does not come to a use of a
#: call, so many earlier ones are tried.
_EARLIER = 10


class Victims:
    """Processes that take tasks; `root` is where they take the package from."""

    def __init__(self, count: int, root: Path = ROOT) -> None:
        self._free: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
        self._all = []
        self.count = count
        for _ in range(count):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.torture.victim"],
                cwd=root,
                env={**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._all.append(process)
            self._free.put(process)

    def close(self) -> None:
        for process in self._all:
            process.communicate()

    def run(self, task: Task) -> Result:
        process = self._free.get()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            print(json.dumps(dataclasses.asdict(task)), file=process.stdin, flush=True)
            return Result(**json.loads(process.stdout.readline()))
        finally:
            self._free.put(process)


@contextmanager
def victims(root: Path = ROOT, count: int | None = None) -> Iterator[Victims]:
    found = Victims(count or len(os.sched_getaffinity(0)), root)
    try:
        yield found
    finally:
        found.close()


def undisturbed(prepared: Prepared, hands: Victims) -> str:
    """What the command does, undisturbed. Raises RuntimeError where it goes wrong by itself."""
    task = prepared.task
    traced = [*CHANGING, *(TALK if task.server else ())]
    result = hands.run(at(task, traced=traced))
    if result.problems or result.state == "neither":
        raise RuntimeError(
            f"{prepared.name} fails undisturbed, and leaves {result.state}: {result.problems}"
        )
    return result.trace


def points(prepared: Prepared, hands: Victims) -> list[Point]:
    return points_of(undisturbed(prepared, hands))


def torture(prepared: Prepared, wanted: Iterable[Point], mode: str, of: int, hands: Victims) -> Row:
    """Hit a scenario at these points."""
    started = time.monotonic()
    row = Row(prepared.name, mode, of)
    todo: queue.SimpleQueue[Point | None] = queue.SimpleQueue()
    for point in wanted:
        todo.put(point)
    for _ in range(hands.count):
        todo.put(None)
    broken: list[BaseException] = []

    def work() -> None:
        try:
            while (point := todo.get()) is not None:
                _count(row, point, _hit(prepared.task, point, mode, hands))
        except BaseException as error:
            broken.append(error)

    threads = [threading.Thread(target=work) for _ in range(hands.count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if broken:
        raise broken[0]
    row.seconds = time.monotonic() - started
    return row


def _hit(task: Task, point: Point, mode: str, hands: Victims) -> Result:
    for number in range(point.number, max(point.number - _EARLIER, 0), -1):
        result = hands.run(at(task, call=point.call, number=number, mode=mode))
        if result.hit or result.problems:
            break
    return result


def _count(row: Row, point: Point, result: Result) -> None:
    row.points += 1
    row.hit += result.hit
    row.before += result.state == "before"
    row.after += result.state == "after"
    problems = list(result.problems)
    if not result.hit and row.fault == KILL:
        problems.append("it never hit the command")
    if problems:
        row.failures.append(f"{point}: {'; '.join(problems)}")
