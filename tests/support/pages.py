"""The pages as people and browsers meet them: read, posted to, and looked at for faults."""

from __future__ import annotations

import dataclasses
import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from hexhub_backup.history.models import Backup, Operation
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from tests.support.directory import lock_is_free
from tests.support.patience import wait_for
from tests.support.people import token
from tests.support.serving import PREFIX


def page(client: FlaskClient, path: str, *, status: int = 200) -> str:
    """A page of ours as people read it, and a look at whether browsers and people can."""
    answer = client.get(f"{PREFIX}{path}")
    assert answer.status_code == status, answer.text
    return read(answer)


def read(answer: TestResponse) -> str:
    check = Check()
    check.feed(answer.text)
    assert not check.faults
    assert check.labelled >= check.fields, "a field without a label"
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.text))


class Check(HTMLParser):
    """No inline script or style, nothing from elsewhere, no id twice, a label for each field."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.fields: set[str] = set()
        self.labelled: set[str] = set()
        self._ids: set[str] = set()
        self._in_label = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if "style" in found or tag == "style" or any(name.startswith("on") for name in found):
            self.faults.append(f"inline style or script in {tag}")
        if tag == "script" and "src" not in found:
            self.faults.append("an inline script")
        for name in ("src", "href", "action"):
            if re.match(r"(\w+:)?//", found.get(name, "")):
                self.faults.append(f"{found[name]} is elsewhere")
        if "id" in found:
            if found["id"] in self._ids:
                self.faults.append(f"the id {found['id']} is there twice")
            self._ids.add(found["id"])
        self._in_label += tag == "label"
        if "for" in found:
            self.labelled.add(found["for"])
        if tag in ("input", "select", "textarea") and found.get("type") != "hidden":
            name = found.get("id") or f"{found['name']}-{self.getpos()}"
            self.fields.add(name)
            if self._in_label:
                self.labelled.add(name)

    def handle_endtag(self, tag: str) -> None:
        self._in_label -= tag == "label"


def post(client: FlaskClient, path: str, **form: Any) -> TestResponse:
    form["csrf_token"] = token(client, f"{PREFIX}/new")
    return client.post(f"{PREFIX}{path}", data=form)


def ended(backups: Backups, operation: str) -> Operation:
    wait_for(lambda: backups.catalog.operation(operation).ended)
    return backups.catalog.operation(operation)


def remembered(backups: Backups, **values: Any) -> str:
    """Put an operation into the history as it could have been; gives its id."""
    operation = Operation(
        **{
            "id": "20260131-103000-abcdef",
            "verb": "create",
            "state": "running",
            "reason": None,
            "code": None,
            "actor": "ada",
            "address": None,
            "backup_id": None,
            "options": {},
            "queued_at": utc_now(),
            "started_at": utc_now(),
            "finished_at": None,
            "duration_seconds": None,
            "decided_at": None,
            "outcome": None,
            **values,
        }
    )
    backups.catalog.add_operation(operation)
    return operation.id


def planned(client: FlaskClient, backups: Backups, backup: str, **form: str) -> str:
    """Hand a backup to the form, as a browser does; gives the plan's id."""
    form |= {"csrf_token": token(client, f"{PREFIX}/new"), "backup": backup}
    answer = client.post(f"{PREFIX}/restore", data=form, content_type="multipart/form-data")
    return landed(backups, answer, "plans")


def landed(backups: Backups, answer: TestResponse, where: str, state: str = "completed") -> str:
    """Wait for the operation that an answer leads to; gives its id."""
    assert answer.status_code == 303, answer.text
    found, operation = answer.location.removeprefix(f"{PREFIX}/").split("/")
    assert found == where
    done = ended(backups, operation)
    assert done.state == state, done.reason
    wait_for(lambda: lock_is_free(backups))
    return operation


def earlier_backups(backups: Backups, latest: Backup, count: int) -> list[str]:
    """Put so many backups into the history, one for each day before the latest one, of each kind
    some; gives their ids, the latest first."""
    like = {each.name: getattr(latest, each.name) for each in dataclasses.fields(Backup)}
    made = []
    for number in range(1, count + 1):
        failed = number % 5 == 0
        values = {
            **like,
            "id": f"old-{number:03}",
            "created_at": latest.created_at - timedelta(days=number),
            "created_by": "bob%" if number % 7 == 0 else "ada",
            "state": "failed" if failed else "completed",
            "reason": "The disk is full." if failed else None,
            "manifest": None if failed else latest.manifest,
            "size_bytes": None if failed else number * 1000,
            "kept": number % 11 == 0,
            "intact": number % 13 != 0,
            "warning_count": number % 3,
        }
        backups.catalog.add_backup(Backup(**values))
        made.append(f"old-{number:03}")
    return made


def earlier_operations(backups: Backups, count: int) -> list[str]:
    """Put so many operations that have ended into the history, a minute apart; gives their ids, the
    latest first."""
    return [
        remembered(
            backups,
            id=f"op-{number:02}",
            verb="restore" if number % 2 else "prune",
            state="failed" if number == 3 else "completed",
            reason="It was odd." if number == 3 else None,
            actor="eve" if number == 4 else "ada",
            queued_at=utc_now() - timedelta(minutes=number),
            finished_at=utc_now(),
            duration_seconds=1.0,
        )
        for number in range(count)
    ]
