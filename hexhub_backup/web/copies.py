"""What the pages do about copies elsewhere: make one, bring one back, scan, delete everywhere."""

from __future__ import annotations

from contextlib import suppress

from flask import Blueprint, redirect, request, url_for
from flask.typing import ResponseReturnValue

from hexhub_backup import verbs
from hexhub_backup.destinations.base import find
from hexhub_backup.errors import BackupError
from hexhub_backup.history import instance
from hexhub_backup.history.expiring import want_copy
from hexhub_backup.verbs.base import Order
from hexhub_backup.web import current


def add_to(blueprint: Blueprint) -> None:
    """Add the buttons about copies to the blueprint."""
    for rule, name, view in (
        ("/operations/scan", "scan", scan),
        ("/protection/take-over", "take_over", take_over),
        ("/<backup_id>/copy", "copy", copy),
        ("/<backup_id>/bring-back", "bring_back", bring_back),
    ):
        blueprint.add_url_rule(rule, name, view, methods=["POST"])


def watch(order: Order) -> ResponseReturnValue:
    """Have an order run, and go where that can be watched."""
    operation_id = current.backups().orders.start(current.app(), order)
    return redirect(url_for(".operation", operation_id=operation_id), code=303)


def scan() -> ResponseReturnValue:
    return watch(verbs.scan.order(current.who(), list(current.backups().destinations)))


def take_over() -> ResponseReturnValue:
    """Go on as the registry that made what was found: somebody says that its machine is lost."""
    instance.take_over(current.backups().catalog.engine)
    return redirect(url_for(".history"), code=303)


def copy(backup_id: str) -> ResponseReturnValue:
    """Let a copy be due now, and begin with what is due."""
    backups, place = current.backups(), request.form.get("place", "")
    current.backup(backup_id)
    backups.history.find(backup_id)
    want_copy(backups.history, backup_id, find(backups.destinations, place).name)
    orders = backups.copying.take_due(current.who())
    for order in orders:
        backups.orders.start(current.app(), order)
    return redirect(url_for(".backup", backup_id=backup_id), code=303)


def bring_back(backup_id: str) -> ResponseReturnValue:
    history = current.backups().history
    return watch(verbs.bring_back.order(history, current.who(), backup_id))


def delete(backup_id: str, *, everywhere: bool) -> None:
    """Delete a backup on this server; the copies that are to go are deleted by an operation that is
    started. What keeps that from beginning is left to the next prune."""
    backups, who = current.backups(), current.who()
    backups.history.delete(current.app(), who, backup_id, everywhere=everywhere)
    if backups.catalog.copies.going(backup_id):
        with suppress(BackupError):
            backups.orders.start(current.app(), verbs.delete_copies.order(who))
