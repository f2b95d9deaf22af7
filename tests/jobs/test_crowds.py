"""Many who want the same backup, and what a dead process and a wrong clock leave."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from examples.host_app.seed import ADMIN
from hexhub_backup import verbs
from hexhub_backup.errors import BusyError, NotFoundError, PruneRefusedError
from hexhub_backup.history.models import Who
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups, backups_of
from tests.support.directory import depot_of
from tests.support.hosts import restored
from tests.support.instance import ROOT, Instance
from tests.support.patience import PATIENCE, wait_for
from tests.support.people import sign_in, token

pytestmark = pytest.mark.usefixtures("database")
WHO = Who(actor=ADMIN)
PREFIX = "/admin/backups"


def signed_in(host: Flask) -> tuple[FlaskClient, str]:
    """A browser of the admin's, and its CSRF token."""
    client = host.test_client()
    assert sign_in(client, ADMIN).status_code == 303
    return client, token(client, f"{PREFIX}/new")


def many_signed_in(host: Flask, count: int) -> list[tuple[FlaskClient, str]]:
    # In threads without the context of the test: Flask-Login keeps its user there.
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(signed_in, [host] * count))


class Crowd:
    """Many who do something at the same moment, each in a thread of its own."""

    def __init__(self) -> None:
        self._all: list[Callable[[], object]] = []
        self.failures: list[str] = []

    def add(self, do: Callable[[], object]) -> None:
        self._all.append(do)

    def rush(self) -> None:
        barrier = threading.Barrier(len(self._all))

        def one(do: Callable[[], object]) -> None:
            barrier.wait(PATIENCE)
            try:
                do()
            except BaseException as error:
                self.failures.append(repr(error))

        threads = [threading.Thread(target=one, args=(do,)) for do in self._all]
        for each in threads:
            each.start()
        for each in threads:
            each.join(PATIENCE)
        assert self.failures == []


def outdated(backups: Backups, backup: str) -> None:
    """Let a backup have expired ten days ago."""
    made = utc_now() - timedelta(days=40)
    backups.catalog.update_backup(backup, created_at=made, kept=False)


def test_all_that_can_be_done_with_a_backup_at_once(host: Flask, instance: Instance) -> None:
    backups = backups_of(host)
    # The newest one is never pruned.
    backups.orders.run(host, verbs.create.order(WHO))
    people = many_signed_in(host, 5)
    lost = next(iter(sorted((instance.storage / "hosted/packages").rglob("*.gz"))))
    kept = lost.read_bytes()
    for round_ in range(4):
        made = backups.orders.run(host, verbs.create.order(WHO)).operation
        outdated(backups, made)
        whole = hashlib.sha256(depot_of(backups).archive(made).read_bytes()).hexdigest()
        lost.unlink(missing_ok=True)
        known = {each.id for each in backups.history.operations()}
        crowd = Crowd()

        def download(
            client: FlaskClient, ranged: str | None = None, *, made: str = made, whole: str = whole
        ) -> None:
            headers = {} if ranged is None else {"Range": ranged}
            answer = client.get(f"{PREFIX}/{made}/download", headers=headers)
            assert answer.status_code in (200, 206, 404, 409), answer.status_code
            if answer.status_code == 200:
                assert hashlib.sha256(answer.data).hexdigest() == whole
            elif answer.status_code == 206:
                assert len(answer.data) == 1000
            answer.close()

        def post(who: tuple[FlaskClient, str], verb: str, *, made: str = made) -> None:
            client, csrf = who
            answer = client.post(f"{PREFIX}/{made}/{verb}", data={"csrf_token": csrf})
            assert answer.status_code in (303, 404, 409), answer.status_code
            answer.close()

        def restore(made: str = made) -> None:
            with host.app_context(), suppress(BusyError, NotFoundError):
                restored(host, made, who=WHO, protected=False)

        def prune() -> None:
            with host.app_context(), suppress(BusyError):
                backups.orders.run(host, verbs.prune.order(WHO))

        def look(client: FlaskClient, made: str = made) -> None:
            for page in ("/", f"/{made}"):
                assert client.get(f"{PREFIX}{page}").status_code in (200, 404)

        crowd.add(lambda: download(people[0][0]))
        crowd.add(lambda: download(people[1][0], "bytes=1000-1999"))
        crowd.add(lambda: post(people[2], "verify"))
        crowd.add(lambda: look(people[3][0]))
        # Each that is left out in a round leaves room to the others.
        for number, each in enumerate((restore, prune, lambda: post(people[4], "delete"))):
            if round_ % 4 != number:
                crowd.add(each)
        crowd.rush()
        wait_for(lambda: backups.catalog.unfinished_operations() == [])
        for operation in backups.history.operations():
            if operation.id not in known:
                assert operation.state == "completed", (operation.verb, operation.reason)
        rows = {each.id for each in backups.history.backups()}
        assert rows == set(backups.depot.archives())
        assert instance.leftovers() == []
        happened = any(
            each.verb == "restore" and each.id not in known for each in backups.history.operations()
        )
        assert lost.exists() is happened
        if happened:
            assert lost.read_bytes() == kept
        if made in rows:
            verified = backups.orders.run(host, verbs.verify.order(backups.history, WHO, made))
            assert verified.outcome["warnings"] == []
            # Nobody uses it any more: one of these deletes it, and the others take that well.
            crowd = Crowd()
            crowd.add(prune)
            for who in people[:2]:
                crowd.add(lambda who=who: post(who, "delete"))  # type: ignore[misc]
            crowd.rush()
        assert made not in {each.id for each in backups.history.backups()}
        assert not depot_of(backups).archive(made).exists()
        lost.write_bytes(kept)


