"""`flask backups …`: the same verbs as the pages, run in the main thread of the command."""

from __future__ import annotations

import dataclasses
from typing import Any

import click
from flask import Flask

from hexhub_backup import (
    cli_alerts,
    cli_contents,
    cli_copies,
    cli_doctor,
    cli_keys,
    cli_prune,
    cli_rehearse,
    formatting,
    plan_text,
    terminal,
    verbs,
)
from hexhub_backup.cli_base import (
    acting,
    backups_cli,
    command,
    document,
    print_warnings,
    queueing,
    running,
    the_app,
    the_backups,
    who_is,
)
from hexhub_backup.cli_choice import choice, choosing
from hexhub_backup.cli_identity import identified, path_of
from hexhub_backup.copy_text import copy_row, stays_text
from hexhub_backup.errors import ChangedError
from hexhub_backup.history.models import Backup, ListedBackup
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.running import Done
from hexhub_backup.operations.differing import since_text
from hexhub_backup.schedule.tick import next_at, tick
from hexhub_backup.terminal import Output
from hexhub_backup.verbs.base import Order
from hexhub_backup.watching.problem import Level

#: Exit codes of the Monitoring Plugins Development Guidelines, which Nagios, Icinga and others use.
_EXIT_CODES: dict[Level, int] = {"fine": 0, "warning": 1, "critical": 2}

__all__ = ["backups_cli", "cli_contents", "cli_doctor", "cli_prune", "cli_rehearse"]

backups_cli.add_command(cli_copies.destinations)
backups_cli.add_command(cli_alerts.alerts)
backups_cli.add_command(cli_keys.keys)


@command("create")
@acting
def create(out: Output, actor: str | None) -> dict[str, Any]:
    """Back up the registry to one archive."""
    backups = the_backups()
    with running(out) as run:
        done = run(verbs.create.order(who_is(actor)))
    archive = backups.depot.archive_name(done.operation)
    contents = done.outcome["manifest"]["contents"]
    with_warnings = print_warnings(out, done)
    out.print(
        f"Backup {done.operation} is complete{with_warnings}: {formatting.contents(contents)}"
    )
    out.print(
        f"{formatting.size(done.outcome['size_bytes'])} in {done.duration_seconds} s: {archive}"
    )
    since = done.outcome["since"]
    if since is not None:
        out.print(f"Since backup {since['backup']}: {since_text(since['records'])}")
    made = {"size_bytes": done.outcome["size_bytes"], "contents": contents, "since": since}
    if backups.destinations:
        made["copies"] = cli_copies.make_copies(out, who_is(actor), of=done.operation)
    return document(done, archive, **made)


def _row(backup: Backup | ListedBackup) -> dict[str, Any]:
    row = dataclasses.asdict(backup)
    for name in ("manifest", "places"):
        row.pop(name, None)
    return {
        **row,
        "adopted": backup.adopted,
        "elsewhere": backup.elsewhere and backup.elsewhere.place,
        "copies": [
            {**copy_row(copy), "held": copy.held, "expires_at": copy.expires_at}
            for copy in backup.copies
        ],
        "archive": the_backups().depot.archive_name(backup.id),
        "contents": backup.contents,
        "checksums": bool(backup.checksums),
    }


@command("list")
def list_(out: Output) -> list[dict[str, Any]]:
    """List the backups, the latest first."""
    rows = [_row(backup) for backup in the_backups().history.backups()]
    if not rows:
        out.print("There is no backup yet: 'flask backups create' creates the first one.")
    for row in rows:
        out.print(*terminal.list_lines(row))
    return rows


@command("show")
@click.argument("backup", metavar="ID")
def show(out: Output, backup: str) -> dict[str, Any]:
    """Show all details of a backup."""
    row = _row(the_backups().history.backup(backup))
    out.print(*terminal.show_lines(row))
    return row


@command("verify")
@click.argument("archive", metavar="ID-or-FILE")
@acting
@identified
def verify(
    out: Output, archive: str, *, place: str | None, actor: str | None, key: Order | None
) -> dict[str, Any]:
    """Verify an archive: its structure, its counts and every hash."""
    backups = the_backups()
    order = verbs.verify.order(backups.history, who_is(actor), archive, place, key)
    path = path_of(key or order)
    with running(out) as run:
        done = run(order)
    contents = done.outcome["manifest"]["contents"]
    with_warnings = print_warnings(out, done)
    if any(warning["code"] == "not_checked" for warning in done.outcome["warnings"]):
        out.print(f"{path} is readable, but could not be checked: it has no checksums.")
        out.print(formatting.contents(contents))
    else:
        out.print(f"{path} is intact{with_warnings}: {formatting.contents(contents)}")
    return document(done, path, contents=contents, digest=done.outcome["digest"])


