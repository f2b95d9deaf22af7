"""`flask backups copy`, `bring-back` and `destinations …`: the commands about copies elsewhere."""

from __future__ import annotations

import time
from typing import Any

import click
from flask.cli import AppGroup

from hexhub_backup import formatting, terminal, verbs
from hexhub_backup.cli_base import (
    acting,
    command,
    document,
    is_queued,
    print_warnings,
    running,
    the_app,
    the_backups,
    who_is,
)
from hexhub_backup.cli_identity import identified
from hexhub_backup.copy_text import check_lines, copy_row, destination_lines
from hexhub_backup.destinations.base import Destination, find
from hexhub_backup.errors import BackupError, NotFoundError, NotHeldError
from hexhub_backup.history.expiring import want_copy
from hexhub_backup.history.instance import take_over, to_take_over
from hexhub_backup.history.models import COPIED, COPYING, WAITING, Backup, Copy, Who
from hexhub_backup.terminal import Output
from hexhub_backup.verbs.base import Order

#: Seconds between two looks at the copies that others make.
_LOOK_EVERY = 0.5

destinations = AppGroup("destinations", help="The places elsewhere that backups are copied to.")


@command("list", group=destinations)
def list_(out: Output) -> list[dict[str, Any]]:
    """List the destinations, and ask each how it is."""
    rows = [_row(each) for each in the_backups().destinations.values()]
    if not rows:
        out.print("There is no destination: give init_app of hexhub_backup some.")
    for row in rows:
        out.print(*destination_lines(row))
    return rows


def _row(destination: Destination) -> dict[str, Any]:
    row = {"name": destination.name, "location": destination.location}
    try:
        about = destination.about()
    except (BackupError, OSError) as error:
        return {**row, "ready": False, "reason": str(error), "free": None, "notes": []}
    return {**row, "ready": True, "reason": None, "free": about.free, "notes": [*about.notes]}


@command("check", group=destinations)
@click.argument("names", nargs=-1, metavar="[NAME]…")
def check(out: Output, names: tuple[str, ...]) -> dict[str, Any]:
    """Write a small file to each destination, read it back and delete it. Exits with 1 where that
    fails."""
    backups = the_backups()
    places = [find(backups.destinations, each).name for each in names or backups.destinations]
    if not places:
        raise NotFoundError("There is no destination: give init_app of hexhub_backup some.")
    found = [backups.check(name) for name in places]
    for each in found:
        out.print(*check_lines(each))
    document = {"destinations": [each.as_json() for each in found]}
    if not all(each.ok for each in found):
        out.print_document(document)
        raise click.exceptions.Exit(1)
    return document


@command("init", group=destinations)
@click.argument("name")
def init(out: Output, name: str) -> dict[str, Any]:
    """Make a place a destination: put the marker file into a directory, look at a bucket."""
    destination = find(the_backups().destinations, name)
    destination.init()
    row = _row(destination)
    free = "" if row["free"] is None else f", {formatting.size(row['free'])} free"
    out.print(f"{destination.name} is a destination: {destination.location}{free}.")
    return row


@command("scan", group=destinations)
@click.argument("names", nargs=-1, metavar="[NAME]…")
@acting
def scan(out: Output, names: tuple[str, ...], *, actor: str | None) -> dict[str, Any]:
    """Find the backups that lie at the destinations, and adopt those that nobody knows."""
    backups = the_backups()
    places = [find(backups.destinations, each).name for each in names or backups.destinations]
    if not places:
        raise NotFoundError("There is no destination: give init_app of hexhub_backup some.")
    with running(out) as run:
        done = run(verbs.scan.order(who_is(actor), places))
    print_warnings(out, done)
    for place, counts in done.outcome["places"].items():
        found = formatting.plural(counts["copies"], "{count} copy", "{count} copies")
        out.print(f"{place}: {found}, {counts['new']:,} new, {counts['missing']:,} missing.")
    for backup in done.outcome["adopted"]:
        of_another = " as another registry's" if backup in done.outcome["foreign"] else ""
        out.print(
            f"Backup {backup} is adopted{of_another}: 'flask backups restore {backup}' restores it."
        )
    if to_take_over(backups.catalog.engine):
        out.print(
            "Nobody has said whether this is the new machine of the registry that made them. If it "
            "is, and the old one is lost, run 'flask backups destinations take-over': until then "
            "no rule deletes them here."
        )
    elif done.outcome["foreign"]:
        out.print(
            "No rule deletes another registry's, unless 'flask backups keep ID --off' is run."
        )
    told = {name: done.outcome[name] for name in ("adopted", "foreign", "places")}
    return document(done, None, **told)


