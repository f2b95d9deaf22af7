"""`flask backups …`: the same verbs as the pages, in the command's main thread."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from functools import wraps
from typing import Any, TypeVar

import click
from flask import Flask, current_app
from flask.cli import AppGroup

from hexhub_backup.archive.records import KINDS
from hexhub_backup.errors import BackupError, CancelledError
from hexhub_backup.history.models import Backup
from hexhub_backup.jobs.runner import Done, as_backup_error
from hexhub_backup.jobs.verbs import Backups, Who
from hexhub_backup.operations.plan import STRATEGIES
from hexhub_backup.terminal import size_text, watched

F = TypeVar("F", bound=Callable[..., Any])

backups_cli = AppGroup("backups", help="Create, check, restore and keep backups of the registry.")


def _app() -> Flask:
    return current_app._get_current_object()  # type: ignore[attr-defined, no-any-return]


def _backups() -> Backups:
    backups: Backups = current_app.extensions["hexhub_backup"]
    return backups


def _who(actor: str | None) -> Who:
    return Who(actor=actor or f"cli:{getpass.getuser()}")


def command(name: str, *, prepare: bool = True) -> Callable[[F], F]:
    """A command with `--json`, that ends with a message instead of a traceback."""

    def decorate(function: F) -> F:
        @wraps(function)
        def run(*args: Any, as_json: bool, **values: Any) -> None:
            try:
                if prepare:
                    _backups().prepare(_app())
                document = function(*args, say=_silent if as_json else click.echo, **values)
            except (BackupError, OSError) as cause:
                error = as_backup_error(cause, name)
                if as_json:
                    click.echo(json.dumps({"error": error.as_json()}, ensure_ascii=False))
                else:
                    click.echo(f"Error: {error}", err=True)
                    for fault in error.faults:
                        click.echo(f"  - {fault}", err=True)
                sys.exit(1)
            if as_json:
                click.echo(json.dumps(document, ensure_ascii=False, default=_plain))

        run = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(run)
        return backups_cli.command(name)(run)  # type: ignore[return-value]

    return decorate


acting = click.option("--as", "actor", metavar="USER", help="Who does it, for the audit log.")


def _silent(*_: Any, **__: Any) -> None:
    """With --json there is nothing to say."""


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _running(say: Callable[..., None]) -> AbstractContextManager[None]:
    return watched(_app(), _backups().runner, show=say is click.echo)


def _say_warnings(say: Callable[..., None], done: Done) -> None:
    for warning in done.outcome["warnings"]:
        where = f"{warning['record']}: " if warning["record"] else ""
        say(f"Warning: {where}{warning['message']} ({warning['code']})")


def _document(done: Done, archive: str, **more: Any) -> dict[str, Any]:
    return {
        "id": done.operation,
        "state": "completed",
        "archive": archive,
        "duration_seconds": done.duration_seconds,
        **more,
        "warnings": done.outcome["warnings"],
        "warning_count": done.outcome["warning_count"],
    }


def _with_warnings(done: Done) -> str:
    count = done.outcome["warning_count"]
    return "" if count == 0 else f", with {count:,} warning{'s' if count > 1 else ''}"


@command("create")
@acting
def create(say: Callable[..., None], actor: str | None) -> dict[str, Any]:
    """Back up the registry to one archive."""
    backups = _backups()
    with _running(say):
        done = backups.run(backups.create(_app(), _who(actor)))
    archive = str(backups.directory.archive(done.operation))
    contents = done.outcome["manifest"]["contents"]
    _say_warnings(say, done)
    say(f"Backup {done.operation} is complete{_with_warnings(done)}: {_contents(contents)}")
    say(f"{size_text(done.outcome['size_bytes'])} in {done.duration_seconds} s: {archive}")
    return _document(done, archive, size_bytes=done.outcome["size_bytes"], contents=contents)


def _contents(contents: dict[str, Any]) -> str:
    words = ("users", "packages", "releases", "owners", "package_files", "doc_files")
    return ", ".join(
        f"{contents[word]:,} {word.replace('_', ' ')}" for word in words if word in contents
    )


def _row(backup: Backup) -> dict[str, Any]:
    manifest = backup.manifest or {}
    return {
        "id": backup.id,
        "state": backup.state,
        "reason": backup.reason,
        "archive": str(_backups().directory.archive(backup.id)),
        "file_missing": backup.file_missing,
        "created_at": backup.created_at,
        "created_by": backup.created_by,
        "duration_seconds": backup.duration_seconds,
        "size_bytes": backup.size_bytes,
        "contents": manifest.get("contents"),
        "warning_count": backup.warning_count,
        "expires_at": backup.expires_at,
        "kept": backup.kept,
        "adopted": backup.adopted,
        "verified_at": backup.verified_at,
        "intact": backup.intact,
    }


@command("list")
def list_(say: Callable[..., None]) -> list[dict[str, Any]]:
    """The backups, the latest first."""
    rows = [_row(backup) for backup in _backups().backups()]
    if not rows:
        say("There is no backup yet: 'flask backups create' makes the first one.")
    for row in rows:
        size = "" if row["size_bytes"] is None else size_text(row["size_bytes"])
        state = "file missing" if row["file_missing"] else row["state"]
        say(f"{row['id']}  {state:<12}  {size:>9}  {_until(row):<18}  {row['created_by']}")
    return rows


def _until(row: dict[str, Any]) -> str:
    return "kept" if row["kept"] else f"until {row['expires_at']:%Y-%m-%d}"


@command("show")
@click.argument("backup", metavar="ID")
def show(say: Callable[..., None], backup: str) -> dict[str, Any]:
    """What is known of a backup."""
    row = _row(_backups().backup(backup))
    for key, value in row.items():
        if key == "contents" and value is not None:
            value = _contents(value)  # noqa: PLW2901 (for people)
        if value is not None:
            say(f"{key.replace('_', ' ') + ':':<18}{value}")
    return row


@command("verify")
@click.argument("archive", metavar="ID-or-FILE")
@acting
def verify(say: Callable[..., None], archive: str, actor: str | None) -> dict[str, Any]:
    """Check an archive: its structure, its counts and every hash."""
    backups = _backups()
    path, _ = backups.find(archive)
    with _running(say):
        done = backups.run(backups.verify(_app(), _who(actor), archive))
    contents = done.outcome["manifest"]["contents"]
    _say_warnings(say, done)
    say(f"{path} is intact{_with_warnings(done)}: {_contents(contents)}")
    return _document(done, str(path), contents=contents, digest=done.outcome["digest"])


@command("restore")
@click.argument("archive", metavar="ID-or-FILE")
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    default="skip",
    show_default=True,
    help="What to do with records that exist and differ.",
)
@click.option(
    "--grant-protected",
    is_flag=True,
    help="Let protected columns in, such as who is an admin.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@acting
def restore(
    say: Callable[..., None],
    archive: str,
    *,
    strategy: Any,
    grant_protected: bool,
    yes: bool,
    actor: str | None,
) -> dict[str, Any]:
    """Restore an archive: all of the plan, or nothing."""
    backups, who = _backups(), _who(actor)
    path, _ = backups.find(archive)
    with _running(say):
        inspected = backups.run(
            backups.inspect(_app(), who, archive, strategy=strategy, protected=grant_protected)
        )
    plan = inspected.outcome["plan"]
    for kind in KINDS:
        states = plan[kind.name]
        text = ", ".join(f"{count:,} {state}" for state, count in states.items() if count)
        say(f"{kind.name + ':':<10}{text or 'none'}")
    if not yes:
        question = f"Restore this with the strategy {strategy}?"
        if not click.confirm(question, err=True):
            raise CancelledError("Nothing was restored, because it was not confirmed.")
    with _running(say):
        done = backups.run(backups.restore(_app(), who, inspected.operation))
    outcome = done.outcome
    _say_warnings(say, done)
    for kind in KINDS:
        counts = ", ".join(
            f"{count:,} {word.replace('_', ' ')}"
            for word, count in outcome["records"][kind.name].items()
            if count
        )
        say(f"{kind.name + ':':<10}{counts or 'none'}")
    files = outcome["files"]
    say(
        f"files:    {files['placed']:,} placed, {files['replaced']:,} replaced, "
        f"{size_text(files['bytes'])}"
    )
    say(f"Restore {done.operation} is complete{_with_warnings(done)}.")
    return _document(
        done,
        str(path),
        plan=inspected.operation,
        records=outcome["records"],
        files=files,
        changed=outcome["changed"],
    )


@command("delete")
@click.argument("backup", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@acting
def delete(
    say: Callable[..., None], backup: str, *, yes: bool, actor: str | None
) -> dict[str, Any]:
    """Delete a backup."""
    _backups().backup(backup)
    if not yes and not click.confirm(f"Delete backup {backup} for ever?", err=True):
        raise CancelledError("Nothing was deleted, because it was not confirmed.")
    _backups().delete(_app(), _who(actor), backup)
    say(f"Backup {backup} is deleted.")
    return {"id": backup, "state": "deleted"}


@command("keep")
@click.argument("backup", metavar="ID")
@click.option("--off", is_flag=True, help="Let it expire again.")
def keep(say: Callable[..., None], backup: str, *, off: bool) -> dict[str, Any]:
    """Let a backup never expire."""
    row = _row(_backups().keep(backup, kept=not off))
    say(f"Backup {backup} is kept." if row["kept"] else f"Backup {backup} is {_until(row)}.")
    return row


@command("prune")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@acting
def prune(say: Callable[..., None], *, dry_run: bool, actor: str | None) -> dict[str, Any]:
    """Delete the backups that have expired, and what is left of old operations."""
    backups = _backups()
    if dry_run:
        expired = backups.expired()
        say(f"{len(expired)} backups would be deleted.")
        for backup in expired:
            say(backup)
        return {"backups": expired, "dry_run": True}
    with _running(say):
        done = backups.run(backups.prune(_app(), _who(actor)))
    deleted = done.outcome["backups"]
    say(f"{len(deleted)} backups deleted." if deleted else "No backup has expired.")
    return {"id": done.operation, "state": "completed", **done.outcome}


@command("operations")
def operations(say: Callable[..., None]) -> list[dict[str, Any]]:
    """The operations, the latest first."""
    rows = [
        {
            "id": operation.id,
            "verb": operation.verb,
            "state": operation.state,
            "reason": operation.reason,
            "actor": operation.actor,
            "backup": operation.backup_id,
            "started_at": operation.started_at,
            "duration_seconds": operation.duration_seconds,
        }
        for operation in _backups().operations()
    ]
    if not rows:
        say("There was no operation yet.")
    for row in rows:
        say(f"{row['id']}  {row['verb']:<8}  {row['state']:<12}  {row['actor']}")
    return rows


@command("log")
@click.argument("operation")
def log(say: Callable[..., None], operation: str) -> list[dict[str, Any]]:
    """What happened in an operation: its kept events."""
    events = list(_backups().events(operation))
    for event in events:
        if event["type"] != "progress":
            say(f"{event['at'][:19].replace('T', ' ')}  {_told(event)}")
    return events


def _told(event: dict[str, Any]) -> str:
    if event["type"] == "step":
        took = f" in {event['seconds']} s" if "seconds" in event else ""
        return f"{event['step']}: {event['state']}{took}"
    if event["type"] == "warning":
        return f"Warning: {event['record'] or 'the archive'}: {event['message']}"
    if event["type"] == "log":
        return str(event["message"])
    reason = event.get("reason")
    return f"{event['state']}: {reason}" if reason else str(event["state"])


@command("init-db", prepare=False)
def init_db(say: Callable[..., None]) -> dict[str, Any]:
    """Make the tables of hexhub_backup where HEXHUB_BACKUP_CREATE_TABLES is off."""
    _backups().create_tables()
    say("The tables are there.")
    return {"state": "completed"}
