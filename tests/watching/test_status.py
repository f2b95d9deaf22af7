"""The state of the whole: one sentence on the page, and a monitoring plugin on the command line."""

from __future__ import annotations

import inspect
import json
import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from hexhub_backup.depot.directory import DirectoryDepot
from hexhub_backup.depot.names import new_id
from hexhub_backup.history.models import Backup
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.schedule.tick import tick
from hexhub_backup.watching import status as watching_status
from hexhub_backup.watching.status import Status, overdue_after
from tests.support.commands import cli, refused
from tests.support.directory import depot_of
from tests.support.hosts import ADA, make_app
from tests.support.serving import ROOT, make_backup


def now_of(backups: Backups, **later: float) -> Status:
    return backups.status(utc_now() + timedelta(**later))


def codes(found: Status) -> list[str]:
    return [each.code for each in found.problems]


def test_the_docs_have_every_problem() -> None:
    source = inspect.getsource(watching_status)
    told = set(re.findall(r"Problem\(\s*\"(\w+)\"", source))
    rows = re.findall(
        r"^\| `(\w+)` \| [12] \|", (ROOT / "docs/monitoring.md").read_text(), re.MULTILINE
    )
    assert sorted(rows) == sorted(told)


def test_no_backup_is_critical(backups: Backups) -> None:
    found = now_of(backups)
    assert (found.level, codes(found)) == ("critical", ["no_backup"])
    assert found.sentences(utc_now()) == ["There is no good backup. Create one now."]


def test_the_link_in_the_hosts_pages_has_a_dot_while_something_is_wrong(
    app: Flask, backups: Backups
) -> None:
    def alarm() -> str | None:
        with app.test_request_context("/"):
            link = app.jinja_env.globals["hexhub_backup_link"]()  # type: ignore[operator]
        found = re.search(r'data-hexhub-backup-alarm="(\w+)">●<', link)
        return found and found[1]

    assert alarm() is None
    tick(app)
    tick(app, clock=lambda: utc_now() + timedelta(minutes=6))
    assert alarm() == "critical"
    make_backup(app)
    now_of(backups)
    assert alarm() is None
    now_of(backups, days=30)
    assert alarm() == "critical"


def test_a_good_backup_protects_until_it_is_too_old(app: Flask, backups: Backups) -> None:
    backup = make_backup(app)
    found = now_of(backups)
    assert (found.level, codes(found)) == ("fine", [])
    assert found.good is not None
    assert found.good.id == backup
    assert found.sentences(utc_now()) == [
        "The registry is protected.",
        "The latest good backup was made just now, and was verified just now.",
    ]
    assert now_of(backups, hours=167).level == "fine"
    late = now_of(backups, hours=169)
    assert (late.level, codes(late)) == ("critical", ["overdue"])
    assert "older than 7 days" in late.problems[0].text


@pytest.mark.host(config={"HEXHUB_BACKUP_ALERT_AFTER": 36})
def test_how_old_is_too_old_is_a_setting(app: Flask, backups: Backups) -> None:
    make_backup(app)
    assert now_of(backups, hours=35).level == "fine"
    assert "older than 36 hours" in now_of(backups, hours=37).problems[0].text


@pytest.mark.parametrize(
    ("schedule", "hours"),
    [("hourly", 2), ("daily 03:00", 48), ("weekly sun 03:00", 14 * 24), ("30 3 * * 1-5", 6 * 24)],
)
def test_twice_the_time_between_two_of_the_schedule_is_too_old(
    tmp_path: Path, schedule: str, hours: int
) -> None:
    app = make_app(tmp_path, {"HEXHUB_BACKUP_SCHEDULE": schedule})
    assert overdue_after(backups_of(app).settings, utc_now()) == timedelta(hours=hours)


@pytest.mark.host(config={"HEXHUB_BACKUP_SCHEDULE": "daily 03:00"})
def test_the_next_backup_of_the_schedule_is_told(app: Flask, backups: Backups) -> None:
    make_backup(app)
    tick(app)
    found = now_of(backups)
    assert found.next_at is not None
    assert found.next_at.strftime("%H:%M:%S") == "03:00:00"
    assert "The next backup is due in 2 hours." in found.sentences(
        found.next_at - timedelta(hours=2)
    )
    assert "The next backup is due now." in found.sentences(found.next_at)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"state": "failed", "reason": "The disk is full."}, "last_failed"),
        ({"state": "interrupted", "reason": "The server stopped."}, "last_failed"),
        ({"state": "completed", "intact": False}, "damaged"),
    ],
)
def test_a_latest_backup_that_is_no_good_one_is_told(
    app: Flask, backups: Backups, values: dict[str, Any], code: str
) -> None:
    good, latest = make_backup(app), make_backup(app)
    backups.catalog.update_backup(latest, **values)
    found = now_of(backups)
    assert codes(found) == [code]
    assert found.good is not None
    assert found.good.id == good
    if "reason" in values:
        assert values["reason"] in found.problems[0].text


def test_a_cancelled_backup_is_nobodys_problem(app: Flask, backups: Backups) -> None:
    make_backup(app)
    backups.catalog.update_backup(make_backup(app), state="cancelled", reason="By ada.")
    assert now_of(backups).level == "fine"


