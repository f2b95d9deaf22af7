"""Measures what hexhub_backup takes, and holds it to limits: `make bench`.

Prints tables in Markdown, and writes all figures to a file of JSON if asked to. Ends with 1 where a
limit is missed, and names it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import buckets, clustered, copies, growth, operations, pages, watchers
from tests.benchmarks.peers import Database, database, versions
from tests.benchmarks.results import Report, Result, machine, markdown

PARTS = ("operations", "growth", "watchers", "pages", "copies", "buckets", "cluster")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--part", choices=PARTS, nargs="*", default=PARTS)
    parser.add_argument("--shape", choices=operations.SHAPES, nargs="*",
                        default=list(operations.SHAPES),
                        help="registries of the operations")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="so many pairs, after a warm-up")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite",
                        help="which holds the registry")  # fmt: skip
    parser.add_argument("--at", type=Path, help="a directory on the disk to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where all figures go")
    return parser.parse_args()


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def run(part: str, chosen: argparse.Namespace, beside: Database, folder: Path) -> Iterator[Result]:
    if part == "operations":
        return operations.run(chosen.shape, chosen.rounds, beside, folder, say)
    if part == "watchers":
        return watchers.run(chosen.rounds, folder, say)
    if part == "pages":
        return pages.run(folder, say)
    if part == "buckets":
        return buckets.run(chosen.rounds, folder, say)
    if part == "cluster":
        return clustered.run(chosen.rounds, folder, say)
    if part == "copies":
        return copies.run(chosen.rounds, folder, say)
    return growth.run(chosen.rounds, beside, folder, say)


def main() -> None:
    chosen = parse()
    with database(chosen.database, chosen.at) as beside:
        about = {
            **machine(),
            "database": chosen.database,
            "rounds": chosen.rounds,
            "peers": versions(beside),
        }
        report = Report(about)
        print(", ".join(f"{name}: {value}" for name, value in about.items()), end="\n\n")
        for part in chosen.part:
            with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.at) as folder:
                found = []
                for result in run(part, chosen, beside, Path(folder)):
                    found.append(result)
                    say(f"{result.column}, {result.what}: {result.text}")
                report.results += found
            print(*markdown(found), sep="\n", end="\n\n", flush=True)
            if chosen.json is not None:
                report.write(chosen.json)
    for missed in report.missed:
        print(f"missed: {missed.column}, {missed.what}: {missed.text}")
    sys.exit(1 if report.missed else 0)


if __name__ == "__main__":
    main()
