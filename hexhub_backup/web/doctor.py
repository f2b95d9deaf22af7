"""The page Registry check: what is wrong with the files of the registry, and what brings them
back."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from hexhub_backup import verbs
from hexhub_backup.errors import NotFoundError
from hexhub_backup.history.findings import findings_of, last_check
from hexhub_backup.history.models import Backup
from hexhub_backup.marking import marked
from hexhub_backup.operations.findings import Finding
from hexhub_backup.web import current
from hexhub_backup.web.copies import watch
from hexhub_backup.web.lists import RECORDS_PAGE_SIZE, pages_of


def add_to(blueprint: Blueprint) -> None:
    """Add the page to the blueprint."""
    blueprint.add_url_rule("/doctor", "doctor", doctor, methods=["GET"])
    blueprint.add_url_rule("/doctor", "check_registry", check_registry, methods=["POST"])


def check_registry() -> ResponseReturnValue:
    return watch(verbs.doctor.order(current.who()))


def doctor() -> str:
    """What the last check has found."""
    backups = current.backups()
    last = last_check(backups.catalog.engine)
    found = 0 if last is None else sum(last.found.values())
    pages = pages_of(found, marked("findings"), RECORDS_PAGE_SIZE)
    findings = [] if last is None else _some(last.id, pages.offset)
    running = current.running()
    return render_template(
        "hexhub_backup/doctor.html",
        last=last,
        pages=pages,
        findings=findings,
        known={name: _backup(name) for name in {each.backup for each in findings} if name},
        restored=last is not None and verbs.doctor.restored_since(backups.history, last),
        running=running,
        checks=any(each.verb == verbs.doctor.DOCTOR.name for each in running),
        verify_days=backups.settings.verify_days,
    )


def _some(operation: str, offset: int) -> list[Finding]:
    """A page of the findings; none where the backup directory was lost."""
    try:
        found = findings_of(current.backups().depot, operation)
    except NotFoundError:
        return []
    return list(found.some(offset=offset, limit=RECORDS_PAGE_SIZE))


def _backup(name: str) -> Backup | None:
    """A backup, while it exists."""
    try:
        return current.backup(name)
    except NotFoundError:
        return None
