"""Each place keeps backups by rules of its own: what goes in one stays in another."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from hexhub_backup import DirectoryDestination, HexHubBackup, S3Destination, verbs
from hexhub_backup.depot.names import id_of_copy
from hexhub_backup.destinations.directory import MARKER
from hexhub_backup.errors import BusyError, PruneRefusedError, SettingError
from hexhub_backup.history.expiring import expire_copy
from hexhub_backup.history.models import Copy, Operation
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.retention import Rules
from hexhub_backup.schedule.tick import tick
from tests.support.commands import cli, created, refused
from tests.support.encrypted import copied
from tests.support.hosts import ADA
from tests.support.instance import Instance
from tests.support.pages import page
from tests.support.patience import wait_for
from tests.support.s3 import Fate, S3Server, between

pytestmark = pytest.mark.usefixtures("host")


def by(backups: Backups, here: Rules, **places: Rules) -> None:
    """Let the places have these rules, as if the app had been made with them."""
    for name, destination in backups.destinations.items():
        own = places[name].as_dict() if name in places else None
        destination.retention = own  # type: ignore[attr-defined]
    places = {"nas": here, "offsite": here, **places}
    backups.history = dataclasses.replace(backups.history, rules=here, places=places)
    backups.copying = dataclasses.replace(backups.copying, history=backups.history)


def aged(app: Flask, backups: Backups, *ages: int) -> list[str]:
    """Backups of so many days ago, each with a copy in both places."""
    made = [copied(app, backups)["nas"].backup_id for _ in ages]
    for name, age in zip(made, ages, strict=True):
        backups.catalog.update_backup(name, created_at=utc_now() - timedelta(days=age))
    return made


def copy_in(backups: Backups, backup: str, place: str) -> Copy | None:
    found = {copy.place: copy for copy in backups.catalog.copies.of(backup)}
    return found.get(place)


def there(backups: Backups, place: str) -> set[str]:
    """The backups whose archives lie in a place."""
    if place == "here":
        return set(backups.depot.archives())
    names = (each.name for each in backups.destinations[place].list())
    return {backup for name in names if (backup := id_of_copy(name)) is not None}


def pruned(app: Flask, backups: Backups) -> dict[str, Any]:
    return backups.orders.run(app, verbs.prune.order(ADA)).outcome


@pytest.mark.usefixtures("database")
def test_what_goes_in_one_place_stays_in_another(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    made = aged(app, backups, 0, 1, 2, 50)
    by(backups, Rules(last=1), nas=Rules(daily=3), offsite=Rules(days=90))
    outcome = pruned(app, backups)
    assert outcome["backups"] == [made[3], made[2], made[1]]
    assert outcome["copies"] == {made[3]: ["nas"]}
    assert there(backups, "here") == {made[0]}
    assert there(backups, "nas") == {*made[:3]}
    assert there(backups, "offsite") == {*made}
    for name in made[1:]:
        backup = backups.history.backup(name)
        assert backup.good
        assert backup.elsewhere is not None
        assert backup.elsewhere.place == ("offsite" if name == made[3] else "nas")
        assert backup.held == (("days",) if name == made[3] else ("daily",))
    # Nothing of it comes back, and a second clean-up finds nothing to do.
    assert tick(app, clock=lambda: utc_now() + timedelta(minutes=1)) == []
    assert pruned(app, backups)["copies"] == {}
    assert "Clean-up" in page(client, "/")
    text = page(client, f"/{made[3]}")
    assert "nas no copy" in text
    assert "expires in" in text
    assert "kept: daily" in page(client, f"/{made[1]}")


def waiting_to_go(app: Flask, backups: Backups, nas: DirectoryDestination) -> list[str]:
    """Two backups, the older of which would have been deleted in `nas`, had that been there."""
    made = aged(app, backups, 0, 1)
    by(backups, Rules(last=2), nas=Rules(last=1))
    (nas.path / MARKER).unlink()
    pruned(app, backups)
    copy = copy_in(backups, made[1], "nas")
    assert copy is not None
    assert (copy.state, copy.delete_reason) == ("deleting", "expired")
    nas.init()
    return made


def test_an_expired_copy_stays_where_the_newer_one_was_found_damaged_before_it_had_gone(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    newer, older = waiting_to_go(app, backups, nas)
    backups.catalog.copies.update(newer, "nas", intact=False, verified_at=utc_now())
    outcome = backups.orders.run(app, verbs.delete_copies.order(ADA)).outcome
    assert outcome["copies"] == {}
    copy = copy_in(backups, older, "nas")
    assert copy is not None
    assert copy.good
    # The clock looks at it again.
    assert (copy.verified_at, copy.delete_reason, copy.reason) == (None, None, None)
    assert copy.intact is None
    assert there(backups, "nas") == {newer, older}
    assert pruned(app, backups)["copies"] == {}


def test_an_expired_copy_stays_where_its_backup_is_kept_before_it_had_gone(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    newer, older = waiting_to_go(app, backups, nas)
    backups.history.keep(older)
    assert pruned(app, backups)["copies"] == {}
    assert there(backups, "nas") == {newer, older}


def test_an_expired_copy_of_which_a_part_has_gone_goes_whole(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    _, older = waiting_to_go(app, backups, nas)
    backups.history.keep(older)
    copy = copy_in(backups, older, "nas")
    assert copy is not None
    nas.path.joinpath(str(copy.file)).unlink()
    assert pruned(app, backups)["copies"] == {older: ["nas"]}
    assert [each for each in nas.path.iterdir() if older in each.name] == []


def test_one_of_which_a_part_has_gone_takes_no_place_of_one_that_is_whole(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    newest, half, whole = aged(app, backups, 0, 1, 2)
    by(backups, Rules(last=3), nas=Rules(last=1))
    (nas.path / MARKER).unlink()
    pruned(app, backups)
    nas.init()
    copy = copy_in(backups, half, "nas")
    assert copy is not None
    nas.path.joinpath(str(copy.file)).unlink()
    backups.catalog.copies.update(newest, "nas", intact=False, verified_at=utc_now())
    assert pruned(app, backups)["copies"] == {half: ["nas"]}
    assert there(backups, "nas") == {newest, whole}
    copy = copy_in(backups, whole, "nas")
    assert copy is not None
    assert copy.good


def test_an_expired_copy_that_nothing_holds_goes_when_its_place_is_back(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    newer, older = waiting_to_go(app, backups, nas)
    assert pruned(app, backups)["copies"] == {older: ["nas"]}
    assert there(backups, "nas") == {newer}


def test_a_process_that_lacks_the_places_deletes_nothing_in_them(
    app: Flask, backups: Backups
) -> None:
    made = aged(app, backups, 0, 40, 50)
    backups.history.keep(made[2])
    by(backups, Rules(days=30), nas=Rules(days=90), offsite=Rules(days=90))
    assert pruned(app, backups)["backups"] == [made[1]]
    places = backups.history.places
    backups.history = dataclasses.replace(backups.history, places={})
    assert pruned(app, backups)["backups"] == []
    states = {copy.place: copy.state for copy in backups.catalog.copies.of(made[1])}
    assert states == {"nas": "copied", "offsite": "copied"}
    backups.history = dataclasses.replace(backups.history, places=places)
    assert pruned(app, backups)["copies"] == {}
    assert backups.history.backup(made[1]).good
    assert there(backups, "nas") == there(backups, "offsite") == {*made}


def test_a_copy_goes_while_the_backup_stays_and_is_not_made_again(
    app: Flask, backups: Backups
) -> None:
    made = aged(app, backups, 0, 1, 2)
    by(backups, Rules(days=30), nas=Rules(last=1))
    outcome = pruned(app, backups)
    assert outcome["backups"] == []
    assert outcome["copies"] == {made[1]: ["nas"], made[2]: ["nas"]}
    assert there(backups, "nas") == {made[0]}
    assert there(backups, "here") == there(backups, "offsite") == {*made}
    # By nobody: neither what is due, nor what is asked for.
    assert list(backups.copying.run_due(app, ADA)) == []
    assert backups.copying.next_at() is None
    error = refused(app, "copy", made[1], "--to", "nas")
    assert error["code"] == "not_held"
    assert "Keep the backup, or change the rules" in error["message"]
    said = cli(app, "copy", made[1])
    assert said.exit_code == 0
    assert "is not copied to nas" in said.stdout
    assert "No copy is due." in said.stdout
    assert there(backups, "nas") == {made[0]}
    # A pin holds it everywhere.
    backups.history.keep(made[1])
    assert cli(app, "copy", made[1], "--to", "nas").exit_code == 0
    pruned(app, backups)
    assert there(backups, "nas") == {made[0], made[1]}


def test_what_a_place_would_delete_at_once_is_not_copied_there(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    by(backups, Rules(days=30), nas=Rules(last=1))
    (nas.path / MARKER).unlink()
    older = created(app)
    list(backups.copying.run_due(app, ADA))
    newer = created(app)
    nas.init()
    for each in (older, newer):
        backups.catalog.copies.update(each, "nas", due_at=utc_now())
    made = [(copy.backup_id, copy.place) for copy, _ in backups.copying.run_due(app, ADA)]
    assert sorted(made) == [(newer, "nas"), (newer, "offsite")]
    # What its first attempt may have left goes, and the backup stays.
    copy = copy_in(backups, older, "nas")
    assert copy is not None
    assert copy.state == "deleting"
    pruned(app, backups)
    assert copy_in(backups, older, "nas") is None
    assert there(backups, "here") == {older, newer}


def test_the_newest_good_one_of_each_place_stays(app: Flask, backups: Backups) -> None:
    made = aged(app, backups, 0, 1, 2)
    for place, intact in (("nas", False), ("offsite", None)):
        backups.catalog.copies.update(made[0], place, intact=intact)
        backups.catalog.copies.update(made[1], place, intact=True, verified_at=utc_now())
        backups.catalog.copies.update(made[2], place, intact=True, verified_at=utc_now())
    by(backups, Rules(last=1))
    pruned(app, backups)
    assert there(backups, "here") == {made[0]}
    # One that is damaged takes no place, and stays for the days; one that was never verified takes
    # none of one that was.
    assert there(backups, "nas") == there(backups, "offsite") == {made[0], made[1]}


def test_one_that_is_missing_takes_no_place_and_is_forgotten_after_the_days(
    app: Flask, backups: Backups
) -> None:
    made = aged(app, backups, 0, 1, 40)
    for name in (made[0], made[2]):
        backups.catalog.copies.update(name, "nas", state="missing")
    by(backups, Rules(days=90), nas=Rules(last=1))
    pruned(app, backups)
    left = {name: copy_in(backups, name, "nas") for name in made}
    assert left[made[2]] is None
    assert [None if copy is None else copy.state for copy in left.values()] == [
        "missing",
        "copied",
        None,
    ]
    assert there(backups, "here") == {*made}


def test_one_in_use_stays_until_the_next_time(app: Flask, backups: Backups) -> None:
    made = aged(app, backups, 0, 1)
    by(backups, Rules(days=30), nas=Rules(last=1), offsite=Rules(last=1))
    order = verbs.verify.order(backups.history, ADA, made[1], "nas")
    operation = Operation(
        id=order.id,
        verb=order.verb,
        state="running",
        actor="ada",
        backup_id=made[1],
        options=order.options,
        queued_at=utc_now(),
    )
    backups.catalog.add_operation(operation)
    # Kept by somebody since it was looked at.
    backups.catalog.update_backup(made[1], kept=True)
    with pytest.raises(BusyError, match="is kept by now"):
        expire_copy(backups.history, made[1], "offsite")
    backups.catalog.update_backup(made[1], kept=False)
    with pytest.raises(BusyError, match="uses the copy in nas"):
        expire_copy(backups.history, made[1], "nas")
    expire_copy(backups.history, made[1], "offsite")
    copy = copy_in(backups, made[1], "nas")
    assert copy is not None
    assert copy.state == "copied"


def test_a_clock_that_jumped_deletes_nothing_in_the_place_whose_rules_go_by_it(
    app: Flask, backups: Backups
) -> None:
    made = aged(app, backups, 0, *range(40, 46))
    by(backups, Rules(last=1), nas=Rules(days=30), offsite=Rules(last=2))
    dry = cli(app, "prune", "--dry-run").stdout
    assert "nas: 6 of 7 copies in nas have expired by the clock" in dry
    with pytest.raises(PruneRefusedError, match="6 of 7 copies in nas"):
        pruned(app, backups)
    assert there(backups, "nas") == {*made}
    assert there(backups, "here") == {made[0]}
    assert there(backups, "offsite") == {*made[:2]}
    # Refused on this server, nothing goes anywhere.
    by(backups, Rules(days=30), offsite=Rules(last=1))
    aged(app, backups, *range(50, 60))
    with pytest.raises(PruneRefusedError, match="10 of 11 backups"):
        pruned(app, backups)
    assert len(there(backups, "offsite")) == 12


def test_a_locked_copy_is_good_until_its_day(
    app: Flask, client: FlaskClient, backups: Backups, moto: S3Server
) -> None:
    offsite = moto.destination(moto.bucket(lock=True), lock_days=3)
    backups.destinations = {"offsite": offsite}
    backups.copying = dataclasses.replace(backups.copying, destinations=backups.destinations)
    older, _ = (created(app) for _ in range(2))
    done = [copy.state for copy, _ in backups.copying.run_due(app, ADA)]
    assert done == ["copied", "copied"]
    by(backups, Rules(last=1))
    backups.catalog.update_backup(older, created_at=utc_now() - timedelta(days=1))
    pruned(app, backups)
    found = backups.history.backup(older)
    assert found.elsewhere is not None
    assert (found.held, found.elsewhere.state) == (("locked",), "copied")
    assert "kept: locked" in cli(app, "prune", "--dry-run").stdout
    assert "kept: locked" in page(client, f"/{older}")
    # After its day it goes with the first clean-up; where the place says otherwise, it stays.
    backups.catalog.copies.update(older, "offsite", locked_until=utc_now())
    pruned(app, backups)
    copy = copy_in(backups, older, "offsite")
    assert copy is not None
    assert (copy.state, copy.delete_reason) == ("deleting", "expired")
    assert copy.locked_until is not None
    assert copy.locked_until > utc_now()


def test_it_is_shown_what_holds_each_in_each_place(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    made = aged(app, backups, 0, 1, 2)
    by(backups, Rules(days=30), nas=Rules(last=1, daily=2), offsite=Rules(daily=1))
    shown = json.loads(cli(app, "prune", "--dry-run", "--json").stdout)
    assert shown["backups"] == []
    assert shown["held"] == {name: ["days"] for name in reversed(made)}
    assert shown["places"]["nas"]["backups"] == [made[2]]
    assert shown["places"]["nas"]["held"] == {
        made[0]: ["last", "daily"],
        made[1]: ["daily"],
        made[2]: [],
    }
    assert shown["places"]["offsite"]["backups"] == [made[2], made[1]]
    lines = cli(app, "prune", "--dry-run").stdout.splitlines()
    assert lines[0] == "0 backups would be deleted."
    at = lines.index("nas: 1 copy would be deleted.")
    assert lines[at + 1].endswith("kept: last, daily")
    assert lines[at + 3].endswith("would be deleted")
    assert "copy:      nas: copied, kept: daily" in cli(app, "show", made[1]).stdout
    text = page(client, "/retention")
    assert "By the rules that are set (30 days), the next clean-up would delete nothing" in text
    assert "In nas, by the rules that are set (the last 1, 2 daily), it would delete 1 copy" in text
    assert "here kept: days nas kept: daily offsite deleted" in text
    # Other rules of one place are those of that place alone.
    text = page(client, "/retention?place=nas&last=3")
    assert "In nas, by these rules (the last 3), it would delete nothing" in text
    assert "retention={&#34;last&#34;: 3}" in text
    assert page(client, "/retention?place=nowhere", status=404)
    text = page(client, "/")
    assert "in 30 days nas kept: last, daily offsite kept: daily" in text
    assert "offsite expired" in text
    # And those of this server are those of a place that has none.
    by(backups, Rules(days=30), offsite=Rules(daily=1))
    text = page(client, "/retention?last=2&days=0")
    assert "In nas, by these rules (the last 2), it would delete 1 copy" in text


def test_rules_that_can_not_work_are_refused_where_they_are_given(
    app: Flask, tmp_path: Path
) -> None:
    known = backups_of(app)

    def made(*destinations: Any, **config: Any) -> Backups:
        other = Flask("other", instance_path=str(tmp_path))
        other.config.update(config)
        HexHubBackup(
            other,
            registry=known.registry,
            storage=known.storage,
            authorize=lambda: True,
            actor=lambda: "ada",
            destinations=destinations,
        )
        return backups_of(other)

    wrong: list[tuple[Any, str]] = [
        ({"hourly": 3}, "has a rule 'hourly'"),
        ({"daily": -1}, "has -1 for daily"),
        ({}, "by which no backup would stay"),
        (7, "it has to be a dict of rules"),
    ]
    for retention, why in wrong:
        for destination in (
            DirectoryDestination("nas", tmp_path, retention=retention),
            S3Destination("nas", bucket="a", retention=retention),
        ):
            with pytest.raises(SettingError, match=f"^retention= of the destination nas .*{why}"):
                made(destination)
    found = made(
        DirectoryDestination("nas", tmp_path, retention={"monthly": 12}),
        DirectoryDestination("tape", tmp_path / "tape"),
        HEXHUB_BACKUP_RETENTION={"daily": 7},
        HEXHUB_BACKUP_TIMEZONE="Europe/Berlin",
    )
    nas, tape = found.history.places["nas"], found.history.places["tape"]
    assert nas == dataclasses.replace(found.settings.rules, daily=0, monthly=12)
    assert tape == found.settings.rules


def test_a_prune_that_is_killed_while_a_place_hangs_is_finished_by_the_next(
    app: Flask,
    backups: Backups,
    instance: Instance,
    localbucket: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = aged(app, backups, 0, 40, 41)

    def fate(_: int, request: str) -> Fate:
        return "hang" if request.startswith("DELETE") else "pass"

    with between(localbucket, fate=fate) as (server, seen):
        monkeypatch.setenv("HOST_APP_BUCKET_ENDPOINT", server.endpoint)
        process = instance.start("backups", "prune")
        wait_for(lambda: any(each.startswith("DELETE") for each in seen.requests))
        process.kill()
        process.communicate()
    backups.prepare(app)
    # On this server they are gone, and of what is to go elsewhere nothing is good.
    assert there(backups, "here") == {made[0]}
    assert [each.id for each in backups.history.good_backups()] == [made[0]]
    pruned(app, backups)
    for place in ("here", "nas", "offsite"):
        assert there(backups, place) == {made[0]}
    assert [each.id for each in backups.history.backups()] == [made[0]]
    assert list(backups.copying.run_due(app, ADA)) == []
