"""Every operation beside what an admin would run instead, on registries of three shapes.

Both work on the same files on the same disk in the same run, in turns. What is held to a limit is
the median of the ratios of all pairs. The limit is held against the operation, as it says itself
how long it took: it runs in a host that is up already, and the peer has no start-up to speak of.
The whole command, with the start of Python and of the host in it (and of a restore the inspection
before it), is told beside it. Memory is the highest of ours above that of `backups list`, which
loads the same host and does nothing.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measuring import HOST, Measured, backups, median, peer, seed
from tests.benchmarks.peers import Database, Peers
from tests.benchmarks.results import Result
from tests.benchmarks.writer import writing
from tests.support.instance import APP, Instance

RELEASES = 5
MEMORY_LIMIT, MEMORY_GROWTH_LIMIT = 64, 16
#: Of a rehearsal to a restore of the same archive, with its inspection.
REHEARSAL_LIMIT = 2.0
#: Of a create that looks into each package file to one that does not.
CHECKED_LIMIT = 1.25

Round = dict[str, Measured]
#: Told what goes on.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Shape:
    """So many `packages` of five releases, with files of `size` bytes; and the limits: of each
    operation to its peer in the order of `PAIRS`, and of how many seconds others may wait."""

    name: str
    packages: int
    size: int
    limits: tuple[float, ...]
    waiting: float | None


SHAPES = {
    "1mb": Shape("1,000 x 1 MB", 200, 1_000_000, (0.5, 1.0, 1.2, 0.7, 0.7, 0.3), None),
    "10kb": Shape("10,000 x 10 KB", 2_000, 10_000, (1.2, 2.0, 3.0, 1.5, 1.5, 1.0), 0.5),
    "4kb": Shape("100,000 x 4 KB", 20_000, 4_000, (1.2, 3.0, 5.0, 2.0, 2.0, 1.5), 3.0),
}
#: What is measured, its name in the table, and its peer.
PAIRS = {
    "create": ("create", "a"),
    "verify": ("verify", "c"),
    "inspect": ("inspect into an empty registry", "c"),
    "restore": ("restore alone into an empty registry", "b"),
    "unchanged": ("inspect and restore what is there and unchanged", "b"),
    "undo": ("undo of the restore", "b"),
}
#: Of ours to another of ours: its name in the table, both, and the limit.
OURS = (
    ("create with check_release / without", "checked", "create", CHECKED_LIMIT),
    ("rehearsal / restore with its inspection", "rehearse", "whole", REHEARSAL_LIMIT),
)
PEERS = {
    "a": "tar, sha256sum of the files, dump of the database",
    "b": "tar -x, sha256sum -c, load of the dump",
    "c": "sha256sum of the archive",
}


class Bench:
    """A registry of one shape, and the rounds over it."""

    def __init__(self, shape: Shape, database: Database, folder: Path) -> None:
        self.shape, self._database, self._folder = shape, database, folder
        self._numbers = itertools.count()
        self._source = Instance(folder / "host", database.new())
        self._peers = Peers(database, self._source, folder)

    def prepare(self) -> Measured:
        return seed(
            self._source, packages=self.shape.packages, releases=RELEASES, size=self.shape.size
        )

    def idle(self) -> float:
        """The memory of the host that does nothing."""
        return statistics.median(backups(self._source, "list")[0].memory for _ in range(3))

    @property
    def _archive(self) -> Path:
        (archive,) = self._source.depot.glob("*.tar")
        return archive

    def create(self, app: str = HOST) -> Measured:
        for old in self._source.depot.glob("*.tar"):
            old.unlink()
        return backups(self._source, "create", app=app)[0]

    def target(self) -> Instance:
        """An empty registry, with its tables."""
        found = Instance(self._new("target"), self._database.new())
        backups(found, "list")
        return found

    def _new(self, name: str) -> Path:
        """A place that stays to the end: for a minute ext4 does not give away the inodes of what
        was removed, and passes over each of them to find one for a new file."""
        return self._folder / f"{name}-{next(self._numbers)}"

    def restore(self, target: Instance) -> tuple[Measured, Measured, str]:
        """A restore alone, the command of it, whose operation is both the inspection and the
        restore, and its id."""
        options = (str(self._archive), "--yes", "--strategy", "overwrite")
        found, document = backups(target, "restore", *options)
        seconds = {each["id"]: each for each in backups(target, "operations")[1]}
        inspected = seconds[document["plan"]["id"]]["duration_seconds"]
        return found, found._replace(operation=found.operation + inspected), document["id"]

    def undo(self, target: Instance, restored: str) -> Measured:
        return backups(target, "undo", restored, "--yes")[0]

    def peer_create(self) -> Measured:
        return peer(self._peers.create())

    def peer_restore(self) -> Measured:
        """Of what `peer_create` has made last."""
        place = self._new("unpacked")
        place.mkdir()
        return peer(self._peers.restore(place))

    def round(self) -> tuple[Round, Instance, str]:
        """Everything once that removes nothing, ours beside the peer's; and what `undo` takes."""
        found = {"a": self.peer_create(), "checked": self.create(APP)}
        found["create"] = self.create()
        found["c"] = peer(self._peers.check(self._archive))
        found["verify"] = backups(self._source, "verify", str(self._archive))[0]
        target = self.target()
        found["inspect"] = backups(target, "inspect", str(self._archive))[0]
        found["b"] = self.peer_restore()
        found["restore"], _, restored = self.restore(target)
        _, found["unchanged"], _ = self.restore(target)
        return found, target, restored

    def rehearsal(self) -> Round:
        """A rehearsal with all that the example checks, each package file unpacked; and a restore
        beside it, as each comes after the removal of what was rehearsed last."""
        found = {"whole": self.restore(self.target())[1]}
        found["rehearse"] = backups(self._source, "rehearse", str(self._archive), app=APP)[0]
        return found

    def waiting(self) -> dict[str, float]:
        """For how long another writer was kept waiting at most, by each operation that decides."""
        target, found = self.target(), {}
        with writing(target) as stop:
            _, _, restored = self.restore(target)
            found["restore"] = stop()
        with writing(target) as stop:
            self.restore(target)
            found["restore of what is unchanged"] = stop()
        with writing(target) as stop:
            self.undo(target, restored)
            found["undo"] = stop()
        return found


