"""The page of a plan: read, filtered, chosen anew, carried out, and undone."""

from __future__ import annotations

import json
import re
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.security import generate_password_hash
from werkzeug.test import TestResponse

from examples.host_app.models import Package, Release, User, db
from examples.host_app.seed import ADMIN
from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.errors import NOTE_CODES, BusyError
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.lock import exclusive
from hexhub_backup.jobs.verbs import Backups
from hexhub_backup.operations import plan as plan_module
from hexhub_backup.operations import progress
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.plan import PlannedRecord
from hexhub_backup.web import overlooked, plans
from tests.engine.hosts import ADA, restored
from tests.example.people import token
from tests.instance import DATA
from tests.plans import fill
from tests.web.serving import PREFIX, backups_of, make_app, make_backup, wait_for
from tests.web.test_pages import ended, page, read, remembered


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    app = make_app(tmp_path / "host")
    with app.app_context():
        backups_of(app).catalog.set_due("prune", utc_now() + timedelta(days=1))
    return app


@pytest.fixture
def backup(app: Flask) -> str:
    return make_backup(app)


def post(client: FlaskClient, path: str, **form: Any) -> TestResponse:
    form["csrf_token"] = token(client, f"{PREFIX}/new")
    return client.post(f"{PREFIX}{path}", data=form)


def planned(client: FlaskClient, backups: Backups, backup: str, **form: str) -> str:
    """Hand a backup to the form, as a browser does; gives the plan's id."""
    form |= {"csrf_token": token(client, f"{PREFIX}/new"), "backup": backup}
    answer = client.post(f"{PREFIX}/restore", data=form, content_type="multipart/form-data")
    return landed(backups, answer, "plans")


def landed(backups: Backups, answer: TestResponse, where: str, state: str = "completed") -> str:
    """Wait for the operation that an answer leads to; gives its id."""
    assert answer.status_code == 303, answer.text
    found, operation = answer.location.removeprefix(f"{PREFIX}/").split("/")
    assert found == where
    done = ended(backups, operation)
    assert done.state == state, done.reason
    wait_for(lambda: is_idle(backups))
    return operation


def is_idle(backups: Backups) -> bool:
    """The lock goes a moment after the operation has ended."""
    try:
        with exclusive(backups.directory.lock):
            return True
    except BusyError:
        return False


def one_user() -> User:
    return (
        db.session.scalars(
            select(User).where(User.username != ADMIN).order_by(User.username)
        ).first()
        or User()
    )


def one_package() -> Package:
    query = select(Package).where(Package.source == "local").order_by(Package.name)
    return db.session.scalars(query).first() or Package()


def change_something(email: str = "old@example.org") -> User:
    """Let an account and a package differ from what was backed up."""
    user, package = one_user(), one_package()
    user.email, user.password_hash = email, generate_password_hash("another one")
    package.meta = {"description": "another one"}
    db.session.commit()
    return user


def file_of(app: Flask, package: Package) -> Path:
    release = package.releases[0]
    file = ReleaseFile("package", package.name, release.version)
    return (
        Path(app.config["HOST_APP_STORAGE"])
        / "hosted"
        / file.member.replace(
            "packages/", f"packages/{package.name}/" if "-" not in package.name else "packages/", 1
        )
    )


# what it shows


def test_a_plan_says_what_a_restore_would_do(
    app: Flask, client: FlaskClient, backups: Backups, backup: str
) -> None:
    before = one_user().email, one_user().password_hash
    user = change_something("<b>old</b>@example.org")
    package = one_package()
    release = package.releases[0]
    path = file_of(app, package)
    path.write_bytes(b"another file, of another size")
    gone = release.version
    html_of = f"/plans/{planned(client, backups, backup, conflict_strategy='overwrite')}"
    text = page(client, html_of)
    assert "What this restore would do" in text
    assert re.search(r"Restoring replaces 3 records and leaves \d+ as they are\.", text)
    assert "1 file is replaced." in text
    assert re.search(r"in conflict 1 1 1 0", text)
    # On top, with what becomes of it.
    assert "1 package file is not the one that is served now" in text
    assert f"release {package.name} {gone}: its package file is replaced: 29 bytes here" in text
    # Record by record.
    assert "here: &lt;b&gt;old&lt;/b&gt;@example.org" in text
    assert f"archive: {before[0]}" in text
    assert "password_hash differs (secret)" in text
    html = client.get(f"{PREFIX}{html_of}").text
    assert before[1] not in html
    assert user.password_hash not in html
    assert "<b>old" not in html
    assert "Package file: here 29 bytes, archive" in text


