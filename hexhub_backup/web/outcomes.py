"""The page of an operation, live or with its outcome; the outcome as JSON; and undo."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hexhub_backup.errors import NotFoundError
from hexhub_backup.history.models import Backup, Operation
from hexhub_backup.web import here
from hexhub_backup.web.timeline import timeline

_SHOWN_WARNINGS = 100
#: Options of an operation that name a plan: a restore's own, and the one before an inspect.
_PLANS = ("plan", "before")


def add_to(blueprint: Blueprint) -> None:
    """Give the blueprint the pages of operations."""
    for rule, name, view, methods in (
        ("/operations/<operation_id>", "operation", operation, ["GET"]),
        ("/operations/<operation_id>/outcome", "outcome", outcome, ["GET"]),
        ("/operations/<operation_id>/undo", "confirm_undo", confirm_undo, ["GET"]),
        ("/operations/<operation_id>/undo", "undo", undo, ["POST"]),
    ):
        blueprint.add_url_rule(rule, name, view, methods=methods)


def operation(operation_id: str) -> str:
    return operation_page(here.operation(operation_id))


def operation_page(found: Operation) -> str:
    """Where an operation is, or how it ended."""
    backups = here.backups()
    # The row was read first: events that are missing from an ended operation would never come.
    events = timeline(backups.events(found.id))
    return render_template(
        "hexhub_backup/operation.html",
        operation=found,
        timeline=events,
        warnings=(found.outcome or {}).get("warnings", [])[:_SHOWN_WARNINGS],
        faults=(events.result or {}).get("faults", []),
        backup=_backup_of(found),
        plan=_plan_of(found),
        undoable=backups.undoable(found),
        refused=backups.has_refused(found),
        undone_by=_undone_by(found),
    )


def _backup_of(found: Operation) -> Backup | None:
    """The backup that an operation is about, while there is one."""
    name = found.id if found.verb == "create" else found.backup_id
    if name is None:
        return None
    try:
        return here.backup(name)
    except NotFoundError:
        return None


def _plan_of(found: Operation) -> str | None:
    """The plan that an operation made, or came from, while it is there."""
    backups = here.backups()
    if backups.has_plan(found):
        return found.id
    for name in filter(None, map(found.options.get, _PLANS)):
        try:
            if backups.has_plan(backups.catalog.operation(name)):
                return str(name)
        except NotFoundError:
            continue
    return None


def _undone_by(found: Operation) -> Operation | None:
    if found.verb != "restore" or found.state != "completed":
        return None
    return here.backups().undone_by(found)


# the outcome as JSON


def outcome(operation_id: str) -> Response:
    """How an operation ended, with every name and every warning, as a file."""
    backups = here.backups()
    found = backups.catalog.operation(operation_id)
    if found.state == "running":
        abort(409, "It is running: its outcome is there when it has ended.")
    ended = next((e for e in backups.events(operation_id) if e["type"] == "result"), {})
    result = dict(found.outcome or {})
    kept = result.pop("warnings", [])
    changed = {what: each["names"] for what, each in result.pop("changed", {}).items()}
    # What was lost with the backup directory is in the history as far as the first hundred.
    if changed and backups.directory.changed(operation_id).exists():
        changed = backups.changed(operation_id)
    document = {
        "id": found.id,
        "verb": found.verb,
        "actor": found.actor,
        "started_at": found.started_at.isoformat(),
        "state": found.state,
        "reason": found.reason,
        "code": found.code,
        "duration_seconds": found.duration_seconds,
        # Where an archive lies is for the server's own people.
        "options": {name: value for name, value in found.options.items() if name != "archive"},
        "outcome": result or None,
        "faults": ended.get("faults", []),
    }
    warnings = _warnings(backups.events(operation_id), kept)
    lists = {**({"changed": changed} if changed else {}), "warnings": warnings}
    response = Response(_json(document, lists), mimetype="application/json")
    name = f"{found.verb}-{found.id}.json"
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response


def _warnings(
    events: Iterator[dict[str, Any]], kept: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """All warnings: the outcome has but the first of very many, the kept events have all."""
    count = 0
    for event in events:
        if event["type"] == "warning":
            count += 1
            yield {name: event.get(name) for name in ("code", "message", "record")}
    # What was lost of the events.
    yield from kept[count:]


def _json(document: Mapping[str, Any], lists: Mapping[str, Any], margin: str = "") -> Iterator[str]:
    """A JSON document that ends with lists, or with objects of lists, which are read meanwhile."""
    between = "{"
    for name, value in (*document.items(), *lists.items()):
        yield f"{between}\n{margin}  {json.dumps(name)}: "
        if name not in lists:
            text = json.dumps(value, ensure_ascii=False, indent=2)
            yield text.replace("\n", f"\n{margin}  ")
        elif isinstance(value, Mapping):
            yield from _json({}, value, f"{margin}  ")
        else:
            yield from _array(value, f"{margin}  ")
        between = ","
    yield "{}" if between == "{" else f"\n{margin}}}"


def _array(items: Iterable[Any], margin: str) -> Iterator[str]:
    between = "["
    for item in items:
        yield f"{between}\n{margin}  {json.dumps(item, ensure_ascii=False)}"
        between = ","
    yield "[]" if between == "[" else f"\n{margin}]"


# undo


def confirm_undo(operation_id: str) -> str:
    """The question on a page of its own, for browsers that don't open the dialog."""
    backups = here.backups()
    found = backups.catalog.operation(operation_id)
    if not backups.undoable(found):
        abort(404, "This can't be undone: only a restore that changed something can, and once.")
    return render_template("hexhub_backup/undo.html", operation=found)


def undo(operation_id: str) -> ResponseReturnValue:
    backups, granted = here.backups(), "grant_protected" in request.form
    undoing = backups.start(backups.undo(here.app(), here.who(), operation_id, granted=granted))
    return redirect(url_for(".operation", operation_id=undoing), code=303)
