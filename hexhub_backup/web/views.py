"""The pages of backups: a new backup, one backup; and the error pages."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import Any

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.globals import request_ctx
from flask.typing import ResponseReturnValue
from jinja2 import TemplateNotFound
from werkzeug.exceptions import HTTPException, MethodNotAllowed, default_exceptions

from hexhub_backup import verbs
from hexhub_backup.errors import (
    BackupError,
    NotFoundError,
    SettingError,
    StorageError,
    without_messages,
)
from hexhub_backup.history import remarks
from hexhub_backup.history.contents import open_contents
from hexhub_backup.history.lists import BackupFilter, count_listed
from hexhub_backup.history.models import Backup, Copy, Operation
from hexhub_backup.jobs.ending import as_backup_error
from hexhub_backup.marking import marked
from hexhub_backup.operations.contents import ChangedFile
from hexhub_backup.operations.create import estimate
from hexhub_backup.operations.sidecar import archive_file
from hexhub_backup.web import copies, current, tus
from hexhub_backup.web.copies import watch
from hexhub_backup.web.lists import asked_text, pages_of
from hexhub_backup.web.tokens import OldTokenError

_log = logging.getLogger("hexhub_backup")

_SHOWN_WARNINGS = 100
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: Headings of error pages; the names that HTTP has for them are for programs.
_TITLES = {
    400: marked("That did not work"),
    403: marked("Not allowed"),
    404: marked("Not found"),
    405: marked("Nothing was done"),
    409: marked("That did not work"),
    410: marked("Not found"),
    413: marked("That is too large"),
    423: marked("Not now"),
    500: marked("Something went wrong"),
    503: marked("Not now"),
}
_STATUS = {
    "not_found": 404,
    "busy": 409,
    "conflicts": 409,
    "changed": 409,
    "not_granted": 409,
    "not_held": 409,
    "unsupported_version": 409,
    "bad_archive": 422,
    "wrong_key": 422,
    "no_space": 507,
    "destination": 503,
    "storage": 503,
    "locked": 409,
    "no_rehearsal": 409,
}


def add_to(blueprint: Blueprint) -> None:
    """Add the pages of backups to the blueprint."""
    for rule, name, view, methods in (
        ("/", "create", create, ["POST"]),
        ("/new", "new", new, ["GET"]),
        ("/restore", "restore", restore, ["GET"]),
        ("/operations/verify-all", "verify_all", verify_all, ["POST"]),
        ("/operations/<operation_id>/cancel", "cancel", cancel, ["POST"]),
        ("/<backup_id>", "backup", backup, ["GET"]),
        ("/<backup_id>", "remove", remove, ["DELETE"]),
        ("/<backup_id>/verify", "verify", verify, ["POST"]),
        ("/<backup_id>/rehearse", "rehearse", rehearse, ["POST"]),
        ("/<backup_id>/keep", "keep", keep, ["POST"]),
        ("/<backup_id>/describe", "describe", describe, ["POST"]),
        ("/<backup_id>/acknowledge", "acknowledge", acknowledge, ["POST"]),
        ("/<backup_id>/delete", "confirm_delete", confirm_delete, ["GET"]),
        ("/<backup_id>/delete", "delete", delete, ["POST"]),
        ("/", "nothing", nothing, ["PUT", "PATCH", "DELETE"]),
        ("/<path:anything>", "nothing", nothing, list(_METHODS)),
    ):
        blueprint.add_url_rule(rule, name, view, methods=methods)
    # Handlers for single codes: the host may have its own, which come before one for all codes.
    for code in default_exceptions:
        blueprint.register_error_handler(code, http_error)
    blueprint.register_error_handler(tus.ChecksumMismatch, http_error)
    blueprint.register_error_handler(OldTokenError, old_token)
    blueprint.register_error_handler(BackupError, backup_error)
    blueprint.register_error_handler(OSError, file_error)
    blueprint.register_error_handler(TemplateNotFound, missing_template)
    blueprint.after_request(no_store)


def new() -> str:
    backups = current.backups()
    if (trouble := backups.depot.trouble()) is not None:
        raise StorageError(f"{trouble} {backups.depot.advice}")
    expected = estimate(backups.registry, backups.storage)
    free = backups.depot.free()
    return render_template(
        "hexhub_backup/new.html",
        estimate=expected,
        free=free,
        fits=free is None or expected["size_bytes"] <= free,
        rules=backups.settings.rules,
        running=(running := current.running()),
        busy=current.is_busy(running),
    )


def create() -> ResponseReturnValue:
    return watch(verbs.create.order(current.who()))


def backup(backup_id: str) -> str:
    shown, destinations = current.backup(backup_id), current.backups().destinations
    known = {copy.place: copy for copy in shown.copies}
    places = [*destinations, *(place for place in known if place not in destinations)]
    return render_template(
        "hexhub_backup/backup.html",
        destinations=destinations,
        places=[(place, known.get(place)) for place in places],
        backup=shown,
        good=shown.good,
        made_by=_operation_of(backup_id),
        shown_warnings=_SHOWN_WARNINGS,
        archive_name=archive_file(backup_id),
        changed_files=_changed_files(shown),
        sha256=shown.sha256
        or next(filter(None, (each.archive_sha256 for each in shown.copies)), None),
        label_length=remarks.LABEL_LENGTH,
        note_length=remarks.NOTE_LENGTH,
    )


def _changed_files(shown: Backup) -> list[ChangedFile]:
    """The first package files that have changed, where the list of the contents is there."""
    if not shown.changed_files:
        return []
    contents = open_contents(current.backups().depot, shown)
    if contents is None:
        return []
    with closing(contents):
        return list(contents.changed_files(limit=_SHOWN_WARNINGS))


def _operation_of(backup_id: str) -> Operation | None:
    """The operation that created a backup, while the history has it."""
    try:
        return current.backups().catalog.operation(backup_id)
    except NotFoundError:
        return None


def verify(backup_id: str) -> ResponseReturnValue:
    current.backup(backup_id)
    place = request.form.get("place")
    return watch(verbs.verify.order(current.backups().history, current.who(), backup_id, place))


def rehearse(backup_id: str) -> ResponseReturnValue:
    current.backup(backup_id)
    return watch(verbs.rehearse.order(current.backups().history, current.who(), backup_id))


def verify_all() -> ResponseReturnValue:
    return watch(verbs.verify_all.order(current.who()))


def keep(backup_id: str) -> ResponseReturnValue:
    current.backups().history.keep(backup_id, kept=request.form.get("kept") != "off")
    return redirect(url_for(".backup", backup_id=backup_id), code=303)


def describe(backup_id: str) -> ResponseReturnValue:
    label, note = request.form.get("label", ""), request.form.get("note", "")
    remarks.describe(current.backups().catalog, backup_id, label=label, note=note)
    return redirect(url_for(".backup", backup_id=backup_id), code=303)


def acknowledge(backup_id: str) -> ResponseReturnValue:
    catalog, note = current.backups().catalog, request.form.get("note", "").strip()
    if not note:
        abort(400, "Nothing was acknowledged. Go back, and say why the files have changed.")
    remarks.acknowledge(catalog, current.app(), current.who(), backup_id, note)
    return redirect(url_for(".backup", backup_id=backup_id), code=303)


def confirm_delete(backup_id: str) -> str:
    """The question on a page of its own, for browsers that don't open the dialog."""
    return render_template("hexhub_backup/delete.html", backup=current.backup(backup_id))