def test_what_must_not_be_overlooked_comes_the_most_serious_first(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    user = one_user()
    user.is_admin = True
    db.session.commit()
    granted = make_backup(client.application)
    user.is_admin, user.email = False, "old@example.org"
    db.session.commit()
    page_of = f"/plans/{planned(client, backups, granted, conflict_strategy='overwrite')}"
    text = page(client, page_of)
    assert "1 account with administrator rights stays as it is" in text
    left = "it holds a protected right in the archive, and stays as it is, as that was not granted"
    assert f"user {user.username}: {left}" in text
    assert "It has administrator rights in the archive." in text
    form = {"do": "plan", "conflict_strategy": "overwrite", "users": "on", "grant_protected": "on"}
    other = landed(backups, post(client, page_of, **form), "plans")
    text = page(client, f"/plans/{other}")
    assert "The log-in of 1 administrator changes" in text
    assert f"user {user.username}: from the archive: e-mail" in text
    assert "The rights of 1 account change" in text
    assert f"user {user.username}: is_admin comes from the archive" in text
    assert "Administrator rights come in." in text
    assert backup != granted


def test_an_archive_of_hexhub_is_not_checked_and_its_plan_says_so(
    client: FlaskClient, backups: Backups
) -> None:
    with (DATA / "hexhub-small.tar").open("rb") as file:
        form = {"csrf_token": token(client, f"{PREFIX}/new"), "file": (file, "hexhub.tar")}
        answer = client.post(f"{PREFIX}/restore", data=form)
    text = page(client, f"/plans/{landed(backups, answer, 'plans')}")
    assert "From an uploaded archive" in text
    assert "Part of the archive could not be checked" in text
    assert "Restore now" in text


def test_every_note_has_words_and_an_order() -> None:
    known = list(overlooked._WORDS)
    assert known[0] == "no_right_left"
    assert set(NOTE_CODES) <= set(known)
    assert overlooked.title("blocked", 1) == "1 record can't be written"
    assert overlooked.title("blocked", 12345) == "12,345 records can't be written"
    assert overlooked.words("still_hidden").one.startswith("A record was restored")


def test_a_long_list_of_notes_is_cut_and_leads_to_all_of_it(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    plan = planned(client, backups, backup)
    fill(backups.directory.plan(plan), 4, notes=123)
    html = client.get(f"{PREFIX}/plans/{plan}").text
    assert html.count("its package file stays as it is") == 10
    assert "and 113 more" in html
    text = page(client, f"/plans/{plan}?note=package_file_differs&page=3")
    assert "101 to 123 of 123" in text
    assert "release p 122" in text
    page(client, f"/plans/{plan}?note=package_file_differs&page=4", status=404)


# the list


def test_the_list_is_filtered_and_comes_in_pages(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    plan = planned(client, backups, backup)
    fill(backups.directory.plan(plan), 400)
    text = page(client, f"/plans/{plan}")
    assert "1 to 50 of 400" in text
    # From one kind to the next.
    text = page(client, f"/plans/{plan}?page=2")
    assert "51 to 100 of 400" in text
    assert "user name99" in text
    assert "package name0" not in text
    text = page(client, f"/plans/{plan}?page=3")
    assert "user name99" not in text
    assert "package name49" in text
    text = page(client, f"/plans/{plan}?state=conflict&page=2")
    assert "51 to 100 of 100" in text
    assert "release name2 name2" in text
    assert "owner name98 name98" in text
    text = page(client, f"/plans/{plan}?kind=releases&text=NAME7&state=blocked")
    assert re.findall(r"release (\S+)", text) == ["name7", "name71", "name75", "name79"]
    text = page(client, f"/plans/{plan}?text=%27%22%25_")
    assert "No record is like that" in text
    for query in ("kind=tables", "state=lost", "page=9", "page=0", f"page={1 << 70}"):
        page(client, f"/plans/{plan}?{query}", status=404)


def test_a_page_of_a_plan_of_100_000_records_reads_but_a_page(
    client: FlaskClient, backups: Backups, backup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(client, backups, backup)
    fill(backups.directory.plan(plan), 100_000)
    fetched = []

    def counting(row: Any, make: Any = plan_module._planned) -> PlannedRecord:
        fetched.append(row)
        return make(row)  # type: ignore[no-any-return]

    monkeypatch.setattr(plan_module, "_planned", counting)
    for query, says in (
        ("", "1 to 50 of 100,000"),
        ("?page=2000", "99,951 to 100,000 of 100,000"),
        ("?kind=owners&state=conflict", "1 to 50 of 6,250"),
        ("?text=name24999", "1 to 4 of 4"),
    ):
        fetched.clear()
        assert says in page(client, f"/plans/{plan}{query}")
        assert len(fetched) <= plans.PAGE_SIZE


def test_secrets_are_on_no_page_of_a_plan(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    others = db.session.scalars(select(User).where(User.username != ADMIN)).all()
    hashes = {user.password_hash for user in others}
    for user in others:
        user.password_hash = f"scrypt:16:1:1$secret${user.username}"
    db.session.commit()
    plan = planned(client, backups, backup)
    for query in ("", "?state=conflict", "?kind=users"):
        html = client.get(f"{PREFIX}/plans/{plan}{query}").text
        assert "password_hash" in html
        assert "$secret$" not in html
        assert not any(each in html for each in hashes)


# the choice


def test_a_choice_is_planned_anew_and_shown_as_it_was_made(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    names = sorted(db.session.scalars(select(Package.name).where(Package.source == "local")))
    plan = planned(client, backups, backup)
    html = client.get(f"{PREFIX}/plans/{plan}").text
    assert re.findall(r'name="package" value="([^"]+)"', html) == names
    form = {
        "do": "plan",
        "conflict_strategy": "overwrite",
        "which": "chosen",
        "package": names[1:],
    }
    other = landed(backups, post(client, f"/plans/{plan}", **form), "plans")
    assert other != plan
    with closing(backups.plan(other)) as found:
        assert found.choice == Choice(strategy="overwrite", users=False, packages=tuple(names[1:]))
    text = page(client, f"/plans/{other}")
    assert f"No users. {len(names) - 1} of {len(names)} packages: {', '.join(names[1:])}." in text
    assert "What is here already and differs is replaced." in text
    assert re.search(r"not chosen 4 1 2 \d", text)
    # All that were chosen, and none else, is ticked; the others can still be.
    html = client.get(f"{PREFIX}/plans/{other}").text
    ticked = r'name="package" value="([^"]+)" checked'
    assert re.findall(ticked, html) == names[1:]
    assert re.findall(r'name="package" value="([^"]+)"', html) == names
    assert 'value="chosen" id="which-chosen" checked' in html
    assert 'value="overwrite" checked' in html
    assert re.search(r'name="users" value="on" aria-describedby="about-users" *>', html)
    # And once more without packages.
    form = {"do": "plan", "which": "none", "users": "on"}
    third = landed(backups, post(client, f"/plans/{other}", **form), "plans")
    with closing(backups.plan(third)) as found:
        assert found.choice == Choice(packages=())
    assert "No packages." in page(client, f"/plans/{third}")
    # Of three plans the history tells the last.
    recent = client.get(f"{PREFIX}/").text
    assert f"operations/{third}" in recent
    assert f"operations/{other}" not in recent


def test_the_form_of_the_restore_page_makes_a_choice(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    plan = planned(client, backups, backup, conflict_strategy="fail", grant_protected="on")
    with closing(backups.plan(plan)) as found:
        assert found.choice == Choice(strategy="fail", protected=True)


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        ({"which": "chosen", "users": "on"}, 422, "No package is chosen"),
        ({"which": "none"}, 422, "there is nothing to restore"),
        ({"which": "most"}, 400, "There is no choice"),
        ({"conflict_strategy": "mix"}, 400, "There is no strategy"),
        ({"do": "dance"}, 400, "does not say what to do"),
    ],
)
def test_a_choice_that_can_not_be_meant_is_said_where_it_was_made(
    client: FlaskClient, backups: Backups, backup: str, form: dict[str, str], status: int, says: str
) -> None:
    plan = planned(client, backups, backup)
    count = len(backups.operations())
    answer = post(client, f"/plans/{plan}", **{"do": "plan", **form})
    assert answer.status_code == status
    assert says in read(answer)
    assert ('role="alert"' in answer.text) is (status == 422)
    assert len(backups.operations()) == count


def test_of_very_many_packages_the_names_are_typed(
    client: FlaskClient, backups: Backups, backup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "_TICKED", 1)
    names = sorted(db.session.scalars(select(Package.name).where(Package.source == "local")))
    plan = planned(client, backups, backup)
    assert 'name="package"' not in client.get(f"{PREFIX}/plans/{plan}").text
    form = {"do": "plan", "which": "chosen", "users": "on"}
    typed = f" {names[0]},\r\n{names[1]}\r\n"
    other = landed(backups, post(client, f"/plans/{plan}", **form, packages=typed), "plans")
    assert f">{names[0]}\n{names[1]}</textarea>" in client.get(f"{PREFIX}/plans/{other}").text
    answer = post(client, f"/plans/{other}", **form, packages="no_such_package")
    failed = landed(backups, answer, "plans", "failed")
    text = page(client, f"/plans/{failed}")
    assert "Inspection failed" in text
    assert "The archive has no package no_such_package" in text
    assert "Back to the plan" in text
    assert f'href="{PREFIX}/plans/{other}"' in client.get(f"{PREFIX}/plans/{failed}").text


# who, and when


def test_the_plan_of_another_admin_is_theirs(
    app: Flask, client: FlaskClient, backups: Backups, backup: str
) -> None:
    change_something()
    db.session.query(User).filter_by(username=ADMIN).one().email = "admin@example.net"
    db.session.commit()
    job = backups.inspect(app, ADA, backup, Choice(strategy="overwrite", protected=True))
    plan = backups.run(job).operation
    text = page(client, f"/plans/{plan}")
    assert "This is the plan of ada" in text
    assert "Restore now" not in text
    answer = post(client, f"/plans/{plan}", do="restore", replaces="3")
    assert answer.status_code == 409
    assert "whose own account it spares" in read(answer)
    own = landed(backups, post(client, f"/plans/{plan}", do="again"), "plans")
    with closing(backups.plan(own)) as found:
        assert found.choice == Choice(strategy="overwrite", protected=True)
        assert found.about["actor"] == ADMIN
    text = page(client, f"/plans/{own}")
    assert "Restore now" in text
    assert f"user {ADMIN}: it is the account that restores, and stays as it is" in text


def test_an_inspection_that_runs_or_ended_badly_is_shown_in_place_of_its_plan(
    client: FlaskClient, backups: Backups, tmp_path: Path
) -> None:
    running = remembered(backups, verb="inspect")
    html = client.get(f"{PREFIX}/plans/{running}").text
    assert "Inspection is running" in html
    assert f'data-live="{PREFIX}/operations/{running}/live"' in html
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in html
    assert "operation.js" in html
    assert post(client, f"/plans/{running}", do="restore").location == f"{PREFIX}/plans/{running}"
    photo = tmp_path / "photo.tar"
    photo.write_bytes(b"\xff\xd8\xff" + bytes(1000))
    with photo.open("rb") as file:
        form = {"csrf_token": token(client, f"{PREFIX}/new"), "file": (file, "photo.tar")}
        answer = client.post(f"{PREFIX}/restore", data=form)
    failed = answer.location.rpartition("/")[2]
    assert ended(backups, failed).state == "failed"
    text = page(client, f"/plans/{failed}")
    assert "The archive is refused" in text
    assert "Start again…" in text


def test_a_plan_that_is_gone_says_how_to_go_on(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    plan = planned(client, backups, backup)
    assert "See the plan" in page(client, f"/operations/{plan}")
    backups.directory.remove_plan(plan)
    text = page(client, f"/plans/{plan}", status=404)
    assert "There is no plan here any more" in text
    assert f"{PREFIX}/restore?backup={backup}" in client.get(f"{PREFIX}/plans/{plan}").text
    answer = post(client, f"/plans/{plan}", do="restore")
    assert answer.status_code == 404
    assert "See the plan" not in page(client, f"/operations/{plan}")
    page(client, f"/plans/{backup}", status=404)
    page(client, "/plans/nothing", status=404)


def test_a_plan_whose_archive_is_gone_offers_no_restore(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    change_something()
    plan = planned(client, backups, backup, conflict_strategy="overwrite")
    backups.directory.archive(backup).unlink()
    text = page(client, f"/plans/{plan}")
    assert "The archive is not there any more" in text
    assert "Restore now" not in text
    assert post(client, f"/plans/{plan}", do="restore", replaces="2").status_code == 404
    assert post(client, f"/plans/{plan}", do="again").status_code == 404


# restore


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
    assert "Type the number of records that are replaced (2)" in page(client, f"/plans/{plan}")
    for typed in ("", "3", "two", "<2"):
        answer = post(client, f"/plans/{plan}", do="restore", replaces=typed, backup_first="on")
        assert answer.status_code == 422
        assert "Nothing was done: type 2." in read(answer)
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
    assert "Nothing would be restored 2 records are here already and differ" in re.sub(
        r" ! ", " ", text
    ).replace("  ", " ")
    assert "Restore now" not in text
    assert html.count("btn-primary") == 1
    assert '<details class="mt-3 rounded-box border border-base-300" open>' in html
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
    assert "Everything that was chosen is here already." in text
    assert "Restore now" not in text
    change_something()
    text = page(client, f"/plans/{planned(client, backups, backup)}")
    assert "2 records differ and stay as they are." in text


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
    assert "Make a fresh plan" in text
    html = client.get(f"{PREFIX}/operations/{failed}").text
    assert f'action="{PREFIX}/plans/{plan}"' in html
    assert html.count("btn-primary") == 1
    fresh = landed(backups, post(client, f"/plans/{plan}", do="again"), "plans")
    with closing(backups.plan(fresh)) as found:
        assert found.choice == Choice(strategy="overwrite")
    answer = post(client, f"/plans/{fresh}", do="restore", replaces="2")
    landed(backups, answer, "operations")


# outcome, undo


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
    assert str(backups.directory.path) not in answer.text


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
        "The 2 records that this restore replaced are brought back, with their files: all at once"
        in text
    )
    undoing = landed(backups, post(client, f"/operations/{done}/undo"), "operations")
    db.session.refresh(user)
    assert user.email == "old@example.org"
    text = page(client, f"/operations/{undoing}")
    assert "Undo is complete" in text
    assert re.search(r"brought back 1 1 0 0", text)
    assert f"The restore {done}" in text
    assert "Set files aside : done" in text
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


def test_an_effect_is_told_in_sentences() -> None:
    total = dict.fromkeys(
        ("created", "overwritten", "unchanged", "skipped", "left_out", "not_chosen"), 0
    )
    none = {"place": 0, "replace": 0}
    assert plans._sentence({**total, "created": 1}, none) == "Restoring creates 1 record."
    some = {"created": 1200, "overwritten": 3, "unchanged": 1, "left_out": 1, "not_chosen": 5}
    assert plans._sentence({**total, **some}, {"place": 2, "replace": 1}) == (
        "Restoring creates 1,200 records, replaces 3 and leaves 1 as it is. 1 record can't be "
        "written and is left out. 5 records are not chosen. 2 files are placed and 1 is replaced."
    )


# rights


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
    assert "Administrator rights too" in page(client, f"/operations/{done}/undo")
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
    assert "Administrator rights too" not in page(client, f"/operations/{done}/undo")
