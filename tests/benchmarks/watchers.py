"""What those feel who watch and go on working, of a server with two workers: and what is not felt
of them."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

from tests.benchmarks.browsers import Delivery, deliveries, watching
from tests.benchmarks.measuring import backups, percentile, seed
from tests.benchmarks.operations import RELEASES, SHAPES, Say
from tests.benchmarks.results import Result
from tests.benchmarks.served import WATCHERS_EACH
from tests.benchmarks.serving import WORKERS, Served, serving
from tests.support.instance import Instance
from tests.support.patience import wait_for
from tests.support.serving import PREFIX, Visitor

WATCHERS = WORKERS * WATCHERS_EACH
CREATE_LIMIT, DELAY_LIMIT, REQUEST_LIMIT = 1.1, 0.250, 2.0
#: Requests that tell how long one takes while nothing else goes on.
_IDLE_REQUESTS = 400
#: Seconds between two requests of the one who goes on working.
_PAUSE = 0.01
_PAGES = (
    "/",
    "/login",
    "/packages/auth_gate",
    "/packages/auth_gate/releases/1.0.0-rc.1",
)


def run(rounds: int, folder: Path, say: Say) -> Iterator[Result]:
    yield from _watched(rounds, folder / "watched", say)
    yield from _working(folder / "working", say)


# many watch


def _watched(rounds: int, folder: Path, say: Say) -> Iterator[Result]:
    """Creates with watchers and without, in turns after a warm-up; and when events come."""
    shape = SHAPES["10kb"]
    say(f"{shape.name}: seeding")
    seed(Instance(folder), packages=shape.packages, releases=RELEASES, size=shape.size)
    with serving(folder) as served:
        pairs, came = [], list[Delivery]()
        for number in range(rounds + 1):
            say(f"{WATCHERS} watchers: {f'round {number} of {rounds}' if number else 'warm-up'}")
            alone, _ = _create(served, 0)
            watched, delivered = _create(served, WATCHERS)
            if number:
                pairs.append((alone, watched))
                came += delivered
    alone, watched = (statistics.median(times) for times in zip(*pairs, strict=True))
    yield Result(
        f"create with {WATCHERS} watchers against none",
        shape.name,
        statistics.median(watched / alone for alone, watched in pairs),
        "x",
        CREATE_LIMIT,
        {"alone": alone, "watched": watched},
    )
    delays = [each.came - each.written for each in came]
    yield Result(
        f"from event to browser in the other worker, {WATCHERS} watchers, 99 of 100",
        shape.name,
        percentile(delays, 0.99),
        "s",
        DELAY_LIMIT,
        {"median": statistics.median(delays), "longest": max(delays), "events": len(delays)},
    )


def _create(served: Served, count: int) -> tuple[float, list[Delivery]]:
    """The seconds of a create, and what those of its watchers got who are not in its process."""
    for old in served.folder.glob("backups/*.tar"):
        old.unlink()
    os.sync()
    with served.held() as hold:
        operation = served.create()
        if not count:
            hold.unlink()
            return _seconds(served, operation), []
        path = f"{PREFIX}/operations/{operation}/live"
        with watching(served.address.port, path, served.cookie, count) as browsers:
            hold.unlink()
            seconds = _seconds(served, operation)
            found = deliveries(browsers)
    own, watched = served.processes(operation)
    return seconds, [each for each in found if watched[each.port] != own]


def _seconds(served: Served, operation: str) -> float:
    seconds: float = wait_for(lambda: served.result(operation))["duration_seconds"]
    return seconds


# somebody works


def _working(folder: Path, say: Say) -> Iterator[Result]:
    """The host's own pages while nothing goes on, and during each long operation."""
    shape = SHAPES["4kb"]
    source, target = folder / "source", folder / "target"
    say(f"{shape.name}: seeding")
    seed(Instance(source), packages=shape.packages, releases=RELEASES, size=shape.size)
    # A few of the packages, the same ones: there are pages to ask for before the restore.
    seed(Instance(target), packages=24, releases=RELEASES, size=shape.size)
    what = "the host's own pages while it {} against idle, 95 of 100"
    with serving(source) as served:
        say(f"{shape.name}: create")
        idle = _requests(served, _enough())
        operation = served.create()
        busy = _requests(served, lambda: served.result(operation) is not None)
        yield _slower(what.format("creates"), shape.name, idle, busy, REQUEST_LIMIT)
        (archive,) = (source / "backups").glob("*.tar")
        backup = archive.stem.removeprefix("hexhub-backup-")
        say(f"{shape.name}: rehearsal")
        idle = _requests(served, _enough())
        rehearsed = served.rehearse(backup)
        busy = _requests(served, lambda: served.result(rehearsed) is not None)
        yield _slower(what.format("rehearses"), shape.name, idle, busy, REQUEST_LIMIT)
    backups(Instance(target), "list")
    (target / "backups" / archive.name).hardlink_to(archive)
    with serving(target) as served:
        idle = _requests(served, _enough())
        say(f"{shape.name}: inspect")
        plan = served.inspect(backup)
        busy = _requests(served, lambda: served.result(plan) is not None)
        yield _slower(what.format("inspects"), shape.name, idle, busy, None)
        say(f"{shape.name}: restore")
        restored = served.restore(plan)
        busy = _requests(served, lambda: served.result(restored) is not None)
        yield _slower(what.format("restores"), shape.name, idle, busy, REQUEST_LIMIT)


def _enough() -> Callable[[], bool]:
    left = iter(range(_IDLE_REQUESTS - 1))
    return lambda: next(left, None) is None


def _requests(served: Served, ended: Callable[[], bool]) -> list[float]:
    """The seconds of one request after another, until something has ended."""
    found: list[float] = []
    for path in cycle(_PAGES):
        started = time.perf_counter()
        status, _, _ = served.address.request("GET", path, Visitor())
        found.append(time.perf_counter() - started)
        assert status == 200, path
        if ended():
            break
        time.sleep(_PAUSE)
    return found


def _slower(
    what: str, column: str, idle: list[float], busy: list[float], most: float | None
) -> Result:
    details = {
        "idle ms": 1000 * percentile(idle, 0.95),
        "busy ms": 1000 * percentile(busy, 0.95),
        "longest ms": 1000 * max(busy),
        "requests": len(busy),
    }
    ratio = percentile(busy, 0.95) / percentile(idle, 0.95)
    return Result(what, column, ratio, "x", most, details)
