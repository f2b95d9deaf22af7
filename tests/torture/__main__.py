"""`make torture`: a restore, killed and failed at every system call that changes something."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.instance import ROOT
from tests.torture import restore
from tests.torture.kill_every_syscall import every


def main() -> None:
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--most", type=int, default=100_000, help="at most so many points a mode")
    parser.add_argument("--modes", nargs="*", default=["kill", "ENOSPC", "EIO"])
    arguments = parser.parse_args()
    os.chdir(ROOT)
    failed = False
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        torture = restore.torture(Path(folder))
        points = torture.points()
        for mode in arguments.modes:
            started = time.monotonic()
            report = torture.run(list(every(points, arguments.most)), mode)
            print(
                f"restore {mode:<7} {report.points:5} of {len(points)} points, {report.hit:5} hit, "
                f"{len(report.failures):3} failures, {time.monotonic() - started:.0f} s",
                flush=True,
            )
            for failure in report.failures:
                print("  ", failure)
            failed |= bool(report.failures)
    sys.exit(failed)


if __name__ == "__main__":
    main()