@command("verify-all")
@acting
def verify_all(out: Output, actor: str | None) -> dict[str, Any]:
    """Check the archive of every backup. Exits with 1 where one is damaged."""
    with running(out) as run:
        done = run(verbs.verify_all.order(who_is(actor)))
    checked = done.outcome["checked"]
    damaged = sum(not each["intact"] for each in checked)
    print_warnings(out, done)
    out.print(
        f"{formatting.plural(len(checked), '{count} backup', '{count} backups')} checked, "
        f"{formatting.number(damaged)} damaged."
    )
    shown = document(done, None, checked=checked)
    if damaged:
        out.print_document(shown)
        raise click.exceptions.Exit(1)
    return shown


def _remove_plan(order: Order) -> None:
    """Remove a plan, and a copy that was fetched for it: they hold password hashes, and no other
    command would use them."""
    depot = the_backups().depot
    depot.kept("plan", order.id).remove()
    depot.remove_upload(depot.upload_name(order.id))


@command("inspect")
@click.argument("archive", metavar="ID-or-FILE")
@choosing
@acting
@identified
def inspect(
    out: Output,
    archive: str,
    *,
    place: str | None,
    actor: str | None,
    key: Order | None,
    **chosen: Any,
) -> dict[str, Any]:
    """Show what a restore of an archive would do. Changes nothing."""
    backups, who = the_backups(), who_is(actor)
    order = verbs.inspect.order(backups.history, who, archive, choice(**chosen), key, place=place)
    path = path_of(key or order)
    with running(out) as run:
        done = run(order)
    try:
        plan = plan_text.plan_document(backups, done)
    finally:
        _remove_plan(order)
    out.print(*plan_text.plan_lines(plan))
    out.print(f"Plan hash: {plan['hash']}")
    return document(done, path, plan=plan)