def delete(backup_id: str) -> ResponseReturnValue:
    copies.delete(backup_id, everywhere=request.form.get("where") == "everywhere")
    return redirect(url_for(".history"), code=303)


def remove(backup_id: str) -> ResponseReturnValue:
    copies.delete(backup_id, everywhere="everywhere" in request.args)
    return "", 204


def restore() -> str:
    backups = current.backups()
    name = request.args.get("backup")
    chosen = None if name is None else current.backup(name)
    if (found_name := request.args.get("found")) is not None:
        backups.depot.found_archive(found_name)
    wanted = BackupFilter(text=asked_text(), state="completed")
    pages = pages_of(count_listed(backups.catalog.engine, wanted), "backups")
    return render_template(
        "hexhub_backup/restore.html",
        backups=backups.history.backups(wanted, offset=pages.offset, limit=pages.size),
        pages=pages,
        text=wanted.text,
        is_filtered=bool(wanted.text),
        chosen=chosen,
        found=backups.depot.found(),
        found_name=found_name,
        encrypted=_encrypted(chosen) if chosen else [],
        chunk_size=tus.chunk_size(),
        running=current.running(),
    )


def _encrypted(backup: Backup) -> list[Copy]:
    """The copies of a backup, one of which has to be opened with a key: the best one first."""
    best = backup.elsewhere
    if best is None or not best.encrypted:
        return []
    return [best, *(each for each in backup.good_copies if each.encrypted and each != best)]