@command("take-over", group=destinations)
@click.option("--yes", is_flag=True, help="Do not ask.")
def take_over_(out: Output, *, yes: bool) -> dict[str, Any]:
    """Go on as the registry that made the backups which a scan has found: its machine is lost."""
    engine = the_backups().catalog.engine
    count = to_take_over(engine)
    if count and not yes:
        found = formatting.plural(count, "{count} backup was", "{count} backups were")
        terminal.confirm(
            f"{found} made by another registry. Go on as that one? From then on the rules of this "
            "one delete them, and their copies: the machine that made them has to be lost.",
            "Nothing was taken over",
        )
    taken = take_over(engine)
    out.print(
        formatting.plural(
            taken,
            "{count} backup is this registry's own now.",
            "{count} backups are this registry's own now.",
        )
    )
    return {"taken_over": taken}


def make_copies(out: Output, who: Who, *, of: str | None = None) -> list[dict[str, Any]]:
    """Make the copies that are due, and print what becomes of each. With `--queue` the worker that
    has made the backup `of` which they are may have begun them: they are waited for."""
    rows, backups = dict[tuple[str, str], Copy](), the_backups()
    with running(out) as run:
        while True:
            for copy, failure in backups.copying.run_due(the_app(), who, run):
                rows[copy.backup_id, copy.place] = copy
                out.print(_made_text(copy, None if failure is None else str(failure)))
            others = []
            if of is not None and is_queued() and backups.orders.stopping is None:
                copies = backups.catalog.copies.of(of)
                others = [each for each in copies if (of, each.place) not in rows]
            for copy in others:
                if copy.attempts or copy.state not in (WAITING, COPYING):
                    rows[of or "", copy.place] = copy
                    out.print(_made_text(copy, None if copy.state == COPIED else copy.reason))
            if not others:
                return [copy_row(each) for each in rows.values()]
            time.sleep(_LOOK_EVERY)


def _made_text(copy: Copy, failure: str | None) -> str:
    """What has become of a copy."""
    if failure is None:
        return f"Backup {copy.backup_id} is copied to {copy.place}."
    then = "" if copy.due_at is None else f" Next attempt: {formatting.time(copy.due_at)}."
    return f"Backup {copy.backup_id} is not copied to {copy.place}: {failure}{then}"


@command("copy")
@click.argument("backup", metavar="[ID]", required=False)
@click.option("--to", "places", metavar="NAME", multiple=True, help="Only to this destination.")
@acting
def copy(
    out: Output, backup: str | None, *, places: tuple[str, ...], actor: str | None
) -> dict[str, Any]:
    """Copy a backup to the destinations that have no copy of it, or make the copies that are due.
    Exits with 1 where one fails."""
    backups = the_backups()
    if not backups.destinations:
        raise NotFoundError("There is no destination: give init_app of hexhub_backup some.")
    if backup is not None:
        backups.history.find(backup)
        for place in places or backups.destinations:
            find(backups.destinations, place)
            try:
                want_copy(backups.history, backup, place)
            except NotHeldError as error:
                if places:
                    raise
                out.print(str(error))
    rows = make_copies(out, who_is(actor))
    if not rows:
        out.print("No copy is due.")
    result = {"copies": rows}
    if any(row["state"] != "copied" for row in rows):
        out.print_document(result)
        raise click.exceptions.Exit(1)
    return result


@command("bring-back")
@click.argument("backup", metavar="ID")
@acting
@identified
def bring_back(
    out: Output, backup: str, *, place: str | None, actor: str | None, key: Order | None
) -> dict[str, Any]:
    """Fetch the archive of a backup from a copy, and check it."""
    backups = the_backups()
    with running(out) as run:
        order = verbs.bring_back.order(backups.history, who_is(actor), backup, place, key)
        done = run(order)
    archive = backups.depot.archive_name(backup)
    with_warnings = print_warnings(out, done)
    out.print(f"Backup {backup} is back from {done.outcome['place']}{with_warnings}: {archive}")
    return document(done, archive, place=done.outcome["place"])


def deletes_where(backup: Backup, *, everywhere: bool) -> str:
    """Where a backup that has copies is deleted, for people."""
    places = [copy.place for copy in backup.copies if copy.state == COPIED]
    if not places:
        return ""
    if everywhere:
        return f" here and in {', '.join(places)}"
    stays = ", ".join(copy.place for copy in backup.good_copies)
    damaged = ", ".join(copy.place for copy in backup.copies if copy.damaged)
    said = f"it stays in {stays}" if stays else "no good copy of it stays"
    return f" here, and nowhere else ({said}{f'; damaged in {damaged}' if damaged else ''})"


def delete_copies(out: Output, who: Who, backup: str) -> list[dict[str, Any]]:
    """Delete the copies of a deleted backup that are to go. Gives those that have to stay for
    now."""
    backups = the_backups()
    if backups.catalog.copies.going(backup):
        with running(out) as run:
            run(verbs.delete_copies.order(who))
    left = backups.catalog.copies.going(backup)
    for copy in left:
        out.print(f"The copy in {copy.place} stays for now: {copy.reason}")
    return [copy_row(copy) for copy in left]
