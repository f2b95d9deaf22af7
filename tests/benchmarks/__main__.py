"""Create and restore beside what an admin would run instead: GNU tar and sha256sum.

Both work on the same files in the same run, in turns. Times are medians of whole commands, so
that ours has the start of Python and of the host in it; memory is the highest of ours above that
of `backups list`, which loads the same host and does nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.instance import FLASK, ROOT, Instance

SHAPES = {"1,000 x 1 MB": (200, 5, 1_000_000), "10,000 x 10 KB": (2000, 5, 10_000)}
ROUNDS = 5
CREATE_LIMIT, MEMORY_LIMIT_MIB = 1.5, 64


def measured(command: list[str] | str, **options: object) -> tuple[float, float]:
    """Seconds and MiB of a command that has to succeed."""
    started = time.perf_counter()
    process = subprocess.Popen(  # type: ignore[call-overload]
        command, shell=isinstance(command, str), stdout=subprocess.DEVNULL, **options
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def flask(instance: Instance, *arguments: str) -> tuple[float, float]:
    return measured([*FLASK, "backups", *arguments, "--json"], cwd=ROOT, env=instance.environment)


def in_turns(
    ours: Callable[[int], tuple[float, float]], peer: Callable[[int], tuple[float, float]]
) -> tuple[float, float, float]:
    """Median seconds of ours and of the peer, and our highest memory."""
    pairs = [(ours(number), peer(number)) for number in range(ROUNDS)]
    return (
        statistics.median(mine[0] for mine, _ in pairs),
        statistics.median(other[0] for _, other in pairs),
        max(mine[1] for mine, _ in pairs),
    )


def run(shape: str, folder: Path) -> bool:
    packages, releases, size = SHAPES[shape]
    instance = Instance(folder / "host")
    instance.seed(users=20, packages=packages, releases=releases, file_size=size)
    storage, tar = instance.storage, folder / "peer.tar"
    _, idle = flask(instance, "list")

    def peer_create(_: int) -> tuple[float, float]:
        tar.unlink(missing_ok=True)
        hashes = f"find . -type f -print0 | xargs -0 sha256sum > {folder}/sums"
        return measured(f"cd {storage} && {hashes} && tar -cf {tar} .")

    def create(_: int) -> tuple[float, float]:
        for backup in instance.directory.glob("*.tar"):
            backup.unlink()
        return flask(instance, "create")

    def target(number: int) -> Instance:
        found = Instance(folder / f"restored-{number}")
        flask(found, "list")
        return found

    targets = [target(number) for number in range(ROUNDS)]

    def restore(number: int) -> tuple[float, float]:
        (archive,) = instance.directory.glob("*.tar")
        return flask(targets[number], "restore", str(archive), "--yes", "--strategy", "overwrite")

    def peer_restore(number: int) -> tuple[float, float]:
        place = folder / f"unpacked-{number}"
        place.mkdir()
        return measured(f"cd {place} && tar -xf {tar} && sha256sum --quiet -c {folder}/sums")

    good = True
    for verb, ours, peer in (
        ("create", create, peer_create),
        ("restore", restore, peer_restore),
    ):
        mine, other, peak = in_turns(ours, peer)
        ratio, memory = mine / other, peak - idle
        print(
            f"{shape:<15} {verb:<8} {mine:7.2f} s  peer {other:7.2f} s  ratio {ratio:5.2f}"
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
    print(f"limits: create {CREATE_LIMIT} x the peer, {MEMORY_LIMIT_MIB} MiB above the idle host")
    sys.exit(not good)


if __name__ == "__main__":
    main()
