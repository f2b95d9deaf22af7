"""Which rules hold which backups: as restic answers, and what restic does not know."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hexhub_backup.errors import SettingError
from hexhub_backup.history.models import ListedBackup
from hexhub_backup.retention import Rules, held_by, held_text
from hexhub_backup.settings import read_settings

ANSWERS = json.loads((Path(__file__).parent / "data/restic/answers.json").read_text())
NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def made(at: datetime, name: str = "", **values: Any) -> ListedBackup:
    found = ListedBackup(
        id=name or at.isoformat(),
        state="completed",
        created_at=at,
        created_by="ada",
        intact=True,
        contents=None,
        checksums=None,
    )
    return replace(found, **values)


def holds(backups: list[ListedBackup], rules: Rules, now: datetime = NOW) -> dict[str, list[str]]:
    """What holds each backup that is held."""
    latest_first = sorted(backups, key=lambda each: each.created_at, reverse=True)
    found = held_by(latest_first, rules, now)
    return {backup.id: [*held] for backup, held in found if held}


@pytest.mark.parametrize("history", ANSWERS["histories"], ids=lambda each: each["zone"])
def test_a_rule_holds_what_it_holds_in_restic(history: dict[str, Any]) -> None:
    backups = [made(datetime.fromisoformat(at)) for at in history["made"]]
    for asked in history["asked"]:
        rules = Rules(zone=ZoneInfo(history["zone"]), **asked["rules"])
        assert holds(backups, rules) == asked["keeps"]


def test_restic_was_asked_enough() -> None:
    assert len(ANSWERS["histories"]) == 30
    assert len({each["zone"] for each in ANSWERS["histories"]}) == 3
    asked = [asked for each in ANSWERS["histories"] for asked in each["asked"]]
    assert {name for each in asked for name in each["rules"]} == {
        "last", "daily", "weekly", "monthly", "yearly",
    }  # fmt: skip
    # Some go, and some are held by several.
    assert sum(len(each["keeps"]) for each in asked) > 500
    gone = [
        len(each["made"]) - len(a["keeps"]) for each in ANSWERS["histories"] for a in each["asked"]
    ]
    assert sum(map(bool, gone)) > 30


def ages(*days: float, **values: Any) -> list[ListedBackup]:
    return [made(NOW - timedelta(days=age), f"{age:g}", **values) for age in days]


def test_days_count_from_now_and_not_from_the_latest() -> None:
    assert holds(ages(1, 6.9, 7.1), Rules(days=7)) == {"1": ["days"], "6.9": ["days"]}
    # restic would keep the second too, which is as old as the latest.
    assert holds(ages(8, 9), Rules(days=7)) == {"8": ["newest"]}


def test_a_changed_number_of_days_is_that_of_all_backups() -> None:
    assert holds(ages(1, 40), Rules(days=60)) == {"1": ["days"], "40": ["days"]}


@pytest.mark.parametrize(
    "bad",
    [
        {"state": "failed", "intact": None},
        {"intact": False},
        {"file_missing": True},
        {"state": "running", "intact": None},
        {"intact": None},
    ],
    ids=["failed", "damaged", "no file", "running", "never verified"],
)
@pytest.mark.parametrize("rule", ["last", "daily", "weekly", "monthly", "yearly", "days"])
def test_what_is_no_verified_backup_pushes_no_good_one_out(rule: str, bad: dict[str, Any]) -> None:
    rules = Rules.of({rule: 1}, timezone.utc, named="rules")
    good = ages(100, 3, 2.9, 1.2)
    alone = holds(good, rules)
    worse = [replace(each, **bad) for each in ages(0.1, 0.2, 1.1, 1.3, 50)]
    together = holds([*good, *worse], rules)
    assert {name: together.get(name) for name in alone} == alone


def test_a_backup_that_was_never_verified_is_held_as_if_it_had_been() -> None:
    backups = [*ages(0.1, 1.1, intact=None), *ages(0.2, 2)]
    assert holds(backups, Rules(daily=2)) == {
        "0.1": ["daily"], "1.1": ["daily"], "0.2": ["daily"], "2": ["daily"],
    }  # fmt: skip


def test_the_newest_good_one_and_the_newest_verified_one_stay() -> None:
    backups = [*ages(40, state="failed", intact=None), *ages(41, intact=None), *ages(42, 43)]
    assert holds(backups, Rules(days=7)) == {"41": ["newest"], "42": ["newest"]}


def test_what_is_no_good_one_stays_for_the_days_or_for_a_month() -> None:
    for rules in (Rules(last=1), Rules(last=1, days=30)):
        failed = ages(29, 31, state="failed", intact=None)
        assert holds([*failed, *ages(50)], rules) == {"29": ["days"], "50": ["last"]}


def test_the_age_of_one_that_was_adopted_begins_anew() -> None:
    found = ages(400, 300, adopted_at=NOW - timedelta(days=3))
    assert holds([*found, *ages(1)], Rules(days=7)).keys() == {"400", "300", "1"}
    assert holds([*found, *ages(1)], Rules(days=3)).keys() == {"1"}


def test_what_holds_a_backup_is_said_in_words() -> None:
    assert held_text(("daily", "monthly")) == "kept: daily, monthly"
    assert held_text(("days", "kept")) == "kept"
    assert held_text(("newest",)) == "past its date, kept as the last good one"
    assert held_text(()) == "expired"
    rules = Rules(last=3, daily=7, yearly=0, days=30)
    assert rules.words() == "the last 3, 7 daily, all of 30 days"
    assert Rules(days=1).words() == "1 day"


def read(**config: Any) -> Rules:
    named = {f"HEXHUB_BACKUP_{name}": value for name, value in config.items()}
    return read_settings(named, instance_path="/nowhere").rules


def test_rules_are_set_in_the_config() -> None:
    assert read() == Rules(days=30, zone=ZoneInfo("UTC"))
    assert read(RETENTION_DAYS=7) == Rules(days=7, zone=ZoneInfo("UTC"))
    chosen = {"last": 3, "daily": 7, "weekly": 4, "monthly": 12, "yearly": 0, "days": 30}
    berlin = ZoneInfo("Europe/Berlin")
    assert read(RETENTION=chosen, TIMEZONE="Europe/Berlin") == Rules(zone=berlin, **chosen)
    assert read(RETENTION={"days": 7}, RETENTION_DAYS=7).days == 7
    assert read(RETENTION={"last": 7}).history_days == 30


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"RETENTION_DAYS": 7, "RETENTION": {"days": 8}}, "leave HEXHUB_BACKUP_RETENTION_DAYS out"),
        ({"RETENTION_DAYS": 7, "RETENTION": {"last": 8}}, "has no days"),
        ({"RETENTION_DAYS": 0}, "1 or more"),
        ({"RETENTION_DAYS": True}, "1 or more"),
        ({"RETENTION": {}}, "no backup would stay"),
        ({"RETENTION": {"last": 0}}, "no backup would stay"),
        ({"RETENTION": {"hourly": 3}}, "there are last, daily"),
        ({"RETENTION": {"last": -1}}, "a number from 0"),
        ({"RETENTION": {"last": True}}, "a number from 0"),
        ({"RETENTION": {"last": "3"}}, "a number from 0"),
        ({"RETENTION": 30}, "a dict of rules"),
        ({"TIMEZONE": "Middle/Earth"}, "does not know"),
        ({"TIMEZONE": "../etc/passwd"}, "does not know"),
        ({"TIMEZONE": 3}, "a text"),
    ],
    ids=str,
)
def test_rules_that_can_not_be_meant_are_refused(config: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        read(**config)
