"""One exclusive operation at a time, and a lock that goes with its holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hexhub_backup.coordination.lock import exclusive
from hexhub_backup.coordination.locking import is_held
from hexhub_backup.depot.directory import DirectoryDepot
from hexhub_backup.errors import BusyError

pytestmark = pytest.mark.sample

HOLDER = {"operation": "42", "verb": "create", "actor": "ada", "started_at": "today"}


def test_the_second_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock") as lock:
        lock.name(HOLDER)
        with pytest.raises(BusyError, match="create 42 by ada has been running since today"):
            exclusive(tmp_path / "lock").__enter__()
    with exclusive(tmp_path / "lock"):
        pass


def test_the_lock_of_a_killed_process_blocks_nobody(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from hexhub_backup.coordination.lock import exclusive\n"
        "with exclusive(Path(sys.argv[1])) as lock:"
        f"\n    lock.name({HOLDER!r}); print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match="create 42"):
            exclusive(tmp_path / "lock").__enter__()
        process.kill()
    with exclusive(tmp_path / "lock"):
        pass


_FORKS = """
import os, sys, time
from pathlib import Path
from hexhub_backup.depot.directory import DirectoryDepot
from hexhub_backup.coordination.locking import is_held
from hexhub_backup.coordination.events import EventLog
from hexhub_backup.coordination.lock import exclusive
folder = Path(sys.argv[1])
with exclusive(folder / "lock") as lock, DirectoryDepot(folder).using(folder / "archive"):
    # Who finds a lock without a name waits for it.
    lock.name({"operation": "42", "verb": "create", "actor": "ada", "started_at": "today"})
    log = EventLog(folder / "events")
    if os.fork() == 0:
        # Here it has let go of what it had from its parent.
        print(os.getpid(), flush=True)
    time.sleep(600)
"""


def test_a_child_that_was_forked_off_holds_no_lock_of_its_dead_parent(tmp_path: Path) -> None:
    """A worker that a host forks off outlives the process that ran an operation."""
    (tmp_path / "archive").touch()
    with subprocess.Popen(
        [sys.executable, "-c", _FORKS, str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            with pytest.raises(BusyError):
                exclusive(tmp_path / "lock").__enter__()
            assert is_held(tmp_path / "events")
            process.kill()
            process.wait()
            with exclusive(tmp_path / "lock"):
                pass
            assert not is_held(tmp_path / "events")
            with DirectoryDepot(tmp_path).using(tmp_path / "archive", alone=True):
                pass
        finally:
            os.kill(child, signal.SIGKILL)
