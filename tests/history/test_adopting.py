"""Archives that are put into the backup directory: adopted, or told why not."""

from __future__ import annotations

import os
import time

import pytest
from flask import Flask

from examples.host_app.seed import ADMIN
from hexhub_backup import verbs
from hexhub_backup.depot.names import RESERVED_IDS
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.web import current
from tests.support.directory import depot_of
from tests.support.hosts import ADA
from tests.support.people import sign_in


@pytest.mark.parametrize("name", ["new", "restore", "operations", "plans", "static"])
def test_an_archive_whose_id_is_an_address_of_the_pages_is_told(
    host: Flask, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    depot_of(backups).archive(made).rename(depot_of(backups).archive(name))
    backups.prepare(host)
    assert {each.id for each in backups.history.backups()} == {made}
    assert f"hexhub-backup-{name}.tar in {backups.depot.path} is not adopted" in caplog.text
    assert "rename it" in caplog.text
    depot_of(backups).archive(name).rename(depot_of(backups).archive(f"{name}-1"))
    backups.prepare(host)
    assert backups.history.backup(f"{name}-1").adopted


@pytest.mark.parametrize(
    "name", ["hexhub-backup-ä.tar", "hexhub-backup-a b.tar", "hexhub-backup-.tar"]
)
def test_an_archive_with_an_odd_name_is_told(
    host: Flask, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    backups = backups_of(host)
    (backups.depot.path / name).write_bytes(b"")
    backups.prepare(host)
    assert f"{name} in {backups.depot.path} is not adopted" in caplog.text
    assert backups.history.backups() == []


def test_no_id_of_a_backup_is_an_address_of_the_pages(host: Flask) -> None:
    """A page that is added takes a word from the ids."""
    prefix = "/admin/backups/"
    words = {
        rule.rule.removeprefix(prefix).split("/")[0]
        for rule in host.url_map.iter_rules()
        if rule.rule.startswith(prefix)
    }
    assert {word for word in words if word and not word.startswith("<")} == RESERVED_IDS


def test_an_archive_that_is_copied_here_is_seen_without_a_command(
    host: Flask,
) -> None:
    """Not before it has arrived whole: half of one would be called damaged."""
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    archive = depot_of(backups).archive(made)
    other = depot_of(backups).archive("other")
    with other.open("wb") as file:
        whole = archive.read_bytes()
        file.write(whole[: len(whole) // 2])
        file.flush()
        backups.recover_dead(host)
        assert {each.id for each in backups.history.backups()} == {made}
        file.write(whole[len(whole) // 2 :])
    backups.recover_dead(host)
    assert {each.id for each in backups.history.backups()} == {made, "other"}
    assert backups.history.backup("other").intact is not False
    backups.recover_dead(host)
    # Nothing has changed since, so nobody looks again.
    assert backups.looked_at == backups.depot.changed_at()


def test_an_archive_that_never_comes_whole_is_told_and_found_damaged(host: Flask) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    other = depot_of(backups).archive("other")
    other.write_bytes(depot_of(backups).archive(made).read_bytes()[:-2048])
    long_ago = time.time() - 3600
    os.utime(other, (long_ago, long_ago))
    backups.recover_dead(host)
    assert backups.history.backup("other").intact is False


def test_the_list_of_backups_has_an_archive_looked_for(
    host: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    looks: list[bool] = []

    def look(_: Flask, *, soon: bool = False) -> None:
        looks.append(soon)

    client = host.test_client()
    sign_in(client, ADMIN)
    monkeypatch.setitem(host.extensions, current.HOUSEKEEPING, look)
    backups.recover_dead(host)
    backups.recover_dead(host)
    client.get("/admin/backups/")
    assert True not in looks
    depot_of(backups).archive(made).with_name("hexhub-backup-other.tar").hardlink_to(
        depot_of(backups).archive(made)
    )
    client.get("/admin/backups/")
    assert True in looks
