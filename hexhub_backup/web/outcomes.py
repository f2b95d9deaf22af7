"""The page of an operation, live or with its outcome; the outcome as JSON; and undo."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hexhub_backup import verbs
from hexhub_backup.errors import NotFoundError
from hexhub_backup.history.findings import findings_of
from hexhub_backup.history.models import Backup, Operation
from hexhub_backup.history.store import utc_now
from hexhub_backup.verbs.base import Order
from hexhub_backup.web import current
from hexhub_backup.web.timeline import timeline

_SHOWN_WARNINGS = 100


def add_to(blueprint: Blueprint) -> None:
    """Add the pages of operations to the blueprint."""
    for rule, name, view, methods in (
        ("/operations/<operation_id>", "operation", operation, ["GET"]),
        ("/operations/<operation_id>/opened", "opened", use_opened, ["POST"]),
        ("/operations/<operation_id>/outcome", "outcome", outcome, ["GET"]),
        ("/operations/<operation_id>/undo", "confirm_undo", confirm_undo, ["GET"]),
        ("/operations/<operation_id>/undo", "undo", undo, ["POST"]),
    ):
        blueprint.add_url_rule(rule, name, view, methods=methods)


def operation(operation_id: str) -> str:
    return operation_page(current.operation(operation_id))


def operation_page(operation: Operation) -> str:
    """The page of an operation: its progress, or its outcome."""
    backups = current.backups()
    # Read after the row: the events of an ended operation are complete.
    events = timeline(backups.orders.events(operation.id))
    return render_template(
        "hexhub_backup/operation.html",
        operation=operation,
        timeline=events,
        warnings=(operation.outcome or {}).get("warnings", [])[:_SHOWN_WARNINGS],
        faults=(events.result or {}).get("faults", []),
        backup=_backup_of(operation),
        plan=_plan_of(operation),
        undoable=backups.history.undoable(operation),
        refused=backups.history.has_refused(operation),
        undone_by=_undone_by(operation),
        opened=_opened(operation) is not None,
        # Its events may say that it runs when its row did not yet.
        elapsed=utc_now() - (operation.started_at or operation.queued_at),
        waiting=backups.recovery.waited(operation),
        patience=backups.recovery.patience,
    )


def _backup_of(operation: Operation) -> Backup | None:
    """The backup of an operation, while it exists."""
    try:
        return None if operation.backup_id is None else current.backup(operation.backup_id)
    except NotFoundError:
        return None


def _plan_of(operation: Operation) -> str | None:
    """The plan that an operation made or follows, while it exists."""
    backups = current.backups()
    if backups.plans.exists(operation):
        return operation.id
    if (name := operation.follows_id) is not None:
        try:
            if backups.plans.exists(backups.catalog.operation(name)):
                return str(name)
        except NotFoundError:
            return None
    return None


def _undone_by(operation: Operation) -> Operation | None:
    return verbs.undo.undone_by(current.backups().catalog, operation.id)


# an archive that was opened with a key


def _opened(operation: Operation) -> Order | None:
    """The order by which an operation has opened an archive, while that is there."""
    try:
        return verbs.decrypt.opened(current.backups().depot, operation)
    except NotFoundError:
        return None


def use_opened(operation_id: str) -> ResponseReturnValue:
    """Plan a restore of an archive that was opened (`do=plan`), or bring it back
    (`do=return`)."""
    backups, who = current.backups(), current.who()
    opened = verbs.decrypt.opened(backups.depot, backups.catalog.operation(operation_id))
    backup, does = str(opened.backup), request.form.get("do")
    if does not in ("plan", "return"):
        abort(400, "Nothing was done, because the form does not say what to do.")
    if does == "plan":
        choice = verbs.decrypt.choice_of(opened)
        order = verbs.inspect.order(backups.history, who, backup, choice, opened)
        planned = backups.orders.start(current.app(), order)
        return redirect(url_for(".plan", plan_id=planned), code=303)
    order = verbs.bring_back.order(backups.history, who, backup, opened=opened)
    started = backups.orders.start(current.app(), order)
    return redirect(url_for(".operation", operation_id=started), code=303)


# the outcome as JSON


def outcome(operation_id: str) -> Response:
    """The outcome of an operation as a file, with every name and every warning."""
    backups = current.backups()
    operation = backups.catalog.operation(operation_id)
    if not operation.ended:
        abort(409, f"The operation is {operation.state}: it has an outcome when it has ended.")
    ended = next((e for e in backups.orders.events(operation_id) if e["type"] == "result"), {})
    result = dict(operation.outcome or {})
    kept = result.pop("warnings", [])
    changed = {name: each["names"] for name, each in result.pop("changed", {}).items()}
    # Where the backup directory was lost, the history has the first hundred names.
    if changed and backups.depot.kept("changed", operation_id).exists():
        changed = backups.history.changed(operation_id)
    findings: dict[str, Iterable[Any]] = {}
    if "findings" in result and backups.depot.kept("findings", operation_id).exists():
        del result["findings"]
        found = findings_of(backups.depot, operation_id)
        findings["findings"] = (each.as_json() for each in found)
    document = {
        "id": operation.id,
        "verb": operation.verb,
        "actor": operation.actor,
        "queued_at": operation.queued_at.isoformat(),
        "started_at": None if operation.started_at is None else operation.started_at.isoformat(),
        "state": operation.state,
        "reason": operation.reason,
        "code": operation.code,
        "duration_seconds": operation.duration_seconds,
        # The path of a file is for the people who run the server.
        "options": {
            name: value
            for name, value in operation.options.items()
            if name not in ("archive", "file")
        },
        "outcome": result or None,
        "faults": ended.get("faults", []),
    }
    warnings = _warnings(backups.orders.events(operation_id), kept)
    lists = {**({"changed": changed} if changed else {}), **findings, "warnings": warnings}
    response = Response(_json(document, lists), mimetype="application/json")
    name = f"{operation.verb}-{operation.id}.json"
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response


def _warnings(
    events: Iterator[dict[str, Any]], kept: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """All warnings. The outcome holds only the first of very many, the kept events hold all."""
    count = 0
    for event in events:
        if event["type"] == "warning":
            count += 1
            yield {name: event.get(name) for name in ("code", "message", "record")}
    # Warnings whose events were lost.
    yield from kept[count:]


def _json(document: Mapping[str, Any], lists: Mapping[str, Any], margin: str = "") -> Iterator[str]:
    """A JSON document that ends with lists, or with objects of lists, which are streamed."""
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
    backups = current.backups()
    operation = backups.catalog.operation(operation_id)
    if not backups.history.undoable(operation):
        abort(
            404,
            "This can't be undone. Only a restore that changed something can be undone, and only "
            "once.",
        )
    return render_template("hexhub_backup/undo.html", operation=operation)


def undo(operation_id: str) -> ResponseReturnValue:
    backups, granted = current.backups(), "grant_protected" in request.form
    undoing = backups.orders.start(
        current.app(),
        verbs.undo.order(backups.history, current.who(), operation_id, granted=granted),
    )
    return redirect(url_for(".operation", operation_id=undoing), code=303)
