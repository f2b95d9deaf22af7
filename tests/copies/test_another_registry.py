"""Two registries may copy to one place: what a scan finds of another one stays that one's."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from hexhub_backup import DirectoryDestination, verbs
from hexhub_backup.history.instance import instance_id
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.sidecar import sidecar_file
from hexhub_backup.retention import Rules
from hexhub_backup.watching.status import status
from tests.support.commands import cli, created
from tests.support.directory import depot_of
from tests.support.hosts import ADA, make_app
from tests.support.instance import Instance
from tests.support.pages import page, post


@pytest.fixture
def app(instance: Instance, nas: DirectoryDestination, uri: str | None) -> Flask:
    """A host with one place."""
    return make_app(instance.path, {} if uri is None else {"SQLALCHEMY_DATABASE_URI": uri})


def other(tmp_path: Path, name: str = "other", backups: int = 1) -> list[str]:
    """The backups that another registry has copied to the same place."""
    instance = Instance(tmp_path / name)
    instance.seed(users=2, packages=2, releases=1, file_size=100)
    made = []
    for _ in range(backups):
        done = instance.backups("create", "--json")
        states = {copy["place"]: copy["state"] for copy in done["copies"]}
        assert states["nas"] == "copied"
        made.append(done["id"])
    return made


def scan(app: Flask, backups: Backups) -> dict[str, Any]:
    return backups.orders.run(app, verbs.scan.order(ADA, ["nas"])).outcome


def copied(app: Flask, backups: Backups) -> str:
    backup = created(app)
    assert [failure for _, failure in backups.copying.run_due(app, ADA)] == [None]
    return backup


def forget(backups: Backups, *, database: bool = False) -> None:
    """As if the server were new, with or without its database."""
    for backup in backups.history.backups():
        depot_of(backups).archive(backup.id).unlink(missing_ok=True)
        for copy in backup.copies:
            backups.catalog.copies.remove(backup.id, copy.place)
        backups.catalog.delete_backup(backup.id)
    if database:
        with backups.catalog.engine().begin() as connection:
            connection.exec_driver_sql("DELETE FROM hexhub_backup_instance")


def make_old(backups: Backups, *names: str) -> None:
    old = utc_now() - timedelta(days=400)
    for each in names:
        backups.catalog.update_backup(each, created_at=old, adopted_at=old)


def test_what_another_registry_has_made_is_deleted_by_no_rule(
    app: Flask, backups: Backups, tmp_path: Path, nas: DirectoryDestination
) -> None:
    own = copied(app, backups)
    foreign = other(tmp_path)
    before = {each.name for each in nas.list()}
    outcome = scan(app, backups)
    assert (outcome["adopted"], outcome["foreign"]) == (foreign, foreign)
    found = backups.history.backup(foreign[0])
    assert (found.foreign, found.good, found.held) == (True, True, ("another registry",))
    make_old(backups, *foreign)
    assert backups.orders.run(app, verbs.prune.order(ADA)).outcome["backups"] == []
    assert {each.name for each in nas.list()} == before
    # Until an admin says so.
    assert cli(app, "keep", foreign[0], "--off").exit_code == 0
    assert not backups.history.backup(foreign[0]).foreign
    make_old(backups, *foreign)
    outcome = backups.orders.run(app, verbs.prune.order(ADA)).outcome
    assert (outcome["backups"], outcome["copies"]) == ([], {foreign[0]: ["nas"]})
    assert [each.id for each in backups.history.backups()] == [own]
    assert all(foreign[0] not in each.name for each in nas.list())


def test_it_takes_no_place_of_ours_and_hides_no_silence(
    app: Flask, backups: Backups, tmp_path: Path
) -> None:
    own = copied(app, backups)
    foreign = other(tmp_path, backups=3)
    scan(app, backups)
    rules = Rules(last=1)
    history = dataclasses.replace(backups.history, rules=rules, places={"nas": rules})
    held = {each.id: names for each, names in history.held(history.all_rules)["nas"]}
    assert held == {own: ("last",), **dict.fromkeys(foreign, ("another registry",))}
    assert history.expired() == history.expired("nas") == []
    # Ours is old, whatever others have.
    make_old(backups, own)
    backups.catalog.update_backup(own, adopted_at=None)
    found = status(backups.history, backups.settings, backups.destinations, utc_now())
    assert {each.code for each in found.problems} == {"overdue", "copy_overdue"}
    assert found.good is not None
    assert found.good.id == own
    assert [(each.name, each.copies) for each in found.places if each.name == "nas"] == [("nas", 1)]
    assert backups.history.latest_copies()["nas"][0].id == own


def took(app: Flask) -> Any:
    """How many backups were taken over, or why none was."""
    done = cli(app, "destinations", "take-over", "--yes", "--json")
    found = json.loads(done.stdout)
    return found["taken_over"] if done.exit_code == 0 else found["error"]["code"]


@pytest.mark.usefixtures("database")
def test_a_new_machine_goes_on_as_the_one_that_was_lost_when_somebody_says_so(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    before = copied(app, backups)
    was = instance_id(backups.catalog.engine)
    forget(backups, database=True)
    # A test system would find it, too, and the registry that made it still runs.
    outcome = scan(app, backups)
    assert (outcome["adopted"], outcome["foreign"]) == ([before], [before])
    assert backups.history.backup(before).good
    assert took(app) == 1
    assert instance_id(backups.catalog.engine) == was
    assert not backups.history.backup(before).foreign
    # And what it makes is that registry's, too.
    after = copied(app, backups)
    beside = json.loads((nas.path / sidecar_file(after)).read_bytes())
    assert beside["instance"] == was


def test_what_is_found_after_that_is_its_own(app: Flask, backups: Backups) -> None:
    copied(app, backups)
    second = copied(app, backups)
    forget(backups, database=True)
    scan(app, backups)
    for copy in backups.catalog.copies.of(second):
        backups.catalog.copies.remove(second, copy.place)
    backups.catalog.delete_backup(second)
    assert took(app) == 1
    outcome = scan(app, backups)
    assert (outcome["adopted"], outcome["foreign"]) == ([second], [])


def test_of_several_registries_a_new_machine_is_none(
    app: Flask, backups: Backups, tmp_path: Path
) -> None:
    copied(app, backups)
    other(tmp_path)
    forget(backups, database=True)
    assert len(scan(app, backups)["foreign"]) == 2
    assert took(app) == "not_found"
    assert {each.foreign for each in backups.history.backups()} == {True}


def test_a_new_machine_takes_no_copy_of_which_nothing_says_who_made_it(
    app: Flask, backups: Backups, nas: DirectoryDestination, tmp_path: Path
) -> None:
    ours = copied(app, backups)
    (unknown,) = other(tmp_path)
    (nas.path / sidecar_file(unknown)).unlink()
    forget(backups, database=True)
    scan(app, backups)
    assert took(app) == 1
    assert backups.history.backup(unknown).foreign
    assert not backups.history.backup(ours).foreign


def test_a_machine_goes_on_as_one_registry_only(
    app: Flask, backups: Backups, tmp_path: Path
) -> None:
    copied(app, backups)
    forget(backups, database=True)
    scan(app, backups)
    assert took(app) == 1
    foreign = other(tmp_path)
    assert scan(app, backups)["foreign"] == foreign
    assert took(app) == "not_found"


def test_a_registry_that_has_made_a_backup_is_no_new_machine(
    app: Flask, backups: Backups, tmp_path: Path
) -> None:
    copied(app, backups)
    other(tmp_path)
    scan(app, backups)
    assert took(app) == "not_found"


def test_a_new_machine_is_asked_whether_the_old_one_is_lost(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    made = copied(app, backups)
    forget(backups, database=True)
    output = cli(app, "destinations", "scan").output
    assert "run 'flask backups destinations take-over'" in output
    asked = cli(app, "destinations", "take-over", typed="n\n")
    assert asked.exit_code == 1
    assert "Go on as that one?" in asked.output
    assert backups.history.backup(made).foreign
    assert "Is this the new machine of a registry that was lost?" in page(client, "/")
    assert post(client, "/protection/take-over").status_code == 303
    assert "Is this the new machine" not in page(client, "/")
    assert not backups.history.backup(made).foreign
    assert post(client, "/protection/take-over").status_code == 404


def test_what_says_nothing_of_who_made_it_is_not_ours_where_we_have_made_some(
    app: Flask, backups: Backups, nas: DirectoryDestination, tmp_path: Path
) -> None:
    (foreign,) = other(tmp_path)
    (nas.path / sidecar_file(foreign)).unlink()
    copied(app, backups)
    assert scan(app, backups)["foreign"] == [foreign]
    assert backups.history.backup(foreign).origin == "unknown"


def test_the_pages_and_the_command_line_say_so(
    app: Flask, client: FlaskClient, backups: Backups, tmp_path: Path
) -> None:
    copied(app, backups)
    (foreign,) = other(tmp_path)
    output = cli(app, "destinations", "scan").output
    assert f"Backup {foreign} is adopted as another registry's" in output
    assert "keep ID --off" in output
    assert "kept: another registry" in cli(app, "list").output
    assert "of another registry" in page(client, "/")
    text = page(client, f"/{foreign}")
    assert "of another registry" in text
    assert "kept: another registry" in text
    assert "Allow to expire" in text
    assert post(client, f"/{foreign}/keep", kept="off").status_code == 303
    assert "of another registry" not in page(client, f"/{foreign}")
