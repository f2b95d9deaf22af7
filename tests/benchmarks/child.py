"""Runs a command, and says what it took: `python -IS child.py REPORT PROGRAM ARGUMENT …`.

A process begins with the memory of the one that starts it, which counts for its highest: so it is
started by this one, which is small. Imports nothing of ours.
"""

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    report, *command = sys.argv[1:]
    started = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    took = {"seconds": time.perf_counter() - started, "memory": usage.ru_maxrss / 1024}
    Path(report).write_text(json.dumps(took))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
