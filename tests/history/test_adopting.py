"""Archives that are put into the backup directory: adopted, or told why not."""

from __future__ import annotations

import pytest
from flask import Flask

from hexhub_backup import verbs
from hexhub_backup.depot.names import RESERVED_IDS
from hexhub_backup.jobs.backups import backups_of
from tests.support.directory import depot_of
from tests.support.hosts import ADA


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
