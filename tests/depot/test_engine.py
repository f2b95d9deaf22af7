"""The engine over each depot: what is made on one machine is read, undone and recovered on another.

Each test has one host; its machines are directories of their own, taken in turns.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest
from flask import Flask
from werkzeug.test import TestResponse as Response

from examples.host_app.models import AuditEvent, db
from examples.host_app.seed import ADMIN
from hexhub_backup import verbs
from hexhub_backup.archive.source import Reading
from hexhub_backup.depot.base import Depot
from hexhub_backup.errors import ArchiveError, NotFoundError
from hexhub_backup.operations.choice import Choice
from tests.support.depots import Open, bucket_depot, on, run
from tests.support.hosts import ADA, change_something, dump, planned
from tests.support.patience import wait_for
from tests.support.s3 import S3Server
from tests.support.serving import PREFIX, visitor
from tests.support.stored import root_of
from tests.support.tus import Tus

BOUNDARY = "----a-boundary"
#: More than a part of a bucket's, in files of which some are larger than what is read at a time.
pytestmark = pytest.mark.host(packages=3, releases=2, file_size=1_500_000)


def content(depot: Depot, backup: str) -> bytes:
    with depot.source(depot.archive_name(backup)) as source:
        reading = Reading(source)
        return b"".join(iter(lambda: reading.read(1 << 20), b""))


@pytest.mark.sample
def test_a_backup_of_one_machine_is_restored_and_undone_on_others(app: Flask, opens: Open) -> None:
    backup = run(app, opens("one"), verbs.create.order(ADA))
    with on(app, opens("two")) as backups:
        before = dump(app)
        checked = backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup))
        assert checked.outcome["size_bytes"] == len(content(opens("three"), backup))
        tried = backups.orders.run(app, verbs.rehearse.order(backups.history, ADA, backup))
        assert tried.outcome["findings"] == {}
        assert dump(app) == before
        assert not any((opens("two").path / "plans").iterdir())
        change_something()
        changed = dump(app)
        assert changed != before
        order = planned(app, backup)
    with on(app, opens("three")) as backups:
        done = backups.orders.run(app, order)
        assert done.outcome["records"]["users"]["overwritten"] == 1
        assert list(backups.history.changed(done.operation)["users"])
        assert opens("four").plans() == []
    with on(app, opens("four")) as backups:
        restored = backups.catalog.operation(done.operation)
        assert backups.history.undoable(restored)
        assert list(backups.history.changed(done.operation)["users"])
        backups.orders.run(app, verbs.undo.order(backups.history, ADA, done.operation))
        assert dump(app) == changed
        assert not backups.history.undoable(restored)
    with on(app, opens("one")) as backups:
        assert not backups.history.undoable(restored)
        assert list(opens("one").undo_sets()) == []


@pytest.mark.usefixtures("storages")
@pytest.mark.host(packages=14, releases=2, file_size=200_000)
def test_all_files_are_restored_from_any_depot_to_any_storage(app: Flask, opens: Open) -> None:
    """A bucket stages and places several at a time, and a depot is asked for all of them."""
    backup = run(app, opens("one"), verbs.create.order(ADA))
    with on(app, opens("two")) as backups:
        _, before = dump(app)
        tried = backups.orders.run(app, verbs.rehearse.order(backups.history, ADA, backup))
        assert tried.outcome["findings"] == {}
        for number, file in enumerate(root_of(backups.storage).rglob("hosted/**/*.tar.gz")):
            # Missing, or another one.
            file.unlink() if number % 2 else file.write_bytes(b"another")
        lost = dump(app)
        done = backups.orders.run(app, planned(app, backup))
        assert dump(app)[1] == before
        backups.orders.run(app, verbs.undo.order(backups.history, ADA, done.operation))
        assert dump(app) == lost


def test_a_plan_is_made_again_and_shown_on_another_machine(app: Flask, opens: Open) -> None:
    backup = run(app, opens("one"), verbs.create.order(ADA))
    with on(app, opens("one")):
        change_something()
        order = planned(app, backup)
    with on(app, opens("two")) as backups:
        plan = str(order.options["plan"])
        assert backups.plans.packages_of(plan, at_most=10)
        again = verbs.inspect.order_again(backups.plans, ADA, plan, Choice(strategy="skip"))
        done = backups.orders.run(app, again)
    with on(app, opens("three")) as backups:
        second = verbs.restore.order(backups.plans, ADA, done.operation)
        assert backups.orders.run(app, second).outcome["records"]["users"]["skipped"] == 1


def test_what_is_damaged_is_found_to_be(app: Flask, opens: Open, tmp_path: Path) -> None:
    depot = opens("one")
    backup = run(app, depot, verbs.create.order(ADA))
    data = bytearray(content(depot, backup))
    data[len(data) // 2] ^= 1
    with depot.new_upload("damaged") as upload:
        upload.write(bytes(data))
        upload.complete()
    depot.remove(depot.archive_name(backup))
    depot.publish(upload.name, backup)
    with on(app, opens("two")) as backups:
        with pytest.raises(ArchiveError):
            backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup))
        assert backups.history.backup(backup).intact is False
        # A file of this machine, by its path.
        path = tmp_path / "file.tar"
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        backups.orders.run(app, verbs.verify.order(backups.history, ADA, str(path)))


def test_a_backup_is_deleted_everywhere(app: Flask, opens: Open) -> None:
    backup = run(app, opens("one"), verbs.create.order(ADA))
    with on(app, opens("two")) as backups:
        assert not backups.history.backup(backup).file_missing
        backups.history.delete(app, ADA, backup)
    with on(app, opens("one")) as backups:
        assert list(backups.depot.archives()) == []
        with pytest.raises(NotFoundError):
            backups.history.backup(backup)


def test_an_archive_without_a_row_is_adopted(app: Flask, opens: Open) -> None:
    backup = run(app, opens("one"), verbs.create.order(ADA))
    with on(app, opens("two")) as backups:
        known = backups.history.backup(backup)
        backups.catalog.delete_backup(backup)
        backups.prepare(app)
        found = backups.history.backup(backup)
        assert found.adopted
        assert (found.manifest, found.verified_at) == (known.manifest, None)


def form_of(**fields: bytes) -> bytes:
    """A form as a browser sends it, whose field `file` is one."""
    parts = []
    for name, value in fields.items():
        named = '; filename="mine.tar"' if name == "file" else ""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
        parts.append(head.encode() + value + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def test_an_upload_comes_by_the_pages_of_one_machine_and_is_restored_by_another(
    app: Flask, opens: Open
) -> None:
    backup = run(app, opens("one"), verbs.create.order(ADA))
    data = content(opens("one"), backup)
    with on(app, opens("two")) as backups:
        pass
    who = visitor(app, ADMIN)
    answer = app.test_client(use_cookies=False).post(
        f"{PREFIX}/restore",
        headers=who.headers,
        data=form_of(csrf_token=who.token.encode(), file=data),
        content_type=f"multipart/form-data; boundary={BOUNDARY}",
    )
    assert answer.status_code == 303, answer.text
    plan = answer.location.rpartition("/")[2]
    with app.app_context():
        wait_for(lambda: backups.catalog.operation(plan).ended)
    with on(app, opens("three")) as backups:
        inspected = backups.plans.inspection(plan)
        assert backups.depot.is_upload(inspected.options["archive"])
        order = verbs.restore.order(backups.plans, inspected.who, plan)
        assert backups.orders.run(app, order).outcome["records"]["users"]["overwritten"] == 0


def test_an_upload_is_resumed_on_the_pages_of_another_machine(app: Flask, opens: Open) -> None:
    backup = run(app, opens("one"), verbs.create.order(ADA))
    data = content(opens("one"), backup)
    client = Tus(app, visitor(app, ADMIN))
    with on(app, opens("two")):
        upload = client.create(len(data))
        assert client.patch(upload, 0, data[:5_000_000]).status_code == 204
    with on(app, opens("three")) as backups:
        here = client.offset(upload)
        assert here == 5_000_000
        assert client.patch(upload, here, data[here:]).status_code == 204
        answer = client.restore(upload)
    assert answer.status_code == 303, answer.text
    plan = answer.location.rpartition("/")[2]
    with app.app_context():
        wait_for(lambda: backups.catalog.operation(plan).ended)
        assert backups.catalog.operation(plan).state == "completed"


def test_a_download_is_the_archive_whole_or_in_ranges(app: Flask, opens: Open) -> None:
    backup = run(app, opens("one"), verbs.create.order(ADA))
    data = content(opens("one"), backup)
    with on(app, opens("two")):
        pass
    who = visitor(app, ADMIN)

    def get(**headers: str) -> bytes:
        answer = app.test_client(use_cookies=False).get(
            f"{PREFIX}/{backup}/download", headers={**who.headers, **headers}
        )
        assert answer.status_code in (200, 206)
        return bytes(answer.data)

    assert get() == data
    assert get(Range="bytes=1000-1999") == data[1000:2000]
    assert get(Range="bytes=-5") == data[-5:]


# of a bucket alone


def test_a_download_may_be_sent_to_the_bucket(app: Flask, moto: S3Server, tmp_path: Path) -> None:
    depot = bucket_depot(moto, moto.bucket(), tmp_path / "one", tmp_path / "shared")
    backup = run(app, depot, verbs.create.order(ADA))
    with on(app, depot) as backups:
        backups.settings = replace(backups.settings, signed_downloads=30)
    who = visitor(app, ADMIN)

    def answer(method: str) -> Response:
        client = app.test_client(use_cookies=False)
        return client.open(f"{PREFIX}/{backup}/download", method=method, headers=who.headers)

    sent = answer("GET")
    assert (sent.status_code, sent.data) == (302, b"")
    assert sent.headers["Cache-Control"] == "no-store"
    assert sent.headers["Referrer-Policy"] == "no-referrer"
    address = sent.headers["Location"]
    asked = parse_qs(urlsplit(address).query)
    assert asked["X-Amz-Expires"] == ["30"]
    assert asked["X-Amz-SignedHeaders"] == ["host"]
    with urlopen(address) as found:  # (an address of 127.0.0.1)
        assert found.read() == content(depot, backup)
        named = f'attachment; filename="hexhub-backup-{backup}.tar"'
        assert found.headers["Content-Disposition"] == named
        assert found.headers["Cache-Control"] == "no-store"
    assert answer("HEAD").status_code == 200
    with app.app_context():
        (event,) = db.session.query(AuditEvent).filter_by(event="backup.downloaded")
        assert event.details == {"backup": backup, "issued": True}
        db.session.remove()
