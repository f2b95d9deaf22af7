"""`flask backups …`: the same verbs as the pages, in the command's main thread."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, TypeVar

import click
from flask import Flask, current_app
from flask.cli import AppGroup

from hexhub_backup import plan_text, terminal
from hexhub_backup.cli_choice import choice, choosing
from hexhub_backup.errors import ChangedError, NotFoundError
from hexhub_backup.history.models import Backup, ListedBackup
from hexhub_backup.jobs.runner import Done, as_backup_error
from hexhub_backup.jobs.verbs import Backups, Who

F = TypeVar("F", bound=Callable[..., Any])
Say = Callable[[str], None]

backups_cli = AppGroup("backups", help="Create, check, restore and keep backups of the registry.")


def _app() -> Flask:
    return current_app._get_current_object()  # type: ignore[attr-defined, no-any-return]


def _backups() -> Backups:
    backups: Backups = current_app.extensions["hexhub_backup"]
    return backups


def _who(actor: str | None) -> Who:
    return Who(actor=terminal.text_of(actor or f"cli:{terminal.system_user()}"))


def command(name: str, *, prepare: bool = True) -> Callable[[F], F]:
    """A command with `--json`, that ends with a message instead of a traceback."""

    def decorate(function: F) -> F:
        @wraps(function)
        def run(*args: Any, as_json: bool, **values: Any) -> None:
            with terminal.log_lines(debug=current_app.debug):
                try:
                    if prepare:
                        _backups().prepare(_app())
                    _refuse_bytes(values)
                    document = function(*args, say=_silent if as_json else terminal.tell, **values)
                    if as_json:
                        terminal.tell_document(document)
                except (click.ClickException, click.Abort, click.exceptions.Exit):
                    raise
                except Exception as cause:
                    error = as_backup_error(cause, name)
                    if as_json:
                        terminal.tell_document({"error": error.as_json()})
                    else:
                        terminal.tell_error(error)
                    sys.exit(1)

        run = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(run)
        return backups_cli.command(name)(run)  # type: ignore[return-value]

    return decorate


def _refuse_bytes(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, str) and name != "actor" and value != terminal.text_of(value):
            raise NotFoundError(
                f"{value} is not taken, because it is not UTF-8: rename the file, and start again."
            )


acting = click.option("--as", "actor", metavar="USER", help="Who does it, for the audit log.")


def _silent(_: str) -> None:
    """With --json there is nothing to say."""


def _running(say: Say) -> AbstractContextManager[None]:
    return terminal.watched(_app(), _backups().runner, show=say is terminal.tell)


def _document(done: Done, archive: str | None, **more: Any) -> dict[str, Any]:
    return {
        "id": done.operation,
        "state": "completed",
        "archive": archive,
        "duration_seconds": done.duration_seconds,
        **more,
        "warnings": done.outcome["warnings"],
        "warning_count": done.outcome["warning_count"],
    }


def _say_warnings(say: Say, done: Done) -> str:
    """Say each, and give how many there are for the last line."""
    for line in terminal.warning_lines(done.outcome, done.operation):
        say(line)
    return terminal.warnings_text(done.outcome["warning_count"])


@command("create")
@acting
def create(say: Say, actor: str | None) -> dict[str, Any]:
    """Back up the registry to one archive."""
    backups = _backups()
    with _running(say):
        done = backups.run(backups.create(_app(), _who(actor)))
    archive = str(backups.directory.archive(done.operation))
    contents = done.outcome["manifest"]["contents"]
    with_warnings = _say_warnings(say, done)
    say(f"Backup {done.operation} is complete{with_warnings}: {terminal.contents_text(contents)}")
    say(f"{terminal.size_text(done.outcome['size_bytes'])} in {done.duration_seconds} s: {archive}")
    return _document(done, archive, size_bytes=done.outcome["size_bytes"], contents=contents)


def _row(backup: Backup | ListedBackup) -> dict[str, Any]:
    row = dataclasses.asdict(backup)
    row.pop("manifest", None)
    return {
        **row,
        "archive": str(_backups().directory.archive(backup.id)),
        "contents": backup.contents,
        "checksums": bool(backup.checksums),
    }


@command("list")
def list_(say: Say) -> list[dict[str, Any]]:
    """The backups, the latest first."""
    rows = [_row(backup) for backup in _backups().backups()]
    if not rows:
        say("There is no backup yet: 'flask backups create' makes the first one.")
    for row in rows:
        for line in terminal.list_lines(row):
            say(line)
    return rows


@command("show")
@click.argument("backup", metavar="ID")
def show(say: Say, backup: str) -> dict[str, Any]:
    """What is known of a backup."""
    row = _row(_backups().backup(backup))
    for line in terminal.show_lines(row):
        say(line)
    return row


@command("verify")
@click.argument("archive", metavar="ID-or-FILE")
@acting
def verify(say: Say, archive: str, actor: str | None) -> dict[str, Any]:
    """Check an archive: its structure, its counts and every hash."""
    backups = _backups()
    path, _ = backups.find(archive)
    with _running(say):
        done = backups.run(backups.verify(_app(), _who(actor), archive))
    contents = done.outcome["manifest"]["contents"]
    with_warnings = _say_warnings(say, done)
    if any(warning["code"] == "not_checked" for warning in done.outcome["warnings"]):
        say(f"{path} is readable, but could not be checked: it has no checksums.")
        say(terminal.contents_text(contents))
    else:
        say(f"{path} is intact{with_warnings}: {terminal.contents_text(contents)}")
    return _document(done, str(path), contents=contents, digest=done.outcome["digest"])


@command("inspect")
@click.argument("archive", metavar="ID-or-FILE")
@choosing
@acting
def inspect(say: Say, archive: str, *, actor: str | None, **chosen: Any) -> dict[str, Any]:
    """Show what a restore of an archive would do. Changes nothing."""
    backups, who = _backups(), _who(actor)
    path, _ = backups.find(archive)
    with _running(say):
        done = backups.run(backups.inspect(_app(), who, archive, choice(**chosen)))
    try:
        plan = plan_text.plan_document(backups, done)
    finally:
        # It holds password hashes, and no other command would take it up.
        backups.directory.remove_plan(done.operation)
    for line in plan_text.plan_lines(plan):
        say(line)
    say(f"Plan hash: {plan['hash']}")
    return _document(done, str(path), plan=plan)


@command("restore")
@click.argument("archive", metavar="ID-or-FILE")
@choosing
@click.option(
    "--plan-hash", metavar="HASH", help="Restore only if this is still the plan's hash, by inspect."
)
@click.option("--backup-first", is_flag=True, help="Back up the registry as it is before.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@acting
def restore(
    say: Say,
    archive: str,
    *,
    plan_hash: str | None,
    backup_first: bool,
    yes: bool,
    actor: str | None,
    **chosen: Any,
) -> dict[str, Any]:
    """Restore an archive: all of the plan, or nothing."""
    backups, who, as_json = _backups(), _who(actor), say is not terminal.tell
    path, _ = backups.find(archive)
    if not yes:
        terminal.require_answer("Nothing was restored", as_json=as_json)
    with _running(say):
        inspected = backups.run(backups.inspect(_app(), who, archive, choice(**chosen)))
    try:
        plan = plan_text.plan_document(backups, inspected)
        if plan_hash is not None and plan_hash != plan["hash"]:
            raise ChangedError(
                f"Nothing was restored, because the plan is another one by now, {plan['hash']}: "
                "inspect the archive again."
            )
        if not (as_json and yes):
            for line in plan_text.plan_lines(plan):
                terminal.tell(line, err=as_json)
        if not yes:
            plan_text.confirm_restore(plan)
        with _running(say):
            job = backups.restore(_app(), who, inspected.operation, backup_first=backup_first)
            done = backups.run(job)
    finally:
        backups.directory.remove_plan(inspected.operation)
    outcome = done.outcome
    with_warnings = _say_warnings(say, done)
    if "backup_first" in outcome:
        say(f"Backup {outcome['backup_first']} holds the registry as it was before.")
    for line in terminal.restored_lines(outcome):
        say(line)
    say(f"Restore {done.operation} is complete{with_warnings}.")
    if backups.undoable(backups.catalog.operation(done.operation)):
        say(f"'flask backups undo {done.operation}' takes it back.")
    return _document(
        done,
        str(path),
        plan=plan,
        records=outcome["records"],
        files=outcome["files"],
        changed=outcome["changed"],
        backup_first=outcome.get("backup_first"),
    )


@command("undo")
@click.argument("operation")
@click.option("--grant-protected", is_flag=True, help="Change who has rights, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@acting
def undo(
    say: Say, operation: str, *, grant_protected: bool, yes: bool, actor: str | None
) -> dict[str, Any]:
    """Undo a restore: bring back what it replaced, and remove what it created."""
    backups = _backups()
    job = backups.undo(_app(), _who(actor), operation, granted=grant_protected)
    if not yes:
        terminal.require_answer("Nothing was undone", as_json=say is not terminal.tell)
        terminal.confirm(f"Undo the restore {operation}?", "Nothing was undone")
    with _running(say):
        done = backups.run(job)
    with_warnings = _say_warnings(say, done)
    for line in terminal.undone_lines(done.outcome):
        say(line)
    say(f"The restore {operation} is undone{with_warnings}.")
    outcome = {name: done.outcome[name] for name in ("undone", "records", "files", "changed")}
    return _document(done, None, **outcome)


@command("delete")
@click.argument("backup", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@acting
def delete(say: Say, backup: str, *, yes: bool, actor: str | None) -> dict[str, Any]:
    """Delete a backup."""
    _backups().backup(backup)
    if not yes:
        terminal.require_answer("Nothing was deleted", as_json=say is not terminal.tell)
        terminal.confirm(f"Delete backup {backup} for ever?", "Nothing was deleted")
    _backups().delete(_app(), _who(actor), backup)
    say(f"Backup {backup} is deleted.")
    return {"id": backup, "state": "deleted"}


@command("keep")
@click.argument("backup", metavar="ID")
@click.option("--off", is_flag=True, help="Let it expire again.")
def keep(say: Say, backup: str, *, off: bool) -> dict[str, Any]:
    """Let a backup never expire."""
    row = _row(_backups().keep(backup, kept=not off))
    says = "is kept" if row["kept"] else f"expires on {row['expires_at']:%Y-%m-%d}"
    say(f"Backup {backup} {says}.")
    return row


@command("prune")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@acting
def prune(say: Say, *, dry_run: bool, actor: str | None) -> dict[str, Any]:
    """Delete the backups that have expired, and what is left of old operations."""
    backups = _backups()
    if dry_run:
        expired = backups.expired()
        say(f"{terminal.counted(len(expired), 'backup')} would be deleted.")
        for backup in expired:
            say(backup)
        return {"backups": expired, "dry_run": True}
    with _running(say):
        done = backups.run(backups.prune(_app(), _who(actor)))
    deleted = len(done.outcome["backups"])
    say(f"{terminal.counted(deleted, 'backup')} deleted." if deleted else "No backup has expired.")
    return {"id": done.operation, "state": "completed", **done.outcome}


@command("operations")
def operations(say: Say) -> list[dict[str, Any]]:
    """The operations, the latest first."""
    rows = [terminal.operation_row(operation) for operation in _backups().operations()]
    if not rows:
        say("There was no operation yet.")
    for row in rows:
        say(f"{row['id']}  {row['verb']:<8}  {row['state']:<12}  {row['actor']}")
    return rows


@command("log")
@click.argument("operation")
def log(say: Say, operation: str) -> list[dict[str, Any]]:
    """What happened in an operation: its kept events."""
    events = list(_backups().events(operation))
    for event in events:
        if event["type"] != "progress":
            say(terminal.event_line(event))
    return events


@command("init-db", prepare=False)
def init_db(say: Say) -> dict[str, Any]:
    """Make the tables of hexhub_backup where HEXHUB_BACKUP_CREATE_TABLES is off."""
    _backups().create_tables()
    say("The tables are there.")
    return {"state": "completed"}
