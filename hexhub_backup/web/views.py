"""The pages of backups: what there is, what a new one would be, and what can be done with one."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.globals import request_ctx
from flask.typing import ResponseReturnValue
from jinja2 import TemplateNotFound
from werkzeug.exceptions import HTTPException, MethodNotAllowed, default_exceptions

from hexhub_backup.errors import BackupError, NotFoundError, SettingError
from hexhub_backup.history.models import ListedOperation, Operation
from hexhub_backup.jobs.runner import Job
from hexhub_backup.operations.choice import STRATEGIES
from hexhub_backup.operations.create import estimate
from hexhub_backup.web import here

PAGE_SIZE = 20
_RECENT = 6
_OFFERED = 5
_SHOWN_WARNINGS = 100
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: Headings of error pages; the names that HTTP has for them are for programs.
_TITLES = {
    400: "That did not work",
    403: "Not allowed",
    404: "Not found",
    405: "Nothing was done",
    413: "That is too large",
    500: "Something went wrong",
    503: "Not now",
}
_STATUS = {
    "not_found": 404,
    "busy": 409,
    "conflicts": 409,
    "changed": 409,
    "not_granted": 409,
    "bad_archive": 422,
    "no_space": 507,
}


def add_to(blueprint: Blueprint) -> None:
    """Give the blueprint its pages."""
    for rule, name, view, methods in (
        ("/", "history", history, ["GET"]),
        ("/", "create", create, ["POST"]),
        ("/new", "new", new, ["GET"]),
        ("/restore", "restore", restore, ["GET"]),
        ("/operations/<operation_id>/cancel", "cancel", cancel, ["POST"]),
        ("/<backup_id>", "backup", backup, ["GET"]),
        ("/<backup_id>", "remove", remove, ["DELETE"]),
        ("/<backup_id>/verify", "verify", verify, ["POST"]),
        ("/<backup_id>/keep", "keep", keep, ["POST"]),
        ("/<backup_id>/delete", "confirm_delete", confirm_delete, ["GET"]),
        ("/<backup_id>/delete", "delete", delete, ["POST"]),
        ("/", "nothing", nothing, ["PUT", "PATCH", "DELETE"]),
        ("/<path:anything>", "nothing", nothing, list(_METHODS)),
    ):
        blueprint.add_url_rule(rule, name, view, methods=methods)
    # A handler for a code goes before one for all: the host has some, for its own pages.
    for code in default_exceptions:
        blueprint.register_error_handler(code, http_error)
    blueprint.register_error_handler(BackupError, backup_error)
    blueprint.register_error_handler(TemplateNotFound, missing_template)
    blueprint.after_request(no_store)


def history() -> str:
    backups = here.backups()
    total = backups.catalog.count_backups()
    pages = max(1, math.ceil(total / PAGE_SIZE))
    page = request.args.get("page", 1, type=int)
    if not 1 <= page <= pages:
        abort(404, f"There is no page {page} of the backups: there are {pages}.")
    found = backups.backups(offset=(page - 1) * PAGE_SIZE, limit=PAGE_SIZE)
    newest = found if page == 1 else backups.backups(limit=PAGE_SIZE)
    latest = backups.operations(limit=4 * _RECENT)
    # A plan that was made anew, or carried out, is told by what came of it.
    told = {each.options.get(name) for each in latest for name in ("before", "plan")}
    recent = (each for each in latest if _is_news(each) and each.id not in told)
    return render_template(
        "hexhub_backup/history.html",
        backups=found,
        total=total,
        page=page,
        pages=pages,
        latest=next((each for each in newest if each.state != "running"), None),
        good=next(backups.good_backups(), None),
        running=here.running(),
        recent=list(islice(recent, _RECENT)),
    )


def _is_news(operation: ListedOperation) -> bool:
    """A prune that found nothing is no news: there is one a day."""
    return not (
        operation.verb == "prune" and operation.state == "completed" and operation.deleted == []
    )


def new() -> str:
    backups = here.backups()
    backups.directory.prepare()
    found = estimate(backups.registry, backups.storage)
    free = backups.directory.free()
    return render_template(
        "hexhub_backup/new.html",
        estimate=found,
        free=free,
        fits=found["size_bytes"] <= free,
        retention_days=backups.settings.retention_days,
        running=here.running(),
    )


def create() -> ResponseReturnValue:
    return _watch(here.backups().create(here.app(), here.who()))


def backup(backup_id: str) -> str:
    found = here.backup(backup_id)
    return render_template(
        "hexhub_backup/backup.html",
        backup=found,
        good=found.good,
        made_by=_operation_of(backup_id),
        shown_warnings=_SHOWN_WARNINGS,
        archive_name=here.backups().directory.archive(backup_id).name,
    )


def _operation_of(backup_id: str) -> Operation | None:
    """The operation that made a backup, while it is remembered."""
    try:
        return here.backups().catalog.operation(backup_id)
    except NotFoundError:
        return None


def verify(backup_id: str) -> ResponseReturnValue:
    here.backup(backup_id)
    return _watch(here.backups().verify(here.app(), here.who(), backup_id))


def keep(backup_id: str) -> ResponseReturnValue:
    here.backups().keep(backup_id, kept=request.form.get("kept") != "off")
    return redirect(url_for(".backup", backup_id=backup_id), code=303)


def confirm_delete(backup_id: str) -> str:
    """The question on a page of its own, for browsers that don't open the dialog."""
    return render_template("hexhub_backup/delete.html", backup=here.backup(backup_id))