def cancel(operation_id: str) -> ResponseReturnValue:
    current.backups().orders.cancel(current.app(), operation_id)
    return redirect(url_for(".operation", operation_id=operation_id), code=303)


# errors


def nothing(anything: str = "") -> str:
    """Any other address below the prefix. Without a rule for it the host's own 404 would answer."""
    others = [method for method in _METHODS if _endpoint(method) != request.endpoint]
    if not others:
        abort(404, "There is no such page among the backups.")
    raise MethodNotAllowed(
        others,
        # Reached by signing in again after a button was pressed, or from a bookmark.
        marked(
            "This address belongs to a button, and opening it does nothing. Use the button on the "
            "backup's page."
            if "GET" not in others
            else f"This address can be opened, but does not take {request.method}."
        ),
    )


def _endpoint(method: str) -> str:
    """The endpoint of this request's address with another method."""
    adapter = request_ctx.url_adapter
    return "" if adapter is None else str(adapter.match(method=method)[0])


def http_error(error: HTTPException) -> ResponseReturnValue:
    if error.code is None or error.response is not None:
        return error.get_response()
    status = error.code
    message = error.description or error.name
    if status == 500:
        message = marked("Something went wrong on the server. The host's log has the details.")
    document = {"code": error.name.lower().replace(" ", "_"), "message": message, "faults": []}
    page, status = _error_page(status, _TITLES.get(status, error.name), document)
    # For example the Allow of a 405.
    return page, status, [each for each in error.get_headers() if each[0] != "Content-Type"]


def old_token(error: OldTokenError) -> ResponseReturnValue:
    """The form once more, with a new token and one button to go on. A file has to be chosen
    again."""
    if _wants_json():
        return http_error(error)
    with_file = request.mimetype == "multipart/form-data" and not {"backup", "upload"} & {
        *dict(error.fields)
    }
    page = render_template(
        "hexhub_backup/expired.html", fields=error.fields, choose_again=with_file
    )
    return page, 400


def backup_error(error: BackupError) -> ResponseReturnValue:
    status = _STATUS.get(error.code, 500)
    return _error_page(status, error.title, error.as_json())


def file_error(error: OSError) -> ResponseReturnValue:
    """What a page needs of the disk can't be read just now."""
    _log.error("a page could not be shown", exc_info=without_messages(error))
    trouble = current.backups().depot.trouble()
    if trouble is not None:
        return backup_error(StorageError(f"{trouble} {current.backups().depot.advice}"))
    return backup_error(as_backup_error(error, "request"))


def missing_template(error: TemplateNotFound) -> ResponseReturnValue:
    name = str(error.name)
    named = name == current.backups().settings.base_template
    return backup_error(
        SettingError(
            f"The template {name} does not exist, but HEXHUB_BACKUP_BASE_TEMPLATE names it: create "
            "it, or name another."
            if named
            else f"The template {name} does not exist, but a page needs it: create it, or name "
            "another."
        )
    )


def _error_page(
    status: int, title: str, document: dict[str, Any]
) -> tuple[str | dict[str, Any], int]:
    if _wants_json():
        return {"error": document}, status
    values = {"status": status, "title": title, "error": document, "running": []}
    if document["code"] == "busy":
        values["running"] = current.running()
    own = "hexhub_backup/base.html"
    try:
        # The host's layout may be for admins only.
        base = {"base_template": own} if status in (401, 403) else {}
        page = render_template("hexhub_backup/error.html", **values, **base)
    except Exception:
        # The host's layout may need what has just failed.
        page = render_template("hexhub_backup/error.html", **values, base_template=own)
    return page, status


def _wants_json() -> bool:
    accepted = request.accept_mimetypes
    return accepted["application/json"] > accepted["text/html"]


def no_store(response: Any) -> Any:
    """Keep pages and archives out of caches: they are for admins only."""
    if request.endpoint != "hexhub_backup.static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response
