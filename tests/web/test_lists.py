"""The lists of backups and of operations: filters, orders and pages."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from hexhub_backup.history.models import Copy
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.web import current
from hexhub_backup.web.lists import PAGE_SIZE, Pages
from tests.support.pages import earlier_backups, earlier_operations, page, remembered
from tests.support.serving import PREFIX, make_backup

pytestmark = pytest.mark.usefixtures("no_prune")


@pytest.fixture
def many(app: Flask, backups: Backups) -> list[str]:
    """The ids of a history of some pages, the latest first: of each kind some."""
    latest = backups.history.backup(make_backup(app))
    return [latest.id, *earlier_backups(backups, latest, 3 * PAGE_SIZE - 1)]


def listed(client: FlaskClient, query: str = "") -> list[str]:
    """The ids on a page, and a look at whether people can read it."""
    page(client, f"/{query}")
    table = client.get(f"{PREFIX}/{query}").text
    table = table[: table.find("Recent activity")]
    row = rf'<td[^>]*>\s*<label>.*?</label>\s*<a [^>]*href="{PREFIX}/([^"/]+)"'
    return list(dict.fromkeys(re.findall(row, table)))


def test_all_pages_together_are_the_whole_list(client: FlaskClient, many: list[str]) -> None:
    found = [name for number in (1, 2, 3) for name in listed(client, f"?page={number}")]
    assert found == many
    assert "1 to 20 of 60 backups" in page(client, "/")
    assert "41 to 60 of 60 backups" in page(client, "/?page=3")
    page(client, "/?page=4", status=404)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("state=failed", lambda n: n % 5 == 0),
        ("state=damaged", lambda n: n % 13 == 0),
        ("state=with+warnings", lambda n: n % 5 and n % 3),
        ("kept=on", lambda n: n % 11 == 0),
        ("text=BOB", lambda n: n % 7 == 0),
        ("text=%25", lambda n: n % 7 == 0),
        ("text=disk+is", lambda n: n % 5 == 0),
        ("text=old-01", lambda n: 10 <= n < 20),
        ("state=completed&kept=on&text=ada", lambda n: n % 5 and n % 11 == 0 and n % 7),
    ],
)
def test_a_filter_leaves_what_it_says(
    client: FlaskClient, many: list[str], query: str, wanted: object
) -> None:
    assert callable(wanted)
    expected = [name for number, name in enumerate(many) if number and wanted(number)]
    assert expected
    found = [name for name in listed(client, f"?{query}") if name != many[0]]
    assert found == expected[: len(found)]
    assert len(found) >= min(len(expected), PAGE_SIZE - 1)


def test_a_filter_goes_on_to_the_next_page(client: FlaskClient, many: list[str]) -> None:
    html = client.get(f"{PREFIX}/?state=completed&sort=oldest").text
    assert "?page=2&amp;state=completed&amp;sort=oldest" in html
    assert listed(client, "?page=2&state=completed&sort=oldest")
    assert "No backup matches" in page(client, "/?text=nowhere")
    for unknown in ("state=lost", "sort=up", "place=mars"):
        page(client, f"/?{unknown}", status=404)


def test_the_oldest_or_the_largest_come_first(client: FlaskClient, many: list[str]) -> None:
    assert listed(client, "?sort=oldest") == many[::-1][:PAGE_SIZE]
    largest = listed(client, "?sort=largest")
    sizes = [int(name.removeprefix("old-")) for name in largest if name.startswith("old-")]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] > PAGE_SIZE


@pytest.mark.usefixtures("nas")
def test_those_with_a_copy_in_a_place_are_found(
    client: FlaskClient, backups: Backups, many: list[str]
) -> None:
    for backup, state in ((many[3], "copied"), (many[4], "failed")):
        copy = Copy(backup_id=backup, place="nas", state=state, ordered_at=utc_now())
        backups.catalog.copies.add(copy)
    assert listed(client, "?place=nas") == [many[3]]


def test_a_short_history_needs_no_filter(app: Flask, client: FlaskClient) -> None:
    make_backup(app)
    assert "Id, label, user or reason" not in page(client, "/")


def test_an_old_backup_is_no_good_news(app: Flask, client: FlaskClient, backups: Backups) -> None:
    """A green "intact" stood beside the newest backup, seven months old."""
    backup = make_backup(app)
    long_ago = utc_now() - timedelta(days=210)
    backups.catalog.update_backup(backup, created_at=long_ago, verified_at=long_ago)
    text = page(client, "/")
    assert text.index("7 months ago") < text.index(backup_row := "past its date"), text
    assert f"{backup_row}, kept as the last good one" in text
    assert backups.status(utc_now()).level == "critical"
    assert "The registry is protected." not in text
    text = page(client, f"/{backup}")
    assert "past its date, kept as the last good one" in text


def test_each_backup_can_be_restored_and_is_found(client: FlaskClient, many: list[str]) -> None:
    """Only the five latest could, from the page Restore."""

    def offered(query: str = "") -> tuple[list[str], str]:
        page(client, f"/restore{query}")
        text = client.get(f"{PREFIX}/restore{query}").text
        return re.findall(rf'href="{PREFIX}/restore\?backup=([^"&]+)"', text), text

    # Of the others only the rows are here.
    first, text = offered()
    assert first == many[:1]
    assert "file missing" in text
    assert offered("?page=3")[1].count("file missing") > 0
    found, text = offered("?text=old-001")
    assert (found, text.count("file missing")) == ([], 1)
    assert offered(f"?text={many[0]}")[0] == many[:1]
    assert "No backup matches." in offered("?text=nothing")[1]
    assert client.get(f"{PREFIX}/restore?page=9").status_code == 404


def test_what_was_done_is_listed_and_filtered(client: FlaskClient, backups: Backups) -> None:
    assert "Nothing has been done yet" in page(client, "/operations")
    everything = earlier_operations(backups, PAGE_SIZE + 5)

    def found(query: str) -> list[str]:
        page(client, f"/operations?{query}")
        html = client.get(f"{PREFIX}/operations?{query}").text
        return re.findall(rf'href="{PREFIX}/operations/(op-\d+)"', html)

    assert found("") == everything[:PAGE_SIZE]
    assert found("page=2") == everything[PAGE_SIZE:]
    assert found("verb=restore") == everything[1::2]
    assert found("state=failed") == ["op-03"]
    assert found("text=Eve") == ["op-04"]
    assert found("text=odd") == ["op-03"]
    assert "Nothing matches" in page(client, "/operations?text=nowhere")
    for unknown in ("state=lost", "verb=fly", "page=3", "page=0"):
        page(client, f"/operations?{unknown}", status=404)


def test_an_operation_whose_process_is_dead_is_seen_by_a_look(
    app: Flask, client: FlaskClient, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def look(_: Flask, *, soon: bool = False) -> None:
        asked.append(soon)

    monkeypatch.setitem(app.extensions, current.HOUSEKEEPING, look)
    page(client, "/operations")
    assert asked == []
    remembered(backups)
    assert "running" in page(client, "/operations")
    assert asked == [True]


@pytest.mark.parametrize(
    ("found", "at", "shown"),
    [
        (0, 1, [1]),
        (20, 1, [1]),
        (21, 2, [1, 2]),
        (300, 1, [1, 2, 3, None, 15]),
        (300, 8, [1, None, 6, 7, 8, 9, 10, None, 15]),
        (300, 15, [1, None, 13, 14, 15]),
    ],
)
def test_the_numbers_of_pages_stay_few(found: int, at: int, shown: list[int | None]) -> None:
    assert Pages(found, at).numbers == shown
