"""`make torture`: a restore, killed and failed at every system call that changes something."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from tests.instance import ROOT
from tests.postgres import server
from tests.torture import restore
from tests.torture.kill_every_syscall import every


def main() -> None:
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--most", type=int, default=100_000, help="at most so many points a mode")
    parser.add_argument("--modes", nargs="*", default=["kill", "ENOSPC", "EIO", restore.CUT])
    parser.add_argument("--postgresql", action="store_true", help="with the registry in it")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    failed = False
    with (
        tempfile.TemporaryDirectory(prefix="torture-") as folder,
        server() if arguments.postgresql else nullcontext() as running,
    ):
        torture = restore.torture(Path(folder), running)
        points = torture.points()
        for mode in arguments.modes:
            started = time.monotonic()
            wanted = [point for point in points if restore.makes_sense(point, mode)]
            report = torture.run(list(every(wanted, arguments.most)), mode)
            print(
                f"restore {mode:<10} {report.points:5} of {len(wanted)} points, "
                f"{report.hit:5} hit, "
                f"{len(report.failures):3} failures, {time.monotonic() - started:.0f} s",
                flush=True,
            )
            for failure in report.failures:
                print("  ", failure)
            failed |= bool(report.failures)
    sys.exit(failed)


if __name__ == "__main__":
    main()