@command("restore")
@click.argument("archive", metavar="ID-or-FILE")
@choosing
@click.option(
    "--plan-hash", metavar="HASH", help="Restore only if this is still the plan's hash, by inspect."
)
@click.option("--backup-first", is_flag=True, help="Back up the registry first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@acting
@identified
def restore(
    out: Output,
    archive: str,
    *,
    place: str | None,
    plan_hash: str | None,
    backup_first: bool,
    yes: bool,
    actor: str | None,
    key: Order | None,
    **chosen: Any,
) -> dict[str, Any]:
    """Restore an archive: the whole plan, or nothing."""
    backups, who = the_backups(), who_is(actor)
    if not yes:
        terminal.require_answer("Nothing was restored", as_json=out.as_json)
    asked = verbs.inspect.order(backups.history, who, archive, choice(**chosen), key, place=place)
    path = path_of(key or asked)
    with running(out) as run:
        inspected = run(asked)
    try:
        plan = plan_text.plan_document(backups, inspected)
        if plan_hash is not None and plan_hash != plan["hash"]:
            raise ChangedError(
                f"Nothing was restored, because the plan has changed, its hash is {plan['hash']}: "
                "inspect the archive again."
            )
        if not (out.as_json and yes):
            for line in plan_text.plan_lines(plan):
                terminal.print_line(line, err=out.as_json)
        if not yes:
            plan_text.confirm_restore(plan)
        with running(out) as run:
            order = verbs.restore.order(
                backups.plans, who, inspected.operation, backup_first=backup_first
            )
            done = run(order)
    finally:
        _remove_plan(asked)
    outcome = done.outcome
    with_warnings = print_warnings(out, done)
    if "backup_first" in outcome:
        out.print(
            f"Backup {outcome['backup_first']} holds the registry as it was before the restore."
        )
    out.print(*terminal.restored_lines(outcome))
    out.print(f"Restore {done.operation} is complete{with_warnings}.")
    if backups.history.undoable(backups.catalog.operation(done.operation)):
        out.print(f"'flask backups undo {done.operation}' undoes it.")
    return document(
        done,
        path,
        plan=plan,
        records=outcome["records"],
        files=outcome["files"],
        changed=outcome["changed"],
        backup_first=outcome.get("backup_first"),
    )


@command("undo")
@click.argument("operation")
@click.option("--grant-protected", is_flag=True, help="Also change accounts with rights.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@acting
def undo(
    out: Output, operation: str, *, grant_protected: bool, yes: bool, actor: str | None
) -> dict[str, Any]:
    """Undo a restore: bring back what it replaced, and remove what it created."""
    backups = the_backups()
    order = verbs.undo.order(backups.history, who_is(actor), operation, granted=grant_protected)
    if not yes:
        terminal.require_answer("Nothing was undone", as_json=out.as_json)
        terminal.confirm(f"Undo the restore {operation}?", "Nothing was undone")
    with running(out) as run:
        done = run(order)
    with_warnings = print_warnings(out, done)
    out.print(*terminal.undone_lines(done.outcome))
    out.print(f"The restore {operation} is undone{with_warnings}.")
    outcome = {name: done.outcome[name] for name in ("undone", "records", "files", "changed")}
    return document(done, None, **outcome)


@command("delete")
@click.argument("backup", metavar="ID")
@click.option("--everywhere", is_flag=True, help="Its copies elsewhere, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@acting
def delete(
    out: Output, backup: str, *, everywhere: bool, yes: bool, actor: str | None
) -> dict[str, Any]:
    """Delete a backup here, or everywhere."""
    backups, who = the_backups(), who_is(actor)
    where = cli_copies.deletes_where(backups.history.backup(backup), everywhere=everywhere)
    if not yes:
        terminal.require_answer("Nothing was deleted", as_json=out.as_json)
        terminal.confirm(f"Delete backup {backup}{where} permanently?", "Nothing was deleted")
    backups.history.delete(the_app(), who, backup, everywhere=everywhere)
    left = cli_copies.delete_copies(out, who, backup)
    if not left:
        out.print(f"Backup {backup} has been deleted{where}.")
    return {"id": backup, "state": "deleting" if left else "deleted", "copies": left}


@command("keep")
@click.argument("backup", metavar="ID")
@click.option("--off", is_flag=True, help="Allow it to expire again.")
def keep(out: Output, backup: str, *, off: bool) -> dict[str, Any]:
    """Keep a backup forever."""
    row = _row(the_backups().history.keep(backup, kept=not off))
    out.print(f"Backup {backup} {stays_text(row, 'expires on', 'is')}.")
    return row


# What can't be told is no better than what is wrong.
@command("status", failure=_EXIT_CODES["critical"])
def status(out: Output) -> dict[str, Any]:
    """Say whether the registry is protected. Exits with 1 for a warning, 2 where it is critical."""
    backups, now = the_backups(), utc_now()
    found = backups.status(now)
    out.print(*found.sentences(now))
    document = found.as_json()
    if found.level != "fine":
        out.print_document(document)
        raise click.exceptions.Exit(_EXIT_CODES[found.level])
    return document


@command("tick")
@queueing
def tick_(out: Output) -> dict[str, Any]:
    """Do what is due by the schedule, and exit (from cron, say)."""

    def start(_: Flask, order: Order) -> Done:
        with running(out) as run:
            return run(order)

    ticked, upcoming = tick(the_app(), start), next_at(the_app())
    out.print(*(each.words() for each in ticked) if ticked else ("Nothing is due.",))
    out.print(*(f"The next {job} is due at {formatting.time(at)}." for job, at in upcoming.items()))
    document = {"ticked": [each.as_json() for each in ticked], "next": upcoming}
    if any(each.failed for each in ticked):
        out.print_document(document)
        raise click.exceptions.Exit(1)
    return document


@command("operations")
def operations(out: Output) -> list[dict[str, Any]]:
    """List the operations, the latest first."""
    rows = [terminal.operation_row(operation) for operation in the_backups().history.operations()]
    if not rows:
        out.print("There is no operation yet.")
    for row in rows:
        out.print(terminal.operation_line(row))
    return rows


@command("log")
@click.argument("operation")
def log(out: Output, operation: str) -> list[dict[str, Any]]:
    """Show the log of an operation."""
    events = list(the_backups().orders.events(operation))
    for event in events:
        if event["type"] != "progress":
            out.print(terminal.event_line(event))
    return events


@command("init-db", prepare=False)
def init_db(out: Output) -> dict[str, Any]:
    """Create the tables of hexhub_backup where HEXHUB_BACKUP_CREATE_TABLES is off."""
    the_backups().create_tables()
    out.print("The tables are there.")
    return {"state": "completed"}
