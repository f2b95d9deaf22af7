"""Runs a module as a machine would whose clock is wrong: `python -m tests.support.ahead SECONDS
MODULE …`. How long something takes is measured as ever."""

from __future__ import annotations

import runpy
import sys
from datetime import datetime, timedelta, timezone

import time_machine


def main() -> None:
    seconds, module, *arguments = sys.argv[1:]
    sys.argv[:] = [module, *arguments]
    # Never stopped: this process and those that it forks have no other clock.
    time_machine.travel(datetime.now(timezone.utc) + timedelta(seconds=int(seconds))).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
