"""Whether ten times as many releases take ten times as long, and no longer."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.operations import RELEASES, Bench, Say, Shape
from tests.benchmarks.peers import Database
from tests.benchmarks.results import Result

FEW, MANY = 20_000, 200_000
LIMIT = 1.15
_COLUMN = f"{MANY:,} x 4 KB"
#: What a restore is held against elsewhere.
_PEER = "(b)"


def run(rounds: int, database: Database, folder: Path, say: Say) -> Iterator[Result]:
    """Create and restore of both in turns; the inspection before a restore and the peer (b), on the
    same disk, are told only."""
    benches = {}
    for count in (FEW, MANY):
        place = folder / str(count)
        place.mkdir()
        shape = Shape(f"{count:,} x 4 KB", count // RELEASES, 4_000, (), None)
        benches[count] = Bench(shape, database, place)
        say(f"{shape.name}: seeding")
        benches[count].prepare()
    measured: list[dict[str, tuple[float, float]]] = []
    for number in range(rounds):
        say(f"growth: round {number + 1} of {rounds}")
        few, many = (_each(benches[count], count) for count in (FEW, MANY))
        measured.append({what: (few[what], many[what]) for what in few})
    for what, most in (("create", LIMIT), ("restore", LIMIT), ("inspect", None), (_PEER, None)):
        pairs = [one[what] for one in measured]
        ratio = statistics.median(many / few for few, many in pairs)
        details = {
            f"ms a release of {count:,}": 1000 * statistics.median(pair[at] for pair in pairs)
            for at, count in enumerate((FEW, MANY))
        }
        words = f"{what}: time per release against {FEW:,}"
        yield Result(words, _COLUMN, ratio, "x", most, details)
    shutil.rmtree(folder)


def _each(bench: Bench, count: int) -> dict[str, float]:
    """The seconds that each release takes."""
    bench.peer_create()
    unpacked = bench.peer_restore()
    created = bench.create()
    restored, both, _ = bench.restore(bench.target())
    seconds = {
        "create": created.operation,
        "restore": restored.operation,
        "inspect": both.operation - restored.operation,
        _PEER: unpacked.seconds,
    }
    return {what: each / count for what, each in seconds.items()}