def run(
    shapes: list[str], rounds: int, database: Database, folder: Path, say: Say
) -> Iterator[Result]:
    """The rounds of each shape after a warm-up, and how long others wait. Yields the results."""
    before: dict[str, float] | None = None
    for key in shapes:
        shape, place = SHAPES[key], folder / key
        place.mkdir()
        bench = Bench(shape, database, place)
        say(f"{shape.name}: seeding")
        seeded = bench.prepare()
        say(f"{shape.name}: seeded in {seeded.seconds:.1f} s, {seeded.memory:.0f} MiB")
        idle = bench.idle()
        told = [
            f"round {number} of {rounds}" if number else "warm-up" for number in range(rounds + 1)
        ]
        found = []
        for words in told:
            say(f"{shape.name}: {words}")
            found.append(bench.round())
        measured = [of_round for of_round, _, _ in found]
        # What removes files comes last: see `Bench._new`.
        for words, (of_round, target, restored) in zip(told, found, strict=True):
            say(f"{shape.name}: {words} of undos")
            of_round["undo"] = bench.undo(target, restored)
        for words, of_round in zip(told, measured, strict=True):
            say(f"{shape.name}: {words} of rehearsals")
            of_round.update(bench.rehearsal())
        yield from _ratios(shape, measured[1:])
        for each in OURS:
            yield _of_ours(shape, measured[1:], *each)
        if shape.waiting is not None:
            say(f"{shape.name}: how long others wait")
            waited = bench.waiting()
            what = "others wait while it decides"
            yield Result(what, shape.name, max(waited.values()), "s", shape.waiting, waited)
        memory = {
            each: max(one[each].memory for one in measured) - idle
            for each in (*PAIRS, "checked", "rehearse")
        }
        yield from _memory(shape, memory, idle, before if key == "4kb" else None)
        before = memory if key == "10kb" else None
        shutil.rmtree(place)


def _ratios(shape: Shape, measured: list[Round]) -> Iterator[Result]:
    for (what, (words, beside)), most in zip(PAIRS.items(), shape.limits, strict=True):
        ratio = statistics.median(one[what].operation / one[beside].seconds for one in measured)
        ours = median(one[what] for one in measured)
        details = {
            "operation": ours.operation,
            "command": ours.seconds,
            f"({beside})": median(one[beside] for one in measured).seconds,
        }
        yield Result(f"{words} / ({beside})", shape.name, ratio, "x", most, details)


def _of_ours(
    shape: Shape, measured: list[Round], what: str, one: str, other: str, most: float
) -> Result:
    """One of ours to another."""
    ratio = statistics.median(each[one].operation / each[other].operation for each in measured)
    details = {name: median(each[name] for each in measured).operation for name in (one, other)}
    return Result(what, shape.name, ratio, "x", most, details)


def _memory(
    shape: Shape, memory: dict[str, float], idle: float, before: dict[str, float] | None
) -> Iterator[Result]:
    what = "memory above the idle host, every operation"
    details = {**memory, "idle": idle}
    yield Result(what, shape.name, max(memory.values()), "MiB", MEMORY_LIMIT, details)
    if before is not None:
        grown = {each: memory[each] - before[each] for each in memory}
        what = "and more than at 10,000"
        yield Result(what, shape.name, max(grown.values()), "MiB", MEMORY_GROWTH_LIMIT, grown)
