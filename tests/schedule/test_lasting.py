"""A schedule goes on, whatever became of a process that ran it, or of the clock."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta, timezone

import pytest
from sqlalchemy import event

from examples.host_app.models import db
from hexhub_backup.history.runs import Run
from hexhub_backup.history.store import utc_now
from hexhub_backup.schedule.times import cron
from tests.support import extent
from tests.support.instance import ROOT, Instance
from tests.support.patience import PATIENCE
from tests.support.ticking import Ticking

NIGHTLY = {"HEXHUB_BACKUP_SCHEDULE": "daily 03:00"}
pytestmark = [pytest.mark.host(config=NIGHTLY), pytest.mark.usefixtures("host")]

#: Ticks, and is killed while the backup runs that was due.
KILLED = """if True:
    import os, signal, sys
    from examples.host_app import create_app
    from hexhub_backup import signals
    from hexhub_backup.schedule.tick import tick

    app = create_app(sys.argv[1], {"HEXHUB_BACKUP_SCHEDULE": "daily 03:00"})

    def kill(_, *, verb, event, **extra):
        if verb == "create" and event["step"] == "copy_packages":
            os.kill(os.getpid(), signal.SIGKILL)

    signals.operation_step.connect(kill, app)
    with app.app_context():
        tick(app)
"""


def made_in(ticking: Ticking, days: int) -> list[int]:
    """How many backups are ordered on each of so many days, with a tick every twenty minutes, or
    every hour."""
    pause = timedelta(minutes=20 * extent.step())
    counts = []
    for _ in range(days):
        before = ticking.verbs().count("create")
        for _ in range(timedelta(days=1) // pause):
            ticking.clock.goes(minutes=pause / timedelta(minutes=1))
            ticking(run=False)
        counts.append(ticking.verbs().count("create") - before)
    return counts


@pytest.mark.parametrize(
    ("begins", "least"),
    [
        pytest.param("12:00", 1, id="noon", marks=pytest.mark.matrix),
        # Within the hour before a backup is due, a clock that goes back by a day looks like one
        # that goes back by minutes after that backup was made.
        pytest.param("02:30", 0, id="just before it is due"),
    ],
)
def test_a_schedule_goes_on_after_a_kill_and_after_a_clock_that_was_wrong(
    ticking: Ticking, instance: Instance, begins: str, least: int
) -> None:
    # Nothing of this has to outlive a power loss.
    event.listen(db.engine, "connect", lambda it, _: it.execute("PRAGMA synchronous = OFF"))
    db.engine.dispose()
    backups, run = ticking.backups, ticking.run("backup")
    past = utc_now() - timedelta(hours=1)
    assert ticking.runs.change(run, Run(name="backup", spec=run.spec, due_at=past))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(instance.path)],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    # The next time that clocks show what they are to show.
    ticking.clock.now = cron(f"daily {begins}", timezone.utc, named="begins")(utc_now())
    backups.recover_dead(ticking.app)
    (backup,) = backups.history.backups()
    assert (backup.state, backup.created_by) == ("interrupted", "schedule")
    # What the killed process had ordered is not ordered again.
    ticking(run=False)
    assert ticking.ordered == []
    assert made_in(ticking, 3) == [1, 1, 1]
    # One more than there should be is no harm: nobody knows which of the two clocks is right.
    ticking.clock.goes(days=-1)
    first, *others = made_in(ticking, 4)
    assert first in range(least, 3)
    assert others == [1, 1, 1]
    ticking.clock.goes(days=365)
    first, *others = made_in(ticking, 3)
    assert first in (1, 2)
    assert others == [1, 1]
    ticking.clock.goes(days=-368)
    first, *others = made_in(ticking, 4)
    assert first in (1, 2)
    assert others == [1, 1, 1]
    # All else that the clock does has gone on, too.
    assert all(at < ticking.clock.now + timedelta(days=1) for at in map(ticking.due, ("prune",)))
