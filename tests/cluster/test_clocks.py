"""Machines whose clocks are ten minutes apart: which one does what makes no difference."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from examples.host_app.models import db
from hexhub_backup.jobs.backups import backups_of
from tests.support.cluster import WEB, WORKERS, Cluster, cluster
from tests.support.cluster_client import by_worker, command, create_at, watched
from tests.support.hosts import one_user
from tests.support.patience import wait_for
from tests.support.serving import PREFIX, Visitor

pytestmark = pytest.mark.matrix
RIGHT, AHEAD = zip(WEB, WORKERS, strict=True)


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    """Of the second machines the clock is ten minutes ahead."""
    with cluster(clocks=dict.fromkeys(AHEAD, 600)) as found:
        yield found


def alone(running: Cluster, worker: str) -> None:
    """Let one worker be the only one."""
    for name in WORKERS:
        if name == worker and name not in running.processes:
            running.start(name)
        elif name != worker and name in running.processes:
            running.kill(name)


@pytest.mark.parametrize(
    ("asked", "works"), [(RIGHT, AHEAD), (AHEAD, RIGHT)], ids=["right-ahead", "ahead-right"]
)
def test_one_machine_does_what_another_one_was_asked_for(
    running: Cluster,
    app: Flask,
    admin: Visitor,
    asked: tuple[str, str],
    works: tuple[str, str],
) -> None:
    alone(running, works[1])
    (web,) = {*WEB} - {asked[0]}
    made = create_at(running.addresses[asked[0]], admin)
    events = watched(running.addresses[web], made, admin)
    assert (events[-1]["type"], events[-1]["state"]) == ("result", "completed")
    wait_for(lambda: f"{made}] succeeded" in running.log(works[1]))
    assert by_worker(running, made) == works[1]
    for name in WEB:
        for path in (f"/{made}", f"/operations/{made}", "/", "/protection"):
            status, _, page = running.addresses[name].request("GET", PREFIX + path, admin)
            assert status == 200
            # What has happened is never still to come.
            for word in ("in 10 minutes", "in a minute", "-10 min"):
                assert word not in page.decode(), (name, path)

    with app.app_context():
        user = one_user()
        before = user.email
        user.email = another = f"{asked[0]}-{works[1]}@example.org"
        db.session.commit()
        db.session.remove()

    def email() -> str:
        with app.app_context():
            found = str(one_user().email)
            db.session.remove()
        return found

    options = ("--strategy", "overwrite", "--grant-protected")
    plan = command(running, asked[0], "inspect", made, *options)
    as_planned = ("--plan-hash", plan["plan"]["hash"], "--yes", "--queue")
    done = command(running, web, "restore", made, *options, *as_planned)
    assert email() == before
    command(running, web, "undo", done["id"], "--yes", "--queue")
    assert email() == another
    # Neither is anything of it old, and due to be removed.
    assert command(running, AHEAD[0], "prune")["backups"] == []
    with app.app_context():
        assert backups_of(app).history.backup(made).good
        db.session.remove()
