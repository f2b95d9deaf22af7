"""What those feel who watch a cluster: a worker does what one web process was asked for, and many
browsers watch it by both."""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from examples.host_app import create_app
from examples.host_app.seed import ADMIN
from tests.benchmarks.browsers import Delivery, deliveries, watching
from tests.benchmarks.measuring import percentile
from tests.benchmarks.operations import Say
from tests.benchmarks.results import Result
from tests.support.cluster import WEB, WORKERS, Cluster, cluster
from tests.support.cluster_client import create_at
from tests.support.serving import PREFIX, Visitor, visitor

WATCHERS_EACH = 100
#: Seconds.
DELAY_LIMIT = 0.4
#: A web process lets half of its threads watch, and has some for pages.
_THREADS = 2 * WATCHERS_EACH + 28


def run(rounds: int, folder: Path, say: Say) -> Iterator[Result]:
    settings = {"FLASK_HEXHUB_BACKUP_MAX_WATCHERS": str(WATCHERS_EACH)}
    say("starting a cluster")
    # The host in this process reads the keys of the bucket whenever it looks at it.
    with (
        cluster(threads=_THREADS, settings=settings) as found,
        patch.dict(os.environ, found.environment),
    ):
        app = create_app(folder / "host", {"HEXHUB_BACKUP_TICK_THREAD": False})
        admin = visitor(app, ADMIN)
        came: list[Delivery] = []
        for number in range(rounds + 1):
            say(f"cluster: {f'round {number} of {rounds}' if number else 'warm-up'}")
            delivered = _watched(found, admin)
            if number:
                came += delivered
    delays = [each.came - each.written for each in came]
    yield Result(
        f"from event to browser, {WATCHERS_EACH} watchers of each of {len(WEB)} web processes, "
        "99 of 100",
        "cluster",
        percentile(delays, 0.99),
        "s",
        DELAY_LIMIT,
        {"median": statistics.median(delays), "longest": max(delays), "events": len(delays)},
    )


def _watched(found: Cluster, admin: Visitor) -> list[Delivery]:
    """What the watchers of a create get, who are all there when it begins."""
    with ExitStack() as stack:
        with _held(found):
            operation = create_at(found.addresses[WEB[0]], admin)
            path = f"{PREFIX}/operations/{operation}/live"
            cookie = admin.headers["Cookie"]
            watchers = [
                stack.enter_context(watching(address.port, path, cookie, WATCHERS_EACH))
                for address in map(found.addresses.__getitem__, WEB)
            ]
        return [each for browsers in watchers for each in deliveries(browsers)]


@contextmanager
def _held(found: Cluster) -> Iterator[None]:
    """No worker takes an order meanwhile."""
    groups = [found.processes[name].pid for name in WORKERS]
    for group in groups:
        os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        for group in groups:
            os.killpg(group, signal.SIGCONT)
