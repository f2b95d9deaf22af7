"""A host that goes on writing while a restore decides: `python -m tests.benchmarks.writer URI`.

Writes a small row again and again, each time in a transaction of its own, until its standard input
ends. Prints the longest time in seconds that one took. The row is a cached package's: no backup has
it, and it lies in a table that a deciding restore keeps others from writing to.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from examples.host_app.models import Package
from tests.support.instance import ROOT, Instance

#: Seconds between two writes.
_PAUSE = 0.002


def write(uri: str, stopped: threading.Event) -> float:
    # It waits for as long as it takes: a host that gives up after five seconds is not kept waiting.
    options = {"connect_args": {"timeout": 600}} if uri.startswith("sqlite") else {}
    engine = sa.create_engine(uri, **options)
    name = f"written_since_{time.time_ns()}"
    with engine.begin() as connection:
        connection.execute(sa.insert(Package), {"name": name, "source": "cached"})
    print("ready", flush=True)
    longest = 0.0
    while not stopped.wait(_PAUSE):
        started = time.perf_counter()
        with engine.begin() as connection:
            connection.execute(
                sa.update(Package)
                .where(Package.name == name)
                .values(downloads=Package.downloads + 1)
            )
        longest = max(longest, time.perf_counter() - started)
    engine.dispose()
    return longest


@contextmanager
def writing(instance: Instance) -> Iterator[Callable[[], float]]:
    """Let a host write to an instance. Gives a function that stops it, and says how long it was
    kept waiting at most."""
    uri = instance.uri or f"sqlite:///{instance.path / 'host_app.sqlite3'}"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.writer", uri],
        cwd=ROOT,
        env=instance.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield lambda: float(process.communicate()[0])
    finally:
        process.kill()
        process.wait()


def main() -> None:
    stopped = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        stopped.set()

    threading.Thread(target=wait, daemon=True).start()
    print(write(sys.argv[1], stopped))


if __name__ == "__main__":
    main()
