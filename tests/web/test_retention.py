"""The page that shows what the next prune would delete, by the rules that are set or by others."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from hexhub_backup import verbs
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from tests.support.hosts import ADA
from tests.support.pages import page

pytestmark = [
    pytest.mark.host(config={"HEXHUB_BACKUP_RETENTION": {"daily": 2, "days": 7}}),
    pytest.mark.usefixtures("host"),
]


@pytest.fixture
def made(backups: Backups, app: object) -> list[str]:
    """Backups of today, and of five, eight, nine and ten days ago."""
    made = [backups.orders.run(app, verbs.create.order(ADA)).operation for _ in range(5)]
    for name, age in zip(made, (0, 5, 8, 9, 10), strict=True):
        backups.catalog.update_backup(name, created_at=utc_now() - timedelta(days=age))
    return made


def effects(text: str) -> dict[str, str]:
    """What the page says of each backup."""
    row = r'<tr>\s*<td.*?/admin/backups/([\w-]+)">.*?</tr>'
    return {
        found[1]: [line for line in re.sub(r"<[^>]+>", "", found[0]).split("\n") if line.strip()][
            -1
        ].strip()
        for found in re.finditer(row, text, re.DOTALL)
    }


def test_it_shows_what_the_next_prune_deletes_and_what_holds_the_others(
    client: FlaskClient, backups: Backups, app: object, made: list[str]
) -> None:
    text = client.get("/admin/backups/retention").text
    assert effects(text) == {
        made[0]: "kept: daily, days",
        made[1]: "kept: daily, days",
        made[2]: "deleted",
        made[3]: "deleted",
        made[4]: "deleted",
    }
    assert "would delete <strong>3 backups</strong> of 5" in text
    assert "RETENTION = " not in text
    assert backups.history.expired() == [made[4], made[3], made[2]]
    done = backups.orders.run(app, verbs.prune.order(ADA))
    assert done.outcome["backups"] == [made[4], made[3], made[2]]
    assert "would delete <strong>nothing</strong>" in client.get("/admin/backups/retention").text


def test_it_shows_what_other_rules_would_do_and_changes_nothing(
    client: FlaskClient, backups: Backups, made: list[str]
) -> None:
    answer = client.get("/admin/backups/retention?last=4&daily=0&days=")
    held = effects(answer.text)
    assert [held[name] for name in made] == ["kept: last"] * 4 + ["deleted"]
    assert "HEXHUB_BACKUP_RETENTION = {&#34;last&#34;: 4}" in answer.text
    assert "By these rules (the last 4)" in page(client, "/retention?last=4")
    assert len(backups.history.backups()) == 5
    assert backups.history.expired() == [made[4], made[3], made[2]]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("last=-1", "Each rule is a whole number"),
        ("last=many", "Each rule is a whole number"),
        ("last=٣", "Each rule is a whole number"),
        ("last=0&daily=", "give one a number"),
        ("last=100001", "up to 100,000"),
        (f"last={'9' * 5000}", "up to 100,000"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_no_rule_is_said(
    client: FlaskClient, made: list[str], query: str, says: str
) -> None:
    text = page(client, f"/retention?{query}")
    assert says in text
    assert "By the rules that are set" in text


def test_where_a_prune_would_be_refused_it_says_so(
    client: FlaskClient, backups: Backups, made: list[str]
) -> None:
    text = client.get("/admin/backups/retention?days=4").text
    assert "The clean-up would delete nothing" in text
    assert "4 of 5 backups have expired by the clock" in text
    assert [*effects(text).values()].count("expired") == 4


def test_the_page_protection_leads_to_it(client: FlaskClient) -> None:
    assert 'href="/admin/backups/retention"' in client.get("/admin/backups/protection").text
    empty = client.get("/admin/backups/retention")
    assert empty.status_code == 200
    assert "<table" not in empty.text
