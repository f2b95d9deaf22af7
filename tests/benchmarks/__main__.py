"""Create and restore beside what an admin would run instead: GNU tar and sha256sum.

Both work on the same files in the same run, in turns; times are medians. The limit is held against
the operation, as it says itself how long it took: it runs in a host that is up already, and the
peer has no start-up to speak of. The whole command, with the start of Python and of the host in
it (and of a restore the inspection before it), is printed beside it. Memory is the highest of
ours above that of `backups list`, which loads the same host and does nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.instance import FLASK, ROOT, Instance

SHAPES = {"1,000 x 1 MB": (200, 5, 1_000_000), "10,000 x 10 KB": (2000, 5, 10_000)}
# A create takes a second or two, on a machine whose others come and go: more of them.
ROUNDS = {"create": 15, "restore": 5}
CREATE_LIMIT, MEMORY_LIMIT_MIB = 1.5, 64


class Measured(NamedTuple):
    """One command: its seconds, those of the operation in it (of a peer: the same), and MiB."""

    seconds: float
    operation: float
    memory: float


def measured(command: list[str] | str, **options: object) -> tuple[Measured, bytes]:
    """What a command that has to succeed took, and what it printed."""
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as said:
        # What the one before left to be written would be waited for by the first that syncs.
        os.sync()
        started = time.perf_counter()
        process = subprocess.Popen(  # type: ignore[call-overload]
            command, shell=isinstance(command, str), stdout=printed, stderr=said, **options
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        said.seek(0)
        if process.returncode:
            sys.exit(f"{command} ended with {process.returncode}:\n{said.read().decode()}")
        return Measured(seconds, seconds, usage.ru_maxrss / 1024), printed.read()


def peer_of(command: str) -> Measured:
    return measured(command)[0]


def flask(instance: Instance, *arguments: str) -> tuple[Measured, bytes]:
    command = [*FLASK, "backups", *arguments, "--json"]
    return measured(command, cwd=ROOT, env=instance.environment)


def operation(instance: Instance, *arguments: str) -> Measured:
    found, printed = flask(instance, *arguments)
    return found._replace(operation=json.loads(printed)["duration_seconds"])


def in_turns(
    rounds: int, ours: Callable[[int], Measured], peer: Callable[[int], Measured]
) -> list[Measured]:
    """The medians of ours and of the peer, but of memory the highest."""
    pairs = [(ours(number), peer(number)) for number in range(rounds)]
    return [
        Measured(
            statistics.median(each.seconds for each in runs),
            statistics.median(each.operation for each in runs),
            max(each.memory for each in runs),
        )
        for runs in zip(*pairs, strict=True)
    ]


def run(shape: str, folder: Path) -> bool:
    packages, releases, size = SHAPES[shape]
    instance = Instance(folder / "host")
    instance.seed(users=20, packages=packages, releases=releases, file_size=size)
    storage, tar = instance.storage, folder / "peer.tar"
    idle = flask(instance, "list")[0].memory

    def peer_create(_: int) -> Measured:
        tar.unlink(missing_ok=True)
        hashes = f"find . -type f -print0 | xargs -0 sha256sum > {folder}/sums"
        return peer_of(f"cd {storage} && {hashes} && tar -cf {tar} .")

    def create(_: int) -> Measured:
        for backup in instance.directory.glob("*.tar"):
            backup.unlink()
        return operation(instance, "create")

    def target(number: int) -> Instance:
        found = Instance(folder / f"restored-{number}")
        flask(found, "list")
        return found

    targets = [target(number) for number in range(ROUNDS["restore"])]

    def restore(number: int) -> Measured:
        (archive,) = instance.directory.glob("*.tar")
        options = (str(archive), "--yes", "--strategy", "overwrite")
        return operation(targets[number], "restore", *options)

    def peer_restore(number: int) -> Measured:
        place = folder / f"unpacked-{number}"
        place.mkdir()
        return peer_of(f"cd {place} && tar -xf {tar} && sha256sum --quiet -c {folder}/sums")

    good = True
    for verb, ours, peer in (
        ("create", create, peer_create),
        ("restore", restore, peer_restore),
    ):
        mine, other = in_turns(ROUNDS[verb], ours, peer)
        ratio, memory = mine.operation / other.seconds, mine.memory - idle
        print(
            f"{shape:<15} {verb:<8} peer {other.seconds:6.2f} s"
            f"  operation {mine.operation:6.2f} s  ratio {ratio:5.2f}"
            f"  command {mine.seconds:6.2f} s  ratio {mine.seconds / other.seconds:5.2f}"
            f"  memory {memory:+6.1f} MiB above {idle:.0f}",
            flush=True,
        )
        good &= memory <= MEMORY_LIMIT_MIB and (verb != "create" or ratio <= CREATE_LIMIT)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--at", type=Path, help="a directory on the disk to measure")
    place = parser.parse_args().at
    good = True
    for shape in SHAPES:
        folder = Path(tempfile.mkdtemp(prefix="bench-", dir=place))
        try:
            good &= run(shape, folder)
        finally:
            shutil.rmtree(folder)
    print(
        f"limits: the operation of create {CREATE_LIMIT} x the peer, "
        f"{MEMORY_LIMIT_MIB} MiB above the idle host"
    )
    sys.exit(not good)


if __name__ == "__main__":
    main()
