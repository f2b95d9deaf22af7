"""How often the JSON of one release is parsed: what is known of it is not read again."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import Release, db
from hexhub_backup import verbs
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.choice import Choice
from tests.support.hosts import ADA

pytestmark = pytest.mark.usefixtures("host")


MARK = "only this release has it"


class Counter:
    """Counts the texts of the release that are parsed by `json.loads`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._loads = json.loads
        monkeypatch.setattr(json, "loads", self._counted)

    def _counted(self, text: str | bytes, **options: Any) -> Any:
        value = self._loads(text, **options)
        # Many are parsed at once, as one array.
        for each in value if isinstance(value, list) else [value]:
            is_release = isinstance(each, dict) and "package_name" in each
            self.count += is_release and MARK in str(each)
        return value

    def taken(self) -> int:
        count, self.count = self.count, 0
        return count


def test_a_release_is_parsed_once_by_an_inspection_and_by_a_restore(
    app: Flask, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = db.session.scalars(sa.select(Release)).first()
    assert release is not None
    release.meta = {"description": MARK}
    db.session.commit()
    orders = backups.orders
    backup = orders.run(app, verbs.create.order(ADA)).operation
    release.retired = {"reason": "security", "message": "since the backup"}
    db.session.commit()
    parsed = Counter(monkeypatch)
    choice = Choice(strategy="overwrite", packages=(release.package.name,))
    order = verbs.inspect.order(backups.history, ADA, backup, choice)
    plan = orders.run(app, order).operation
    # Beside the strict parser, which is another.
    assert parsed.taken() == 1
    restored = orders.run(app, verbs.restore.order(backups.plans, ADA, plan)).operation
    assert parsed.taken() == 1
    orders.run(app, verbs.undo.order(backups.history, ADA, restored, granted=True))
    # What the restore left, and what was there before it.
    assert parsed.taken() == 2
    db.session.expire_all()
    assert release.retired == {"reason": "security", "message": "since the backup"}
