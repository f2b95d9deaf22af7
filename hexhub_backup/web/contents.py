"""The contents of a backup: its records and files, listed, searched, and restored one package or
release at a time."""

from __future__ import annotations

from contextlib import closing

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hexhub_backup import verbs
from hexhub_backup.archive.records import PACKAGES
from hexhub_backup.history.contents import open_contents
from hexhub_backup.history.models import Backup
from hexhub_backup.operations.choice import STRATEGIES, Choice, Strategy
from hexhub_backup.operations.plan import KIND_OF
from hexhub_backup.web import current
from hexhub_backup.web.lists import RECORDS_PAGE_SIZE, asked_text, one_of, pages_of
from hexhub_backup.web.outcomes import operation_page


def add_to(blueprint: Blueprint) -> None:
    """Add the contents of backups to the blueprint."""
    for rule, name, view, methods in (
        ("/<backup_id>/contents", "contents", contents, ["GET"]),
        ("/<backup_id>/contents", "list_contents", list_contents, ["POST"]),
        ("/<backup_id>/contents/<kind>/<path:name>", "record", record, ["GET"]),
        (
            "/<backup_id>/contents/packages/<path:name>",
            "restore_package",
            restore_package,
            ["POST"],
        ),
        (
            "/<backup_id>/contents/releases/<package>/<version>",
            "restore_release",
            restore_release,
            ["POST"],
        ),
    ):
        blueprint.add_url_rule(rule, name, view, methods=methods)


def contents(backup_id: str) -> ResponseReturnValue:
    """The records of one kind, or that they are not listed."""
    shown = current.backup(backup_id)
    found = open_contents(current.backups().depot, shown)
    if found is None:
        return _not_listed(shown)
    with closing(found):
        kind, text = KIND_OF[one_of("kind", KIND_OF) or PACKAGES.name], asked_text()
        pages = pages_of(found.count(kind, text), kind.name, RECORDS_PAGE_SIZE)
        return render_template(
            "hexhub_backup/contents.html",
            backup=shown,
            found=found,
            kind=kind,
            text=text,
            tabs=[(each.name, found.count(each)) for each in KIND_OF.values()],
            pages=pages,
            entries=found.search(kind, text, offset=pages.offset, limit=RECORDS_PAGE_SIZE),
            chosen={"kind": kind.name, **({"text": text} if text else {})},
            is_filtered=bool(text),
        )


def _not_listed(shown: Backup) -> ResponseReturnValue:
    """How far the verification is that lists them, or the button that begins one."""
    if (name := request.args.get("operation")) is not None:
        operation = current.operation(name)
        if operation.backup_id == shown.id and operation.state != "completed":
            return operation_page(operation)
    return render_template("hexhub_backup/not_listed.html", backup=shown)


def list_contents(backup_id: str) -> ResponseReturnValue:
    """Have the archive verified, which lists what is in it."""
    backups = current.backups()
    current.backup(backup_id)
    order = verbs.verify.order(backups.history, current.who(), backup_id)
    operation = backups.orders.start(current.app(), order)
    return redirect(url_for(".contents", backup_id=backup_id, operation=operation), code=303)


def record(backup_id: str, kind: str, name: str) -> ResponseReturnValue:
    """One record, with those of one kind that name it."""
    shown = current.backup(backup_id)
    found = open_contents(current.backups().depot, shown)
    if found is None:
        return redirect(url_for(".contents", backup_id=backup_id), code=303)
    with closing(found):
        of = KIND_OF.get(kind)
        # What nothing names has no page of its own.
        entry = found.record(of, name) if of is not None and of.children else None
        if of is None or entry is None:
            abort(404, f"This backup holds no {kind if of is None else of.one} {name}.")
        counts = found.child_counts(entry)
        child = KIND_OF[one_of("of", counts) or next(iter(counts))]
        pages = pages_of(counts[child.name], child.name, RECORDS_PAGE_SIZE)
        return render_template(
            "hexhub_backup/record.html",
            backup=shown,
            found=found,
            entry=entry,
            kind=child,
            tabs=list(counts.items()),
            pages=pages,
            entries=found.children(entry, child, offset=pages.offset, limit=RECORDS_PAGE_SIZE),
            chosen={"kind": of.name, "name": name, "of": child.name},
            is_filtered=False,
            restorable=of is PACKAGES and shown.good,
        )


def restore_package(backup_id: str, name: str) -> ResponseReturnValue:
    """Plan a restore of one package, with its releases, files and owners."""
    choice = Choice(strategy=_strategy(), users="users" in request.form, packages=(name,))
    return _plan(backup_id, choice)


def restore_release(backup_id: str, package: str, version: str) -> ResponseReturnValue:
    """Plan a restore of one release, with its files."""
    releases = ((package, version),)
    return _plan(backup_id, Choice(strategy=_strategy(), users=False, releases=releases))


def _strategy() -> Strategy:
    strategy = request.form.get("conflict_strategy", "skip")
    if strategy not in STRATEGIES:
        abort(400, f"There is no strategy {strategy!r}: {', '.join(STRATEGIES)}.")
    return strategy


def _plan(backup_id: str, choice: Choice) -> ResponseReturnValue:
    backups = current.backups()
    current.backup(backup_id)
    order = verbs.inspect.order(backups.history, current.who(), backup_id, choice)
    planned = backups.orders.start(current.app(), order)
    return redirect(url_for(".plan", plan_id=planned), code=303)
