"""The example on several machines, which share servers and no directory."""

from __future__ import annotations

import io
import json
import socket
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from select import select

import pytest
from flask import Flask

from examples.host_app.models import User, db
from hexhub_backup.history.models import Operation
from hexhub_backup.jobs.backups import backups_of
from tests.support.cluster import WEB, WORKERS, Cluster, cluster
from tests.support.cluster_client import by_worker, command, create_at, watched
from tests.support.hosts import one_user
from tests.support.patience import wait_for
from tests.support.serving import PREFIX, Visitor
from tests.support.tus import begun, sent

pytestmark = pytest.mark.matrix
A, B = WEB


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


def test_one_web_process_shows_what_a_worker_does_that_the_other_was_asked_for(
    running: Cluster, app: Flask, admin: Visitor
) -> None:
    a, b = running.addresses[A], running.addresses[B]
    made = create_at(a, admin)
    events = watched(b, made, admin)
    assert [each["seq"] for each in events] == [*range(1, len(events) + 1)]
    assert (events[-1]["type"], events[-1]["state"]) == ("result", "completed"), json.dumps(events)
    wait_for(lambda: any(f"{made}] succeeded" in running.log(name) for name in WORKERS))
    assert by_worker(running, made) in WORKERS
    # Every machine shows the backup, checks it and hands it out.
    for address in (a, b):
        assert address.request("GET", f"{PREFIX}/{made}", admin)[0] == 200
    status, _, body = b.request("GET", f"{PREFIX}/{made}/download", admin)
    assert status == 200
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        assert tar.getnames()[-1] == "manifest.json"
    assert command(running, WORKERS[1], "verify", made)["state"] == "completed"
    assert list((running.folder / A / "backups").glob("*.tar*")) == []


def test_a_restore_is_planned_done_and_undone_by_different_machines(
    running: Cluster, app: Flask, admin: Visitor
) -> None:
    made = create_at(running.addresses[A], admin)
    assert watched(running.addresses[B], made, admin)[-1]["state"] == "completed"
    with app.app_context():
        user = one_user()
        name, before = user.username, user.email
        user.email = "another@example.org"
        db.session.commit()
        db.session.remove()

    def email() -> str:
        with app.app_context():
            found = db.session.scalars(db.select(User).filter_by(username=name)).one().email
            db.session.remove()
        return str(found)

    options = ("--strategy", "overwrite", "--grant-protected")
    plan = command(running, B, "inspect", made, *options, "--queue")
    assert email() == "another@example.org"
    as_planned = ("--plan-hash", plan["plan"]["hash"], "--yes", "--queue")
    done = command(running, A, "restore", made, *options, *as_planned)
    assert email() == before
    command(running, WORKERS[0], "undo", done["id"], "--yes")
    assert email() == "another@example.org"


def test_an_upload_is_resumed_on_another_machine_and_written_by_one_at_a_time(
    running: Cluster, app: Flask, admin: Visitor
) -> None:
    a, b = running.addresses[A], running.addresses[B]
    made = create_at(a, admin)
    assert watched(b, made, admin)[-1]["state"] == "completed"
    _, _, data = a.request("GET", f"{PREFIX}/{made}/download", admin)
    status, headers, _ = a.request(
        "POST",
        f"{PREFIX}/uploads",
        admin,
        Tus_Resumable="1.0.0",
        Upload_Length=str(len(data)),
        X_CSRFToken=admin.token,
    )
    assert status == 201
    upload, half = headers["Location"], len(data) // 2
    assert sent(a, admin, upload, 0, data[:half]) == 204
    with ExitStack() as lines:

        def begin() -> socket.socket:
            begins = begun(b, admin, upload, half, b"", of=len(data) - half)
            return lines.enter_context(closing(begins))

        line = begin()

        def is_refused() -> bool:
            nonlocal line
            if sent(a, admin, upload, half, b"") == 423:
                return True
            if select([line], [], [], 0)[0]:
                # It came while the look before was the one who writes.
                line = begin()
            return False

        wait_for(is_refused)
    # The other machine has noticed that nothing more comes.
    wait_for(lambda: sent(a, admin, upload, half, b"") == 204)
    assert sent(b, admin, upload, half, data[half:]) == 204
    part = f'--x\r\nContent-Disposition: form-data; name="upload"\r\n\r\n{Path(upload).name}'
    status, headers, _ = a.request(
        "POST",
        f"{PREFIX}/restore",
        admin,
        f"{part}\r\n--x--\r\n".encode(),
        Content_Type="multipart/form-data; boundary=x",
        X_CSRFToken=admin.token,
    )
    assert status == 303
    assert watched(b, Path(headers["Location"]).name, admin)[-1]["state"] == "completed"


def test_what_a_killed_worker_left_is_put_right_and_the_next_operation_runs(
    running: Cluster, app: Flask, admin: Visitor
) -> None:
    made = create_at(running.addresses[A], admin)

    def now() -> Operation:
        with app.app_context():
            return backups_of(app).catalog.operation(made)

    wait_for(lambda: now().state != "queued")
    for name in WORKERS:
        running.kill(name)
    # Nobody looks at a page: each web process looks by itself.
    wait_for(lambda: now().ended)
    # It may have been done a moment before.
    assert now().state in ("interrupted", "completed")
    for name in WORKERS:
        running.start(name)
    again = create_at(running.addresses[B], admin)
    assert watched(running.addresses[A], again, admin)[-1]["state"] == "completed"


def test_no_process_has_a_file_of_another_one_open(running: Cluster, admin: Visitor) -> None:
    made = create_at(running.addresses[A], admin)
    watched(running.addresses[B], made, admin)
    for name in (*WEB, *WORKERS):
        own = str(running.folder / name)
        # The first is the guard's, which ends it with the tests.
        for pid in tree_of(running.processes[name].pid)[1:]:
            shared = {each for each in open_files(pid) if each.startswith(str(running.folder))}
            assert all(each.startswith(own) for each in shared), shared
            if running.apart:
                # What is in the directory of the cluster, as this process sees it.
                there = Path(f"/proc/{pid}/root{running.folder}").iterdir()
                assert [each.name for each in there] == [name]


def open_files(pid: int) -> set[str]:
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        # The process may close one meanwhile.
        with suppress(FileNotFoundError):
            found.add(str(each.readlink()))
    return found


def tree_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in tree_of(int(child)))]
