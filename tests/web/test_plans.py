"""The page of a plan: read, filtered, chosen anew, carried out, and undone."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from examples.host_app.models import Package, User, db
from examples.host_app.seed import ADMIN
from hexhub_backup import verbs
from hexhub_backup.archive.rules import tar
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.notices import NOTICES, Notice
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.planned import PlannedRecord
from hexhub_backup.web import plans
from hexhub_backup.web.lists import RECORDS_PAGE_SIZE
from tests.support.directory import depot_of
from tests.support.hosts import ADA, change_something, file_of, one_package, one_user
from tests.support.instance import DATA
from tests.support.pages import ended, landed, page, planned, post, read, remembered
from tests.support.people import token
from tests.support.plans import fill
from tests.support.serving import PREFIX, make_backup

pytestmark = pytest.mark.usefixtures("storages", "no_prune")


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
    does = r"3 records are replaced\. 1 file is replaced\."
    assert re.search(rf"{does} \d+ records stay as they are\.", text)
    # Once more beside the button, which stays in sight.
    assert re.search(rf"{does} Restore now", text)
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
    left = (
        "it holds a protected right in the archive, and stays as it is, because that was not "
        "granted"
    )
    assert f"user {user.username}: {left}" in text
    assert "It has administrator rights in the archive." in text
    form = {"do": "plan", "conflict_strategy": "overwrite", "users": "on", "grant_protected": "on"}
    other = landed(backups, post(client, page_of, **form), "plans")
    text = page(client, f"/plans/{other}")
    assert "The log-in of 1 administrator changes" in text
    assert f"user {user.username}: from the archive: e-mail" in text
    assert "The rights of 1 account change" in text
    assert f"user {user.username}: is_admin comes from the archive" in text
    assert "Administrator rights are included." in text
    assert backup != granted


def test_an_archive_of_hexhub_is_not_checked_and_its_plan_says_so(
    client: FlaskClient, backups: Backups
) -> None:
    with (DATA / "hexhub-small.tar").open("rb") as file:
        form = {"csrf_token": token(client, f"{PREFIX}/new"), "file": (file, "hexhub.tar")}
        answer = client.post(f"{PREFIX}/restore", data=form)
    text = page(client, f"/plans/{landed(backups, answer, 'plans')}")
    assert "From the file hexhub.tar" in text
    assert "Part of the archive could not be checked" in text
    assert "Restore now" in text


def test_every_notice_has_words_and_the_most_serious_comes_first() -> None:
    assert next(iter(NOTICES)) == "no_right_left"
    for code in NOTICES.values():
        assert code.title(1)
        assert code.title(2)
        assert code.advice
    assert NOTICES["blocked"].title(1) == "1 record can't be written"
    assert NOTICES["blocked"].title(12345) == "12,345 records can't be written"
    assert NOTICES["still_hidden"].title(1) == "1 restored record is still hidden"


def test_a_notice_of_an_unknown_code_can_not_be_made() -> None:
    with pytest.raises(ValueError, match="no notice has the code nonsense"):
        Notice("nonsense", "it is not declared")


def test_a_long_list_of_notes_is_cut_and_leads_to_all_of_it(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    plan = planned(client, backups, backup)
    fill(depot_of(backups).plan(plan), 4, notes=123)
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
    fill(depot_of(backups).plan(plan), 400)
    text = page(client, f"/plans/{plan}")
    assert "1 to 50 of 400" in text
    # First what is in conflict, from one kind to the next.
    assert "25 users in conflict" in text
    assert "package name2 " in text
    assert "release name2 " not in text
    text = page(client, f"/plans/{plan}?page=3")
    assert "101 to 150 of 400" in text
    assert "in conflict email" not in text
    assert "25 users blocked its package is nowhere" in text
    text = page(client, f"/plans/{plan}?state=conflict&page=2")
    assert "51 to 100 of 100" in text
    assert "release name2 name2" in text
    assert "owner name98 name98" in text
    text = page(client, f"/plans/{plan}?kind=releases&text=NAME7&state=blocked")
    assert re.findall(r"release (\S+)", text) == ["name7", "name71", "name75", "name79"]
    text = page(client, f"/plans/{plan}?text=%27%22%25_")
    assert "No records match" in text
    for query in ("kind=tables", "state=lost", "page=9", "page=0", f"page={1 << 70}"):
        page(client, f"/plans/{plan}?{query}", status=404)


def test_records_are_folded_by_kind_and_cause(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    plan = planned(client, backups, backup)
    fill(depot_of(backups).plan(plan), 400)
    # Few are seen at once, and so is what alone is on a page.
    for query, says, opened in (
        ("kind=users", "25 users in conflict email, hash", [False, False]),
        ("kind=users&page=2", "25 users unchanged", [False, False]),
        ("kind=users&text=name1&state=blocked", "3 users blocked its package is nowhere", [True]),
        ("kind=owners&text=name2", "3 owners in conflict email, hash", [True, True, True, False]),
        ("kind=packages&state=create", "25 packages to create", [True]),
        ("page=2", "25 owners in conflict email, hash", [False, False]),
        ("page=8", "25 owners unchanged", [False, False]),
    ):
        assert says in page(client, f"/plans/{plan}?{query}"), query
        html = client.get(f"{PREFIX}/plans/{plan}?{query}").text
        groups = re.findall("<details (open)?>", html.partition('id="entries"')[2])
        assert [bool(each) for each in groups] == opened, query
    fill(depot_of(backups).plan(plan), 1200)
    assert "75 packages in conflict email, hash (50 on this page)" in page(
        client, f"/plans/{plan}?kind=packages"
    )


@pytest.mark.matrix
def test_a_page_of_a_plan_of_100_000_records_reads_but_a_page(
    client: FlaskClient, backups: Backups, backup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(client, backups, backup)
    fill(depot_of(backups).plan(plan), 100_000)
    fetched = []

    def counting(row: Any, make: Any = PlannedRecord.of_row) -> PlannedRecord:
        fetched.append(row)
        return make(row)  # type: ignore[no-any-return]

    monkeypatch.setattr(PlannedRecord, "of_row", counting)
    for query, says in (
        ("", "1 to 50 of 100,000"),
        ("?page=2000", "99,951 to 100,000 of 100,000"),
        ("?kind=owners&state=conflict", "1 to 50 of 6,250"),
        ("?text=name24999", "4 records"),
    ):
        fetched.clear()
        assert says in page(client, f"/plans/{plan}{query}")
        assert len(fetched) <= RECORDS_PAGE_SIZE


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
    with closing(backups.plans.open(other)) as found:
        assert found.choice == Choice(strategy="overwrite", users=False, packages=tuple(names[1:]))
    text = page(client, f"/plans/{other}")
    assert f"No users. {len(names) - 1} of {len(names)} packages: {', '.join(names[1:])}." in text
    assert "Records that already exist and are different are replaced." in text
    assert re.search(r"not chosen 4 1 2 \d", text)
    # All that were chosen, and none else, is ticked; the others can still be.
    html = client.get(f"{PREFIX}/plans/{other}").text
    ticked = r'name="package" value="([^"]+)" checked'
    assert re.findall(ticked, html) == names[1:]
    assert re.findall(r'name="package" value="([^"]+)"', html) == names
    assert 'value="chosen" id="which-chosen" checked' in html
    assert re.search(r'name="users" value="on" aria-describedby="about-users" *>', html)
    # And once more without packages.
    form = {"do": "plan", "which": "none", "users": "on"}
    third = landed(backups, post(client, f"/plans/{other}", **form), "plans")
    with closing(backups.plans.open(third)) as found:
        assert found.choice == Choice(packages=())
    assert "No packages." in page(client, f"/plans/{third}")
    # Of three plans the history tells the last.
    recent = client.get(f"{PREFIX}/").text
    assert f"operations/{third}" in recent
    assert f"operations/{other}" not in recent


def test_a_strategy_is_chosen_where_its_effect_is_seen(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    for path in ("/restore", f"/restore?backup={backup}"):
        assert "conflict_strategy" not in client.get(f"{PREFIX}{path}").text
    # Where nothing is in conflict, no strategy would make a difference.
    plan = planned(client, backups, backup)
    assert "When a record already exists" not in page(client, f"/plans/{plan}")
    change_something()
    db.session.query(User).filter_by(username=ADMIN).one().email = "admin@example.net"
    db.session.commit()
    plan = planned(client, backups, backup)
    text = page(client, f"/plans/{plan}")
    assert re.search("Skip: keep what is here.* 3 records would stay as they are", text)
    # The account that restores stays as it is.
    assert "replace it with the archive’s version 2 records would be replaced" in text
    assert 'value="skip" checked' in client.get(f"{PREFIX}/plans/{plan}").text
    form = {"do": "plan", "conflict_strategy": "overwrite", "users": "on"}
    other = landed(backups, post(client, f"/plans/{plan}", **form), "plans")
    text = page(client, f"/plans/{other}")
    assert "2 records are replaced." in text
    assert "2 records would be replaced" in text
    assert 'value="overwrite" checked' in client.get(f"{PREFIX}/plans/{other}").text


def test_the_form_of_the_restore_page_makes_a_choice(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    plan = planned(client, backups, backup, conflict_strategy="fail", grant_protected="on")
    with closing(backups.plans.open(plan)) as found:
        assert found.choice == Choice(strategy="fail", protected=True)


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        ({"which": "chosen", "users": "on"}, 422, "Choose at least one package"),
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
    count = len(backups.history.operations())
    answer = post(client, f"/plans/{plan}", **{"do": "plan", **form})
    assert answer.status_code == status
    assert says in read(answer)
    assert ('role="alert"' in answer.text) is (status == 422)
    assert len(backups.history.operations()) == count


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
    job = verbs.inspect.order(
        backups.history, ADA, backup, Choice(strategy="overwrite", protected=True)
    )
    plan = backups.orders.run(app, job).operation
    text = page(client, f"/plans/{plan}")
    assert "ada made this plan" in text
    assert "Restore now" not in text
    answer = post(client, f"/plans/{plan}", do="restore", replaces="3")
    assert answer.status_code == 409
    assert "whose own account it spares" in read(answer)
    own = landed(backups, post(client, f"/plans/{plan}", do="again"), "plans")
    with closing(backups.plans.open(own)) as found:
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
    # It begins as a tar does: what does not is refused before there is a plan.
    cut = tmp_path / "cut.tar"
    cut.write_bytes(tar.block(b"manifest.json", 100_000) + bytes(1000))
    with cut.open("rb") as file:
        form = {"csrf_token": token(client, f"{PREFIX}/new"), "file": (file, "cut.tar")}
        answer = client.post(f"{PREFIX}/restore", data=form)
    failed = answer.location.rpartition("/")[2]
    assert ended(backups, failed).state == "failed"
    text = page(client, f"/plans/{failed}")
    assert "This archive can’t be used" in text
    assert "Start again…" in text


def test_a_plan_that_is_gone_says_how_to_go_on(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    plan = planned(client, backups, backup)
    assert "View the plan" in page(client, f"/operations/{plan}")
    backups.depot.kept("plan", plan).remove()
    text = page(client, f"/plans/{plan}", status=404)
    assert "This plan no longer exists" in text
    assert f"{PREFIX}/restore?backup={backup}" in client.get(f"{PREFIX}/plans/{plan}").text
    answer = post(client, f"/plans/{plan}", do="restore")
    assert answer.status_code == 404
    assert "View the plan" not in page(client, f"/operations/{plan}")
    page(client, f"/plans/{backup}", status=404)
    page(client, "/plans/nothing", status=404)


def test_a_plan_whose_archive_is_gone_offers_no_restore(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    change_something()
    plan = planned(client, backups, backup, conflict_strategy="overwrite")
    depot_of(backups).archive(backup).unlink()
    text = page(client, f"/plans/{plan}")
    assert "The archive no longer exists" in text
    assert "Restore now" not in text
    assert post(client, f"/plans/{plan}", do="restore", replaces="2").status_code == 404
    assert post(client, f"/plans/{plan}", do="again").status_code == 404


# restore


# outcome, undo


# rights
