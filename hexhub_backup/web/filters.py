"""Numbers, sizes and times for people: the filters and words of the templates."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

from flask import Blueprint
from flask_wtf.csrf import generate_csrf  # type: ignore[import-untyped]
from markupsafe import Markup

from hexhub_backup.history.store import utc_now
from hexhub_backup.web import here

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
_SPANS = (
    (timedelta(days=365), "year"),
    (timedelta(days=60), "month"),
    (timedelta(days=2), "day"),
    (timedelta(hours=2), "hour"),
    (timedelta(minutes=2), "minute"),
)
_LENGTHS = {
    "year": timedelta(days=365),
    "month": timedelta(days=30),
    "day": timedelta(days=1),
    "hour": timedelta(hours=1),
    "minute": timedelta(minutes=1),
}

#: What an operation does, as a heading.
VERBS = {
    "create": "Backup",
    "verify": "Check",
    "inspect": "Inspection",
    "restore": "Restore",
    "undo": "Undo",
    "prune": "Clean-up",
}

#: Steps in words; one that is not here shows its name.
STEPS = {
    "check_space": "Check that there is room",
    "export_users": "Read users",
    "export_packages": "Read packages",
    "export_releases": "Read releases",
    "export_owners": "Read owners",
    "copy_packages": "Copy package files",
    "copy_docs": "Copy docs files",
    "write_manifest": "Write the manifest",
    "verify": "Check the archive",
    "publish": "Put the archive in place",
    "read_archive": "Read the archive",
    "check_manifest": "Check the manifest",
    "check_files": "Check every byte",
    "compare": "Compare with the registry",
    "back_up_first": "Back up the registry as it is",
    "stage_package_files": "Set package files aside",
    "stage_doc_files": "Set docs files aside",
    "restore_users": "Prepare users",
    "restore_packages": "Prepare packages",
    "restore_releases": "Prepare releases",
    "restore_owners": "Prepare owners",
    "stage_files": "Set files aside",
    "stage_records": "Prepare records",
    "decide": "Apply everything at once",
    "place_files": "Put replaced files in place",
    "delete_backups": "Delete expired backups",
    "delete_remains": "Clear away what is left of old operations",
}


def size(count: int | None) -> str:
    """Bytes, with three digits that count: `1.05 MB`."""
    if count is None:
        return "–"
    value, unit = float(count), 0
    while round(value) >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    if unit == 0:
        return plural(count, "byte")
    return f"{value:.{max(0, 3 - len(str(int(value))))}f} {_UNITS[unit]}"


def number(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


def plural(count: int | None, word: str) -> str:
    """`1 package`, `1,234 packages`."""
    return f"{number(count)} {word}{'' if count == 1 else 's'}"


def duration(seconds: float | None) -> str:
    """Seconds as `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds is None:
        return "–"
    if seconds < 0.05:
        return "< 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def relative(moment: datetime, now: datetime | None = None) -> str:
    """A time as people say it: `3 hours ago`, `in 27 days`, `just now`."""
    away = moment - (now or utc_now())
    ahead, away = away > timedelta(0), abs(away)
    for least, word in _SPANS:
        if away >= least:
            text = plural(round(away / _LENGTHS[word]), word)
            return f"in {text}" if ahead else f"{text} ago"
    if ahead:
        return "in a minute"
    return "just now" if away < timedelta(minutes=1) else "a minute ago"


def when(moment: datetime | None) -> str:
    """A time element: relative, and exact on hover."""
    if moment is None:
        return "–"
    exact = f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    return _time(moment, relative(moment), exact)


def exactly(moment: datetime) -> Markup:
    """A time element the other way round: to the minute, and relative on hover."""
    return _time(moment, f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC", relative(moment))


def _time(moment: datetime, text: str, title: str) -> Markup:
    form = Markup('<time datetime="{}" title="{}">{}</time>')
    return form.format(moment.isoformat(), title, text)


def as_json(document: Any) -> str:
    """JSON to be read by people, and to be escaped by the template."""
    return json.dumps(document, ensure_ascii=False, indent=2)


def step_label(name: str) -> str:
    return STEPS.get(name, name.replace("_", " ").capitalize())


def verb_label(name: str) -> str:
    return VERBS.get(name, name.capitalize())


def add_to(blueprint: Blueprint) -> None:
    """Give the templates of the blueprint's pages their words."""
    filters = (size, number, plural, duration, when, exactly, as_json, step_label, verb_label)

    @blueprint.context_processor
    def words() -> dict[str, Any]:
        return {
            **{function.__name__: function for function in filters},
            "csrf_token": generate_csrf,
            "base_template": here.backups().settings.base_template,
        }