HOLD = """
import sys, time
from examples.host_app import create_app
from hexhub_backup import signals, verbs
from hexhub_backup.history.models import Who

def hold(app, *, event, **extra):
    if event["step"] == sys.argv[2]:
        print("held", flush=True)
        time.sleep(600)

app = create_app()
signals.operation_step.connect(hold, app)
with app.app_context():
    backups = app.extensions["hexhub_backup"]
    verb, who = sys.argv[1], Who(actor="dead")
    if verb == "verify":
        order = verbs.verify.order(backups.history, who, *sys.argv[3:])
    else:
        order = getattr(verbs, verb).order(who)
    backups.orders.run(app, order)
"""


@pytest.mark.parametrize(
    ("verb", "step"),
    [("create", "copy_docs"), ("verify", "check_files")],
)
def test_what_a_dead_process_held_is_free_at_once(
    host: Flask, instance: Instance, verb: str, step: str
) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(WHO)).operation
    command = [sys.executable, "-c", HOLD, verb, step, *([made] if verb == "verify" else [])]
    with subprocess.Popen(
        command, cwd=ROOT, env=instance.environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        refused: dict[str, Callable[[], object]] = {
            "create": lambda: backups.orders.run(host, verbs.create.order(WHO)),
            "verify": lambda: backups.history.delete(host, WHO, made),
        }
        with pytest.raises(BusyError):
            refused[verb]()
        process.send_signal(signal.SIGKILL)
    (dead,) = [each for each in backups.history.operations() if each.actor == "dead"]
    assert dead.state == "running"
    outdated(backups, made)
    newer = backups.orders.run(host, verbs.create.order(WHO)).operation
    assert backups.orders.run(host, verbs.prune.order(WHO)).outcome["backups"] == [made]
    assert backups.catalog.operation(dead.id).state == "interrupted"
    assert [each.id for each in backups.history.backups() if each.state == "completed"] == [newer]
    assert instance.leftovers() == []
    assert list((backups.depot.path / "plans").iterdir()) == []


@pytest.mark.parametrize("years", [1, 10, -1])
def test_a_clock_that_jumps_prunes_nothing_that_is_young(
    host: Flask, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    backups = backups_of(host)
    young = [backups.orders.run(host, verbs.create.order(WHO)).operation for _ in range(5)]
    for age, backup in enumerate(reversed(young)):
        made = utc_now() - timedelta(days=age)
        backups.catalog.update_backup(backup, created_at=made)

    def is_there() -> set[str]:
        return {each.id for each in backups.history.backups() if not each.file_missing}

    def jumped() -> Any:
        return utc_now() + timedelta(days=365 * years)

    with monkeypatch.context() as patch:
        for module in (
            *("verbs.create", "verbs.prune", "verbs.remains", "history.kept", "history.adopting"),
            *("jobs.orders", "jobs.running", "jobs.record"),
        ):
            patch.setattr(f"hexhub_backup.{module}.utc_now", jumped)
        # One that the wrong clock dates.
        late = backups.orders.run(host, verbs.create.order(WHO)).operation
        due = backups.catalog.due_at("prune")
        for _ in range(2):
            if years > 0:
                with pytest.raises(PruneRefusedError):
                    backups.orders.run(host, verbs.prune.order(WHO))
                # It is not put off.
                assert backups.catalog.due_at("prune") == due
            else:
                assert backups.orders.run(host, verbs.prune.order(WHO)).outcome["backups"] == []
            assert is_there() == {*young, late}
    # The clock is right again. What it dated a year back is a year old.
    gone = {late} if years < 0 else set()
    assert set(backups.orders.run(host, verbs.prune.order(WHO)).outcome["backups"]) == gone
    assert is_there() == {*young, late} - gone
