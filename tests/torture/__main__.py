"""`make torture`: every scenario, killed and failed at every system call that changes something."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from tests.postgres import server
from tests.torture.harness import Row, points, torture, victims
from tests.torture.points import MODES, every, makes_sense
from tests.torture.scenarios import SCENARIOS, Bench, prepare
from tests.torture.served import torture_served


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--most", type=int, default=100_000, help="so many points of each row")
    parser.add_argument("--modes", nargs="*", default=MODES)
    parser.add_argument("--scenarios", nargs="*", default=list(SCENARIOS))
    parser.add_argument("--postgresql", action="store_true", help="with the registry in it")
    parser.add_argument("--gunicorn", type=int, nargs="?", const=100, default=0, metavar="KILLS",
                        help="kill workers of gunicorn instead")  # fmt: skip
    arguments = parser.parse_args()
    started = time.monotonic()
    failed = total = 0
    if arguments.gunicorn:
        sys.exit(bool(torture_served(arguments.gunicorn)))
    print(Row.HEAD, flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="torture-base-") as folder,
        server() if arguments.postgresql else nullcontext() as running,
        victims() as hands,
    ):
        bench = Bench(Path(folder), running)
        for name in arguments.scenarios:
            prepared = prepare(name, bench)
            found = points(prepared, hands)
            for mode in arguments.modes:
                wanted = [point for point in found if makes_sense(point, mode)]
                if not wanted:
                    continue
                row = torture(prepared, every(wanted, arguments.most), mode, len(wanted), hands)
                print(row, flush=True)
                for failure in row.failures:
                    print("  ", failure, flush=True)
                failed += len(row.failures)
                total += row.points
    print(f"{total} points, {failed} failures, {time.monotonic() - started:.0f} s")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