def delete(backup_id: str) -> ResponseReturnValue:
    here.backups().delete(here.app(), here.who(), backup_id)
    return redirect(url_for(".history"), code=303)


def remove(backup_id: str) -> ResponseReturnValue:
    here.backups().delete(here.app(), here.who(), backup_id)
    return "", 204


def restore() -> str:
    backups = here.backups()
    chosen = request.args.get("backup")
    return render_template(
        "hexhub_backup/restore.html",
        backups=list(islice(backups.good_backups(), _OFFERED)),
        chosen=None if chosen is None else here.backup(chosen),
        strategies=STRATEGIES,
        running=here.running(),
    )


def cancel(operation_id: str) -> ResponseReturnValue:
    here.backups().cancel(operation_id)
    return redirect(url_for(".operation", operation_id=operation_id), code=303)


def _watch(job: Job) -> ResponseReturnValue:
    """Start a job and go where it can be watched."""
    operation_id = here.backups().start(job)
    return redirect(url_for(".operation", operation_id=operation_id), code=303)


# errors


def nothing(anything: str = "") -> str:
    """What no other address takes: no blueprint would be asked for a page for what matches none."""
    others = [method for method in _METHODS if _endpoint(method) != request.endpoint]
    if not others:
        abort(404, "There is no such page among the backups.")
    raise MethodNotAllowed(
        others,
        # So it ends for who signs in again after a button was pressed, or opens a bookmark of it.
        "This address belongs to a button, and opening it does nothing. Find the button on the "
        "backup's page, and press it there."
        if "GET" not in others
        else f"This address can be opened, and takes no {request.method}.",
    )


def _endpoint(method: str) -> str:
    """Which endpoint the address of this request has with another method."""
    adapter = request_ctx.url_adapter
    return "" if adapter is None else str(adapter.match(method=method)[0])


def http_error(error: HTTPException) -> ResponseReturnValue:
    if error.code is None or error.response is not None:
        return error.get_response()
    status = error.code
    message = error.description or error.name
    if status == 500:
        message = "Something went wrong here, not with you. The host's log has the details."
    document = {"code": error.name.lower().replace(" ", "_"), "message": message, "faults": []}
    page, status = _error_page(status, _TITLES.get(status, error.name), document)
    # Such as the Allow of a 405.
    return page, status, [each for each in error.get_headers() if each[0] != "Content-Type"]


def backup_error(error: BackupError) -> ResponseReturnValue:
    status = _STATUS.get(error.code, 500)
    title = {"not_found": "Not found", "busy": "Not now"}.get(error.code, "That did not work")
    return _error_page(status, title, error.as_json())


def missing_template(error: TemplateNotFound) -> ResponseReturnValue:
    name = str(error.name)
    named = name == here.backups().settings.base_template
    says = "HEXHUB_BACKUP_BASE_TEMPLATE names it" if named else "a page needs it"
    return backup_error(
        SettingError(
            f"The template {name} is not there, and {says}: put it there, or name another."
        )
    )


def _error_page(
    status: int, title: str, document: dict[str, Any]
) -> tuple[str | dict[str, Any], int]:
    accepted = request.accept_mimetypes
    if accepted["application/json"] > accepted["text/html"]:
        return {"error": document}, status
    values = {"status": status, "title": title, "error": document, "running": []}
    if document["code"] == "busy":
        values["running"] = here.running()
    own = "hexhub_backup/base.html"
    try:
        # The host's layout may be one for admins.
        base = {"base_template": own} if status in (401, 403) else {}
        page = render_template("hexhub_backup/error.html", **values, **base)
    except Exception:
        # The host's layout may need what has just failed.
        page = render_template("hexhub_backup/error.html", **values, base_template=own)
    return page, status


def no_store(response: Any) -> Any:
    """Pages and archives hold what is for admins only: no cache keeps them."""
    if request.endpoint != "hexhub_backup.static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response
