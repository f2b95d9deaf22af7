"""A plan is carried out on its page, its outcome is read there, and it is undone."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import closing
from functools import partial

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from examples.host_app.models import Release, User, db
from examples.host_app.seed import ADMIN
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations import progress
from hexhub_backup.operations.choice import Choice
from hexhub_backup.web import plans
from tests.support.directory import depot_of
from tests.support.hosts import change_something, one_package, one_user, restored
from tests.support.pages import landed, page, planned, post, read, remembered
from tests.support.patience import wait_for
from tests.support.people import token
from tests.support.serving import PREFIX, is_idle, make_backup

pytestmark = pytest.mark.usefixtures("storages", "no_prune")


@pytest.mark.parametrize(
    ("text", "number"),
    [("1234", 1234), ("1,234", 1234), (" 1 234 ", 1234), ("", None), ("-1", None), ("²", None)],
)
def test_a_number_is_read_as_people_type_it(text: str, number: int | None) -> None:
    assert plans._number(text) == number


def test_who_replaces_records_has_to_type_their_number(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    user = change_something()
    plan = planned(client, backups, backup, conflict_strategy="overwrite")
    assert "Type the number of records that will be replaced (2)" in page(client, f"/plans/{plan}")
    for typed in ("", "3", "two", "<2"):
        answer = post(client, f"/plans/{plan}", do="restore", replaces=typed, backup_first="on")
        assert answer.status_code == 422
        assert "Type 2 to confirm." in read(answer)
        field = re.findall(r'<input[^>]+name="replaces"[^>]*>', answer.text)[0]
        assert 'aria-invalid="true" aria-describedby="replaces-error" autofocus' in field
        assert re.search(r'name="backup_first"[^>]+checked', answer.text)
    db.session.refresh(user)
    assert user.email == "old@example.org"
    form = {"do": "restore", "replaces": " 2 ", "backup_first": "on"}
    done = landed(backups, post(client, f"/plans/{plan}", **form), "operations")
    db.session.refresh(user)
    assert user.email != "old@example.org"
    text = page(client, f"/operations/{done}")
    assert "Restore is complete" in text
    assert re.search(r"overwritten 1 1 0 0", text)
    first = (backups.catalog.operation(done).outcome or {})["backup_first"]
    assert "The registry as it was before" in text
    assert "✓ complete" in page(client, f"/{first}")
    text = page(client, f"/plans/{plan}", status=404)
    assert "This plan was carried out" in text
    assert f"{PREFIX}/operations/{done}" in client.get(f"{PREFIX}/plans/{plan}").text


def test_under_the_strategy_fail_a_conflict_leaves_only_the_choice(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    change_something()
    plan = planned(client, backups, backup, conflict_strategy="fail")
    html = client.get(f"{PREFIX}/plans/{plan}").text
    text = page(client, f"/plans/{plan}")
    assert "Nothing would be restored 2 records already exist and are different" in re.sub(
        r" ! ", " ", text
    ).replace("  ", " ")
    assert "Restore now" not in text
    assert html.count("btn-primary") == 1
    assert re.search('btn-primary" name="do" value="plan"', html)
    # Who posts it all the same is told on the page of the operation, and finds back.
    failed = landed(backups, post(client, f"/plans/{plan}", do="restore"), "operations", "failed")
    text = page(client, f"/operations/{failed}")
    assert "differs in" in text
    assert "Back to the plan" in text


def test_where_nothing_would_change_the_plan_says_so(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    text = page(client, f"/plans/{planned(client, backups, backup)}")
    assert "Nothing would change" in text
    assert "The registry already has everything that was chosen." in text
    assert "Restore now" not in text
    change_something()
    text = page(client, f"/plans/{planned(client, backups, backup)}")
    assert "2 records are different and stay as they are." in text
    # Another strategy is the way on.
    html = client.get(f"{PREFIX}/plans/{planned(client, backups, backup)}").text
    assert re.findall('btn-primary" name="do" value="([a-z]+)"', html) == ["plan"]


def test_a_registry_that_changed_since_gets_a_fresh_plan(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    user = change_something()
    plan = planned(client, backups, backup, conflict_strategy="overwrite")
    package = one_package()
    package.meta = {"description": "once more"}
    added = User(username="late", email=str(backup), password_hash="x")
    db.session.add(added)
    db.session.delete(db.session.scalars(select(Release)).first())
    db.session.commit()
    answer = post(client, f"/plans/{plan}", do="restore", replaces="2")
    failed = landed(backups, answer, "operations", "failed")
    assert user.email == "old@example.org"
    text = page(client, f"/operations/{failed}")
    assert "The registry has changed since the plan was made" in text
    assert "it was planned as unchanged and is create now" in text
    assert "Make a new plan" in text
    html = client.get(f"{PREFIX}/operations/{failed}").text
    assert f'action="{PREFIX}/plans/{plan}"' in html
    assert html.count("btn-primary") == 1
    fresh = landed(backups, post(client, f"/plans/{plan}", do="again"), "plans")
    with closing(backups.plans.open(fresh)) as found:
        assert found.choice == Choice(strategy="overwrite")
    answer = post(client, f"/plans/{fresh}", do="restore", replaces="2")
    landed(backups, answer, "operations")


def test_the_outcome_is_downloaded_with_every_warning(
    app: Flask, client: FlaskClient, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LISTED_WARNINGS", 1)
    for user in db.session.scalars(select(User).where(User.username != ADMIN)):
        user.password_hash = "md5:of-old"
    db.session.commit()
    backup = make_backup(app)
    change_something()
    for user in db.session.scalars(select(User).where(User.username != ADMIN)):
        user.email = f"new-{user.email}"
    db.session.commit()
    done = restored(app, backup, strategy="overwrite").operation
    found = backups.catalog.operation(done)
    assert len((found.outcome or {})["warnings"]) == 1
    text = page(client, f"/operations/{done}")
    assert "Restore is complete, with warnings" in text
    assert "There are 3 warnings" in text
    assert "2 more warnings" in text
    answer = client.get(f"{PREFIX}/operations/{done}/outcome")
    assert answer.headers["Content-Disposition"] == f"attachment; filename=restore-{done}.json"
    document = json.loads(answer.text)
    assert document["id"] == done
    assert (document["verb"], document["actor"], document["state"]) == (
        "restore",
        "ada",
        "completed",
    )
    assert document["outcome"]["records"]["users"]["overwritten"] == 3
    assert "warnings" not in document["outcome"]
    assert [each["code"] for each in document["warnings"]] == ["unknown_password_scheme"] * 3
    assert len({each["record"] for each in document["warnings"]}) == 3
    assert document["options"]["choice"]["strategy"] == "overwrite"
    assert str(backups.depot.path) not in answer.text


def test_the_outcome_of_what_failed_has_its_faults_and_of_what_runs_there_is_none(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    change_something()
    plan = planned(client, backups, backup, conflict_strategy="fail")
    failed = landed(backups, post(client, f"/plans/{plan}", do="restore"), "operations", "failed")
    document = client.get(f"{PREFIX}/operations/{failed}/outcome").get_json()
    assert document["code"] == "conflicts"
    assert document["outcome"] is None
    assert {fault["code"] for fault in document["faults"]} == {"conflict"}
    assert document["warnings"] == []
    running = remembered(backups, verb="restore")
    assert client.get(f"{PREFIX}/operations/{running}/outcome").status_code == 409


def test_a_restore_is_undone(client: FlaskClient, backups: Backups, backup: str) -> None:
    user = change_something()
    plan = planned(client, backups, backup, conflict_strategy="overwrite")
    answer = post(client, f"/plans/{plan}", do="restore", replaces="2")
    done = landed(backups, answer, "operations")
    html = client.get(f"{PREFIX}/operations/{done}").text
    assert 'data-dialog="undo-dialog"' in html
    assert html.count("btn-primary") == 1
    text = page(client, f"/operations/{done}/undo")
    assert "Undo this restore?" in text
    assert (
        "2 records that the restore replaced are brought back, with their files. Either everything "
        "is undone, or nothing is." in text
    )
    undoing = landed(backups, post(client, f"/operations/{done}/undo"), "operations")
    db.session.refresh(user)
    assert user.email == "old@example.org"
    text = page(client, f"/operations/{undoing}")
    assert "Undo is complete" in text
    assert re.search(r"brought back 1 1 0 0", text)
    assert f"The restore {done}" in text
    assert "Prepare files : done" in text
    text = page(client, f"/operations/{done}")
    assert "This restore was undone just now by admin" in text
    assert "Undo…" not in text
    assert "Undo" in page(client, "/")
    page(client, f"/operations/{done}/undo", status=404)
    assert post(client, f"/operations/{done}/undo").status_code == 404
    document = client.get(f"{PREFIX}/operations/{undoing}/outcome")
    assert f"undo-{undoing}.json" in document.headers["Content-Disposition"]
    assert document.get_json()["outcome"]["undone"] == done


def test_what_changed_nothing_can_not_be_undone(
    app: Flask, client: FlaskClient, backup: str
) -> None:
    with app.app_context():
        done = restored(app, backup).operation
    assert "Undo…" not in page(client, f"/operations/{done}")
    page(client, f"/operations/{done}/undo", status=404)


def test_an_effect_is_summed_up_in_sentences() -> None:
    total = dict.fromkeys(
        ("created", "overwritten", "unchanged", "skipped", "left_out", "not_chosen"), 0
    )
    none = {"place": 0, "replace": 0}
    assert list(plans._changes({**total, "created": 1}, none)) == ["1 record is created."]
    assert list(plans._rest(total)) == []
    some = {"created": 1200, "overwritten": 3, "unchanged": 1, "left_out": 1, "not_chosen": 5}
    assert list(plans._changes({**total, **some}, {"place": 2, "replace": 1})) == [
        "1,200 records are created.",
        "3 records are replaced.",
        "2 files are added.",
        "1 file is replaced.",
    ]
    assert list(plans._rest({**total, **some})) == [
        "1 record stays as it is.",
        "1 record can't be written and is left out.",
        "5 records are not chosen.",
    ]


@pytest.mark.parametrize(
    ("verb", "code", "main"),
    [
        ("create", "missing_docs_file", "Download"),
        ("create", "package_file_changed", "Open the backup"),
        ("verify_all", "damaged_backup", "Create a new backup"),
        ("verify_all", "damaged_copy", "Protection"),
        ("scan", "not_scanned", "Protection"),
        ("restore", "still_hidden", "Back to backups"),
    ],
)
def test_the_main_action_is_what_the_warnings_ask_for(
    client: FlaskClient, backups: Backups, backup: str, verb: str, code: str, main: str
) -> None:
    warnings = [{"code": code, "message": "it is so", "record": None}]
    operation = remembered(
        backups,
        verb=verb,
        state="completed",
        backup_id=backup if verb == "create" else None,
        finished_at=utc_now(),
        duration_seconds=1.0,
        outcome={"warning_count": 1, "warnings": warnings},
    )
    html = client.get(f"{PREFIX}/operations/{operation}").text
    assert re.findall(r'"btn btn-primary" [^>]*>([^<]+?) *<', html) == [main]


def make_admin(name: str, password_hash: str) -> User:
    user = User(
        username=name,
        email=f"{name}@example.org",
        password_hash=password_hash,
        is_admin=True,
    )
    db.session.add(user)
    db.session.commit()
    return user


def password_of(name: str) -> str:
    db.session.expire_all()
    return db.session.scalars(select(User.password_hash).where(User.username == name)).one()


def test_the_grant_is_of_the_plan_and_of_no_other_form_or_address(
    client: FlaskClient, backups: Backups
) -> None:
    root = make_admin("root", "old")
    backup = make_backup(client.application)
    root.password_hash = "new"
    db.session.commit()
    plan = planned(client, backups, backup, conflict_strategy="overwrite")
    form = {"do": "restore", "grant_protected": "on", "protected": "true", "replaces": "1"}
    address = f"/plans/{plan}?grant_protected=on"
    done = landed(backups, post(client, address, **form), "operations")
    assert password_of("root") == "new"
    text = page(client, f"/operations/{done}")
    assert "user root: it holds a protected right here, and stays as it is" in text


def test_an_undo_asks_for_the_grant_where_the_restore_had_it(
    client: FlaskClient, backups: Backups
) -> None:
    root = make_admin("root", "old")
    backup = make_backup(client.application)
    root.password_hash = "new"
    db.session.commit()
    plan = planned(client, backups, backup, conflict_strategy="overwrite", grant_protected="on")
    form = {"do": "restore", "replaces": "1"}
    done = landed(backups, post(client, f"/plans/{plan}", **form), "operations")
    assert password_of("root") == "old"
    assert "Include administrator rights" in page(client, f"/operations/{done}/undo")
    refused = landed(backups, post(client, f"/operations/{done}/undo"), "operations", "failed")
    assert password_of("root") == "old"
    text = page(client, f"/operations/{refused}")
    assert "change accounts that hold a protected right (1): nothing was undone" in text
    assert "user root: it holds a protected right now, and would be replaced" in text
    assert (
        f'href="{PREFIX}/operations/{done}/undo">Undo again…</a>'
        in client.get(f"{PREFIX}/operations/{refused}").text
    )
    undoing = post(client, f"/operations/{done}/undo", grant_protected="on")
    landed(backups, undoing, "operations")
    assert password_of("root") == "new"


def test_an_undo_of_what_was_not_granted_has_nothing_to_ask(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    user = one_user()
    user.email = "other@example.org"
    db.session.commit()
    plan = planned(client, backups, backup, conflict_strategy="overwrite")
    form = {"do": "restore", "replaces": "1"}
    done = landed(backups, post(client, f"/plans/{plan}", **form), "operations")
    assert "Include administrator rights" not in page(client, f"/operations/{done}/undo")


def test_a_tar_of_any_name_in_the_backup_directory_is_offered(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    """An admin copies a file there, and need not know how it has to be called."""
    backup = make_backup(app)
    folder = depot_of(backups).path
    stray = folder / "From the old machine.tar"
    shutil.copy(folder / f"hexhub-backup-{backup}.tar", stray)
    (folder / "elsewhere.tar").symlink_to(stray)
    text = client.get(f"{PREFIX}/restore").text
    assert "Found in the backup directory" in text
    assert "elsewhere.tar" not in text
    page = client.get(f"{PREFIX}/restore?found=From+the+old+machine.tar")
    assert page.status_code == 200
    form = {
        "csrf_token": token(client, f"{PREFIX}/restore"),
        "found": stray.name,
        "conflict_strategy": "overwrite",
    }
    send = partial(client.post, f"{PREFIX}/restore", content_type="multipart/form-data")
    planned = send(data=form)
    assert planned.status_code == 303
    wait_for(lambda: is_idle(app))
    plan = client.get(planned.location)
    assert "From the old machine.tar" in plan.text
    # What somebody has put there stays.
    backups.depot.remove_operation(planned.location.rsplit("/", 1)[1])
    assert stray.exists()
    for name in ("../host.sqlite", "elsewhere.tar", f"hexhub-backup-{backup}.tar"):
        assert client.get(f"{PREFIX}/restore", query_string={"found": name}).status_code == 404
        assert send(data={**form, "found": name}).status_code == 404
    assert send(data={**form, "backup": backup}).status_code == 400
