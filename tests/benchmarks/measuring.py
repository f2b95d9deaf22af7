"""What a command takes: its time, and the highest memory of its process."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.instance import FLASK, ROOT, Instance

HOST = "tests.benchmarks.host"
_CHILD = [sys.executable, "-IS", str(Path(__file__).with_name("child.py"))]


class Measured(NamedTuple):
    """One command: its seconds, those of the operation in it (of a peer: the same), and MiB."""

    seconds: float
    operation: float
    memory: float


def measured(
    command: list[str], *, folder: Path | None = None, environment: dict[str, str] | None = None
) -> tuple[Measured, bytes]:
    """What a command that has to succeed took, and what it printed."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place, "report")
        # What the one before left to be written would be waited for by the first that syncs.
        os.sync()
        done = subprocess.run(
            [*_CHILD, str(report), *command], cwd=folder, env=environment, capture_output=True
        )
        if done.returncode:
            said = (done.stderr + done.stdout).decode()
            sys.exit(f"{command} ended with {done.returncode}:\n{said}")
        took = json.loads(report.read_text())
        return Measured(took["seconds"], took["seconds"], took["memory"]), done.stdout


def peer(command: str) -> Measured:
    return measured(["sh", "-c", command])[0]


def backups(
    instance: Instance,
    *arguments: str,
    settings: Mapping[str, str] | None = None,
    app: str = HOST,
) -> tuple[Measured, Any]:
    """`flask backups … --json`: what it took, with the duration of its operation if it has one, and
    its document. `settings` are variables of the environment."""
    command = [*FLASK[:-1], app, "backups", *arguments, "--json"]
    environment = {**instance.environment, **(settings or {})}
    found, printed = measured(command, folder=ROOT, environment=environment)
    document = json.loads(printed)
    if isinstance(document, dict) and "duration_seconds" in document:
        found = found._replace(operation=document["duration_seconds"])
    return found, document


def seed(instance: Instance, *, packages: int, releases: int, size: int) -> Measured:
    numbers = {"users": 20, "packages": packages, "releases": releases, "file-size": size}
    options = [f"--{name}={number}" for name, number in numbers.items()]
    return measured([*FLASK, "seed", *options], folder=ROOT, environment=instance.environment)[0]


def median(runs: Iterable[Measured]) -> Measured:
    """The medians, but of memory the highest."""
    seconds, operations, memory = zip(*runs, strict=True)
    return Measured(statistics.median(seconds), statistics.median(operations), max(memory))


def percentile(values: Iterable[float], part: float) -> float:
    """The smallest value that so large a part of them does not exceed."""
    found = sorted(values)
    return found[math.ceil(len(found) * part) - 1]
