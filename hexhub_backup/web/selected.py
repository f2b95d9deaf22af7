"""Several backups of the list at once: kept, let expire, or deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hexhub_backup.errors import BackupError, NotFoundError
from hexhub_backup.web import copies, current


def add_to(blueprint: Blueprint) -> None:
    """Add what is done with several backups to the blueprint."""
    blueprint.add_url_rule("/selected", "selected", selected, methods=["GET"])
    blueprint.add_url_rule("/selected", "change_selected", change_selected, methods=["POST"])


def selected() -> ResponseReturnValue:
    """What can be done with the backups that were ticked."""
    return _page(request.args.getlist("backup"), {}, 200)


def change_selected() -> ResponseReturnValue:
    """Do it with each of them; those with which it can't be done are listed, with the reason."""
    does = request.form.get("do", "")
    change = _CHANGES.get(does)
    if change is None:
        abort(400, "Nothing was done, because the form does not say what to do.")
    failed, names = {}, dict.fromkeys(request.form.getlist("backup"))
    for name in names:
        try:
            change(name)
        except BackupError as error:
            failed[name] = str(error)
    if failed:
        return _page(list(failed), failed, 409, others=len(names) > len(failed))
    return redirect(url_for(".history"), code=303)


def _delete(backup: str) -> None:
    copies.delete(backup, everywhere=request.form.get("where") == "everywhere")


def _keep(backup: str) -> None:
    current.backups().history.keep(backup)


def _let_expire(backup: str) -> None:
    current.backups().history.keep(backup, kept=False)


_CHANGES: Mapping[str, Callable[[str], None]] = {
    "delete": _delete,
    "keep": _keep,
    "expire": _let_expire,
}


def _page(
    names: list[str], failed: Mapping[str, str], status: int, *, others: bool = False
) -> ResponseReturnValue:
    """The backups that are there still: each of the others has expired, or somebody deleted it."""
    found, gone = [], []
    for name in dict.fromkeys(names):
        try:
            found.append(current.backup(name))
        except NotFoundError as error:
            gone.append(str(error))
    if not found and (failed or not names):
        return redirect(url_for(".history"), code=303)
    if not found:
        abort(404, gone[0])
    page = render_template(
        "hexhub_backup/selected.html", backups=found, failed=failed, gone=gone, others=others
    )
    return page, status
