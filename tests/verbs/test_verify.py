"""The order of a verification."""

from __future__ import annotations

import pytest
from flask import Flask

from hexhub_backup.errors import NotFoundError
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.verbs import verify
from tests.support.directory import depot_of
from tests.support.hosts import ADA
from tests.support.serving import make_backup


def test_a_file_that_goes_while_its_verification_is_ordered_is_not_found(
    app: Flask, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = make_backup(app)
    path = depot_of(backups).archive(backup)
    find = backups.history.find(backup)
    path.unlink()
    monkeypatch.setattr("hexhub_backup.history.kept.History.find", lambda *_: find)
    with pytest.raises(NotFoundError, match="There is no archive at"):
        verify.order(backups.history, ADA, backup)
