"""Memory does not grow with the registry: not with its rows, nor with a file or a member."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.instance import ROOT

# Each runs in a process of its own, and says how many MiB its peak is above the idle host's.
_USUAL = """
import resource, sys
from pathlib import Path
from examples.host_app import create_app
from examples.host_app.models import Package, Release, db
from hexhub_backup import verbs
from hexhub_backup.history.models import Who
from hexhub_backup.operations.choice import Choice

def peak():
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest / (2**20 if sys.platform == "darwin" else 2**10)

folder, who = Path(sys.argv[1]), Who(actor="ada")
with create_app(folder / sys.argv[2]).app_context() as context:
    app = context.app
    backups = app.extensions["hexhub_backup"]
    backups.prepare(app)
    idle = peak()
"""
_FILL = """
    for number in range(150):
        text = f"{number:03}" * 133_333
        db.session.add(Package(name=f"p{number:03}", meta={"description": text}))
        db.session.commit()
        db.session.expunge_all()
    db.session.add(Release(package_id=1, version="1.0.0"))
    db.session.commit()
    path = backups.storage.root / "hosted/packages/p000/p000-1.0.0.tar.gz"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(100 * 2**20)
"""
_CREATE = """
    backups.orders.run(app, verbs.create.order(who))
    print(peak() - idle)
"""
_RESTORE = """
    (archive,) = (folder / "one/backups").glob("*.tar")
    for _ in range(2):
        choice = Choice(strategy="overwrite")
        order = verbs.inspect.order(backups.history, who, str(archive), choice)
        plan = backups.orders.run(app, order)
        done = backups.orders.run(app, verbs.restore.order(backups.plans, who, plan.operation))
        db.session.execute(db.text("UPDATE packages SET private = NOT private"))
        db.session.commit()
    assert done.outcome["records"]["packages"]["overwritten"] == 150
    backups.orders.run(app, verbs.undo.order(backups.history, who, done.operation))
    print(peak() - idle)
"""


def told(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _USUAL + script, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with 60 MB of rows, and a package file of 100 MB."""
    folder = tmp_path_factory.mktemp("memory")
    told(_FILL, str(folder), "one")
    return folder


@pytest.mark.matrix
def test_memory_stays_flat_in_a_backup_a_restore_and_an_undo(filled: Path) -> None:
    assert float(told(_CREATE, str(filled), "one")) < 64
    assert float(told(_RESTORE, str(filled), "two")) < 64
