"""The page that compares two backups, or a backup and the registry as it is now."""

from __future__ import annotations

from contextlib import ExitStack, closing
from itertools import islice

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hexhub_backup import verbs
from hexhub_backup.history.contents import listed_contents, open_listing
from hexhub_backup.history.lists import BackupFilter
from hexhub_backup.history.models import Backup, ListedBackup, Operation
from hexhub_backup.marking import marked
from hexhub_backup.operations.contents import Contents
from hexhub_backup.operations.differing import CHANGES, Found, find_differences
from hexhub_backup.operations.plan import KIND_OF
from hexhub_backup.web import current
from hexhub_backup.web.lists import RECORDS_PAGE_SIZE, one_of, pages_of
from hexhub_backup.web.outcomes import operation_page

#: So many backups are offered.
_OFFERED = 50


def add_to(blueprint: Blueprint) -> None:
    """Add the comparison to the blueprint."""
    blueprint.add_url_rule("/<backup_id>/compare", "compare", compare, methods=["GET"])
    blueprint.add_url_rule("/<backup_id>/compare", "compare_now", compare_now, methods=["POST"])


def compare_now(backup_id: str) -> ResponseReturnValue:
    """Have the registry listed as it is now."""
    backups = current.backups()
    order = verbs.compare.order(backups.history, current.who(), backup_id)
    operation = backups.orders.start(current.app(), order)
    return redirect(url_for(".compare", backup_id=backup_id, now=operation), code=303)


def compare(backup_id: str) -> ResponseReturnValue:
    """A backup beside another one (`with`), or beside what a comparison has listed (`now`)."""
    shown, other, now = current.backup(backup_id), None, None
    if (name := request.args.get("now")) is not None:
        now = current.operation(name)
        if now.backup_id != shown.id:
            abort(404, f"There is no comparison {name} of this backup.")
        if now.state != "completed":
            return operation_page(now)
    elif name := request.args.get("with", ""):
        other = current.backup(name)
    with ExitStack() as opened:
        found = None
        if other is not None or now is not None:
            earlier, later = _in_order(shown, other, now, opened)
            found = _found(earlier, later)
        return render_template(
            "hexhub_backup/compare.html",
            backup=shown,
            other=other,
            now=now,
            others=_others(shown),
            found=found,
            kinds=list(KIND_OF),
            changes=CHANGES,
            chosen=_chosen(),
            is_filtered=bool(_chosen().keys() & {"kind", "change"}),
            pages=pages_of(
                0 if found is None else found.wanted, marked("differences"), RECORDS_PAGE_SIZE
            ),
        )


def _in_order(
    shown: Backup, other: Backup | None, now: Operation | None, opened: ExitStack
) -> tuple[Contents, Contents]:
    """The contents of both, the earlier first. Raises NotFoundError."""
    depot = current.backups().depot
    if other is None:
        assert now is not None  # noqa: S101 (one of both is there)
        both = [listed_contents(depot, shown), open_listing(depot, now.id)]
    else:
        in_order = sorted((shown, other), key=lambda each: (each.created_at, each.id))
        both = [listed_contents(depot, each) for each in in_order]
    for each in both:
        opened.enter_context(closing(each))
    return both[0], both[1]


def _found(earlier: Contents, later: Contents) -> Found:
    page = request.args.get("page", 1, type=int)
    return find_differences(
        earlier,
        later,
        kind=one_of("kind", KIND_OF),
        change=one_of("change", CHANGES),
        offset=(page - 1) * RECORDS_PAGE_SIZE,
        limit=RECORDS_PAGE_SIZE,
    )


def _chosen() -> dict[str, str]:
    """The arguments of this address, but for the page."""
    names = ("with", "now", "kind", "change")
    return {name: request.args[name] for name in names if request.args.get(name)}


def _others(shown: Backup) -> list[ListedBackup]:
    """The latest backups that it can be compared with."""
    latest = islice(current.backups().history.newest(BackupFilter(state="completed")), _OFFERED)
    return [each for each in latest if each.id != shown.id]
