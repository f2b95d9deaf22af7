"""Kill a command at every system call that changes something, or make each such call fail; then
recover and check.

`{dir}` in a command is a fresh folder of each run, and `{name}` that folder's name. strace counts
calls by name and per thread, so that the command has to work in its main thread. The check has to
exit 0 when the state is exactly the old or exactly the new one, and nothing is left over. A call at
which the process is killed does not happen. A fault point that never hits the command is a failure
of this check.
"""

from __future__ import annotations

import collections
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

CHANGING = (
    "write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,fsync,fdatasync,"
    "sync_file_range,ftruncate,fallocate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,"
    "unlink,unlinkat,mkdir,mkdirat,rmdir,fchmod,fchmodat,syncfs"
)
_CALL = re.compile(r"(?:\d+ +)?(\w+)\(")


@dataclass(frozen=True)
class Point:
    """The `number`-th use of a system call by the command."""

    call: str
    number: int


@dataclass
class Report:
    """What came of it: how many points hit the command, and what failed."""

    points: int = 0
    hit: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Torture:
    """Commands for a shell: `setup` makes the state in `{dir}`, `command` is killed at the system
    calls of `calls`, and `cleanup` removes what is not in `{dir}`."""

    setup: str
    command: str
    recover: str
    check: str
    environment: dict[str, str]
    calls: str = CHANGING
    cleanup: str = "true"
    timeout: float = 120

    def _shell(self, command: str, folder: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command.replace("{dir}", folder).replace("{name}", Path(folder).name),
            shell=True,
            capture_output=True,
            text=True,
            timeout=self.timeout,
            env=self.environment,
        )

    def _fresh(self) -> str:
        folder = tempfile.mkdtemp(prefix="torture-")
        done = self._shell(self.setup, folder)
        if done.returncode:
            raise RuntimeError(f"the setup failed: {done.stderr[-500:]}")
        return folder

    def _remove(self, folder: str) -> None:
        self._shell(self.cleanup, folder)
        shutil.rmtree(folder, ignore_errors=True)

    def points(self) -> list[Point]:
        """Run the command undisturbed and see what it does."""
        folder = self._fresh()
        try:
            trace = Path(folder, "trace")
            done = self._shell(
                f"strace -f -qq -o {trace} -e trace={self.calls} {self.command}", folder
            )
            calls = [
                match[1]
                for line in trace.read_text(errors="replace").splitlines()
                if (match := _CALL.match(line))
            ]
            trace.unlink()
            if done.returncode:
                raise RuntimeError(f"the undisturbed run failed: {done.stdout} {done.stderr}")
            checked = self._shell(self.check, folder)
            if checked.returncode:
                raise RuntimeError(f"the check fails on an undisturbed run: {checked.stdout}")
        finally:
            self._remove(folder)
        counts: collections.Counter[str] = collections.Counter()
        found = []
        for call in calls:
            counts[call] += 1
            found.append(Point(call, counts[call]))
        return found

    def run(self, points: list[Point], mode: str, jobs: int = 2) -> Report:
        """`mode` is `kill`, or the error that the call gives, such as `ENOSPC`."""
        report = Report(points=len(points))
        with ThreadPoolExecutor(jobs) as pool:
            for point, hit, failure in pool.map(lambda point: self._hit(point, mode), points):
                report.hit += hit
                if failure:
                    report.failures.append(f"{point.call} no. {point.number}: {failure}")
        if mode == "kill" and report.hit < report.points:
            missed = report.points - report.hit
            report.failures.append(f"{missed} points never hit the command")
        return report

    def _hit(self, point: Point, mode: str) -> tuple[Point, bool, str]:
        """How many events there are to write hangs on the clock: where a run did not come to
        this use of the call, an earlier one is taken."""
        found = self._one(point, mode)
        for number in range(point.number - 1, max(point.number - 10, 0), -1):
            if found[1] or found[2] or mode != "kill":
                break
            found = self._one(Point(point.call, number), mode)
        return found

    def _one(self, point: Point, mode: str) -> tuple[Point, bool, str]:
        folder = self._fresh()
        inject = "signal=SIGKILL" if mode == "kill" else f"error={mode}"
        try:
            done = self._shell(
                f"strace -f -qq -o /dev/null -e trace={point.call} "
                f"-e inject={point.call}:{inject}:when={point.number} {self.command}",
                folder,
            )
            hit = done.returncode != 0
            # What fails while the host itself starts is the host's.
            if mode != "kill" and not done.stdout and "hexhub_backup/" in done.stderr:
                return point, hit, f"a traceback: {done.stderr[-600:]}"
            for command in (self.recover, self.check):
                after = self._shell(command, folder)
                if after.returncode:
                    return point, hit, (after.stdout + after.stderr).strip()[-400:]
        except subprocess.TimeoutExpired as error:
            return point, False, f"it took too long: {str(error.cmd)[-80:]}"
        finally:
            self._remove(folder)
        return point, hit, ""


def every(points: list[Point], count: int) -> Iterator[Point]:
    """At most so many of the points, evenly spread, with the last one."""
    if len(points) <= count:
        yield from points
        return
    for number in range(count):
        yield points[round(number * (len(points) - 1) / (count - 1))]