def test_a_cancelled_backup_does_not_hide_the_failed_one_before_it(
    app: Flask, backups: Backups
) -> None:
    make_backup(app)
    backups.catalog.update_backup(make_backup(app), state="failed", reason="The disk is full.")
    for _ in range(21):
        now = utc_now()
        backups.catalog.add_backup(
            Backup(id=new_id(), state="cancelled", created_at=now, created_by="ada")
        )
    assert codes(now_of(backups)) == ["last_failed"]


def test_a_backup_that_is_dated_ahead_does_not_hide_that_there_is_no_other(
    app: Flask, backups: Backups
) -> None:
    """As one that was made while the clock was wrong."""
    ahead = make_backup(app)
    backups.catalog.update_backup(ahead, created_at=utc_now() + timedelta(days=365))
    found = now_of(backups)
    assert (found.level, codes(found)) == ("critical", ["no_backup", "dated_ahead"])
    assert f"Backup {ahead} is dated" in found.problems[1].text
    good = make_backup(app)
    found = now_of(backups)
    assert (found.level, codes(found)) == ("warning", ["dated_ahead"])
    assert found.good is not None
    assert found.good.id == good
    assert codes(now_of(backups, days=8)) == ["overdue", "dated_ahead"]
    # As time goes by, it is one like any other.
    assert codes(now_of(backups, days=366)) == []
    backups.history.delete(app, ADA, ahead)
    assert codes(now_of(backups)) == []


def test_a_latest_backup_without_its_file_is_told(app: Flask, backups: Backups) -> None:
    make_backup(app)
    depot_of(backups).archive(make_backup(app)).unlink()
    assert codes(now_of(backups)) == ["file_missing"]


def test_too_little_room_for_the_next_backup_is_told(
    app: Flask, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = backups.history.backup(make_backup(app)).size_bytes
    assert size is not None
    # A disk of one's own: the machine's has room.
    monkeypatch.setattr(DirectoryDepot, "free", lambda _: size)
    found = now_of(backups)
    assert (found.level, codes(found)) == ("warning", ["no_room"])
    monkeypatch.setattr(DirectoryDepot, "free", lambda _: 2 * size)
    assert now_of(backups).level == "fine"


def test_a_directory_that_is_gone_is_told(app: Flask, backups: Backups) -> None:
    make_backup(app)
    shutil.rmtree(backups.depot.path)
    found = now_of(backups)
    assert "no_directory" in codes(found)
    assert str(backups.depot.path) in " ".join(found.sentences(utc_now()))


def test_a_prune_that_would_be_refused_is_told_until_somebody_has_seen_to_it(
    app: Flask, backups: Backups
) -> None:
    made = [make_backup(app) for _ in range(6)]
    for each in made[:5]:
        backups.catalog.update_backup(each, created_at=utc_now() - timedelta(days=31))
    found = now_of(backups)
    assert (found.level, codes(found)) == ("warning", ["prune_refused"])
    assert "The clean-up is refused: 5 of 6 backups have expired" in found.problems[0].text
    assert "run 'flask backups prune --anyway'" in found.problems[0].action
    assert refused(app, "prune")["code"] == "prune_refused"
    assert refused(app, "prune", "--dry-run")["code"] == "prune_refused"
    preview = json.loads(cli(app, "prune", "--dry-run", "--anyway", "--json").stdout)
    assert preview["backups"] == made[:5]
    assert json.loads(cli(app, "prune", "--anyway", "--json").stdout)["backups"] == made[:5]
    assert now_of(backups).level == "fine"
    assert cli(app, "prune").exit_code == 0


def test_a_disk_that_is_not_mounted_is_told_and_loses_no_row(app: Flask, backups: Backups) -> None:
    made = [make_backup(app) for _ in range(3)]
    for each in made:
        backups.catalog.update_backup(each, created_at=utc_now() - timedelta(days=31))
    backups.history.keep(made[0])
    folder = backups.depot.path
    away = folder.rename(folder.with_name("away"))
    backups.prepare(app)
    assert codes(now_of(backups)) == ["no_backup", "file_missing", "prune_refused"]
    # One that is made meanwhile makes it no better.
    new = make_backup(app)
    assert codes(now_of(backups)) == ["prune_refused"]
    assert "disk may not be mounted" in refused(app, "prune")["message"]
    assert {each.id for each in backups.history.backups()} == {*made, new}
    shutil.rmtree(folder)
    away.rename(folder)
    backups.history.delete(app, ADA, new)
    assert now_of(backups, days=-30).level == "fine"
    assert backups.history.backup(made[0]).kept


def test_a_prune_that_was_killed_is_not_a_disk_that_is_not_mounted(
    app: Flask, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _ = make_backup(app), make_backup(app)
    backups.catalog.update_backup(old, created_at=utc_now() - timedelta(days=31))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        # Between the file and the row.
        patched.setattr("hexhub_backup.history.kept.History.forget", die)
        with pytest.raises(KeyboardInterrupt):
            backups.history.delete(app, ADA, old, reason="expired")
    assert backups.history.backup(old).file_missing
    assert now_of(backups).level == "fine"
    assert cli(app, "prune").exit_code == 0
    assert old not in {each.id for each in backups.history.backups()}


def test_the_most_serious_problem_comes_first(app: Flask, backups: Backups) -> None:
    backups.catalog.update_backup(make_backup(app), intact=False)
    backups.catalog.update_backup(make_backup(app), state="failed", reason="The disk is full.")
    found = now_of(backups)
    assert codes(found) == ["no_backup", "damaged", "last_failed"]
