"""`make torture`: every scenario, killed and failed at every system call that changes something.

Each row is added to a table as soon as it is complete, and what the table has of this commit is not
done again: a run that was stopped goes on when it is started once more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from tests.support import mariadb, stored
from tests.support.databases import SERVERS
from tests.support.postgres import server
from tests.torture.clustered import torture_clustered
from tests.torture.harness import points, torture, victims
from tests.torture.points import MODES, TALK, every, makes_sense
from tests.torture.scenarios import SCENARIOS, Bench, prepare
from tests.torture.served import FAULT, SCENARIO, torture_served
from tests.torture.table import EVIDENCE, Row, Table, commit


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--most", type=int, default=100_000, help="so many points of each row")
    parser.add_argument("--modes", nargs="*", default=MODES)
    parser.add_argument("--scenarios", nargs="*", default=list(SCENARIOS))
    parser.add_argument("--database", choices=["sqlite", *SERVERS], default="sqlite",
                        help="which holds the registry")  # fmt: skip
    parser.add_argument("--bucket", action="store_true",
                        help="its files and backups are in one")  # fmt: skip
    parser.add_argument("--without-talk", action="store_true",
                        help="not at what servers are told and say")  # fmt: skip
    parser.add_argument("--gunicorn", type=int, nargs="?", const=100, default=0, metavar="KILLS",
                        help="kill workers of gunicorn instead")  # fmt: skip
    parser.add_argument("--cluster", type=int, nargs="?", const=20, default=0, metavar="KILLS",
                        help="kill what a cluster is made of instead")  # fmt: skip
    parser.add_argument("--into", type=Path, default=EVIDENCE, help="the file of the table")
    parsed = parser.parse_args(arguments)
    if parsed.bucket and parsed.database != "postgresql":
        parser.error("--bucket needs --database postgresql")
    return parsed


def rows(asked: argparse.Namespace, table: Table) -> Iterator[Row]:
    """The rows that are asked for and not in the table, each when it is complete."""
    if asked.gunicorn:
        if not table.has(SCENARIO, FAULT, asked.gunicorn):
            with server() as running:
                yield torture_served(asked.gunicorn, running)
        return
    if asked.cluster:
        for row, slowest in torture_clustered(asked.cluster, table.has):
            print(f"{row.scenario}, {row.fault}: final after {slowest:.1f} s at most", flush=True)
            yield row
        return
    servers: dict[str, Callable[[], Any]] = {
        "sqlite": nullcontext,
        "postgresql": server,
        "mariadb": mariadb.server,
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torture-base-")))
        running = stack.enter_context(servers[asked.database]())
        buckets = None
        if asked.bucket:
            (folder / "buckets").mkdir()
            buckets = stack.enter_context(stored.buckets(folder / "buckets"))
        # They have the keys of the buckets.
        hands = stack.enter_context(victims())
        bench = Bench(folder, running, buckets)
        for name in asked.scenarios:
            modes = [mode for mode in asked.modes if not table.has(name, mode, asked.most)]
            if not modes:
                continue
            prepared = prepare(name, bench)
            found = points(prepared, hands)
            if asked.without_talk:
                found = [point for point in found if point.call not in TALK]
            for mode in modes:
                wanted = [point for point in found if makes_sense(point, mode)]
                if wanted:
                    chosen = every(wanted, asked.most)
                    yield torture(prepared, chosen, mode, len(wanted), hands)


def run(asked: argparse.Namespace, commit: str) -> int:
    """Do what is asked for; returns how many failures there were."""
    started = time.monotonic()
    failed = total = 0
    database = "postgresql" if asked.gunicorn or asked.cluster else asked.database
    # With less to try a row is another one.
    options = (", bucket" if asked.bucket else "") + (
        ", without talk" if asked.without_talk else ""
    )
    table = Table(asked.into, commit, database + options)
    for row in rows(asked, table):
        table.add(row)
        print(row, flush=True)
        for failure in row.failures:
            print("  ", failure, flush=True)
        failed += len(row.failures)
        total += row.points
    print(f"{total} points, {failed} failures, {time.monotonic() - started:.0f} s")
    return failed


def main() -> None:
    sys.exit(bool(run(parse(), commit())))


if __name__ == "__main__":
    main()
