"""A command at a terminal: its output, its questions, the progress bar, and Ctrl-C."""

from __future__ import annotations

import errno
import getpass
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import current_thread, main_thread
from typing import Any

import click

from hexhub_backup import formatting, signals
from hexhub_backup.copy_text import copy_text, stays_text
from hexhub_backup.errors import BackupError, CancelledError, InterruptedOperationError
from hexhub_backup.history.holding import Stored
from hexhub_backup.history.models import ListedOperation
from hexhub_backup.jobs.orders import Orders
from hexhub_backup.retention import held_text


def print_line(text: str, *, err: bool = False) -> None:
    """Print a line for people, with control characters as escapes.

    Where nobody reads any more, nothing is printed and the work continues. Raises
    click.ClickException where standard output can't be written.
    """
    stream = sys.stderr if err else sys.stdout
    # A character that the locale lacks is an escape too.
    encoding = getattr(stream, "encoding", None) or "utf-8"
    line = formatting.one_line(text)
    _write(line.encode(encoding, "backslashreplace").decode(encoding), err=err)


def print_document(document: Any) -> None:
    """Print one JSON document. Raises as `print_line` does."""
    # ASCII holds no control characters, and can escape a lone surrogate.
    _write(json.dumps(document, default=_plain))


def _write(line: str, *, err: bool = False) -> None:
    try:
        click.echo(line, err=err)
    except OSError as error:
        # The exit would write the buffer again, and fail.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, (sys.stderr if err else sys.stdout).fileno())
        os.close(null)
        if not err and error.errno != errno.EPIPE:
            raise click.ClickException(
                f"Standard output could not be written ({error.strerror}): 'flask backups "
                "operations' shows what has happened."
            ) from error


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


class Output:
    """Standard output of a command: lines for people, or with `as_json` one document alone."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def print(self, *lines: str) -> None:
        """Print lines for people. Raises as `print_line` does."""
        if not self.as_json:
            for line in lines:
                print_line(line)

    def print_document(self, document: Any) -> None:
        """Print the document. Raises as `print_line` does."""
        if self.as_json:
            print_document(document)


def print_error(error: BackupError) -> None:
    """Print the error that ended a command and its code, and the faults that it does not quote."""
    print_line(f"Error: {error} [{error.code}]", err=True)
    for fault in error.faults:
        if str(fault) not in str(error):
            print_line(f"  - {fault}", err=True)


def require_answer(refusal: str, *, as_json: bool) -> None:
    """Raises CancelledError where nobody can be asked; `refusal` is the message's first half. With
    `as_json` a question is asked at a terminal only."""
    if sys.stdin is None or (as_json and not sys.stdin.isatty()):
        raise CancelledError(f"{refusal}, because nobody is there to confirm it: add --yes.")


def confirm(question: str, refusal: str) -> None:
    """Ask on standard error. Raises CancelledError unless the answer is yes."""
    if not _answer(lambda: click.confirm(question, err=True), refusal):
        raise CancelledError(f"{refusal}, because it was not confirmed.")


def confirm_number(statement: str, number: int, refusal: str) -> None:
    """Ask on standard error for a number to be typed. Raises CancelledError unless it is."""
    question = f"{statement} Type the number to go on"
    answer = _answer(lambda: click.prompt(question, err=True), refusal)
    if answer.replace(",", "").strip() != str(number):
        raise CancelledError(f"{refusal}, because the number that was typed is another one.")


def _answer(ask: Callable[[], Any], refusal: str) -> Any:
    try:
        return ask()
    except click.Abort as abort:
        print_line("", err=True)
        message = f"{refusal}, because the question had no answer: add --yes."
        raise CancelledError(message) from abort


def system_user() -> str:
    """The user of the operating system."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, say; OSError since Python 3.13
        return f"uid {os.getuid()}"


def text_of(argument: str) -> str:
    """An argument with the bytes that are not UTF-8 replaced: no database would take them."""
    return argument.encode(errors="replace").decode()


@contextmanager
def log_lines(*, debug: bool) -> Iterator[None]:
    """Where the host has configured no log, print each error as a line on standard error, or with
    `debug` as a traceback. The command itself prints warnings."""
    logger = logging.getLogger("hexhub_backup")
    if logger.hasHandlers():
        yield
        return
    handler = logging.StreamHandler() if debug else _Line()
    handler.setLevel(logging.ERROR)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Line(logging.Handler):
    """Prints the type and the place of an error, but not its message, which may hold a secret."""

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, BackupError):
            line += f": {error}"
        elif error is not None:
            line += f": {type(error).__name__}"
            for place in traceback.extract_tb(error.__traceback__)[-1:]:
                line += f" in {place.filename}, line {place.lineno}"
        print_line(f"Log: {line}", err=True)


@contextmanager
def watched(app: Any, orders: Orders, *, show: bool) -> Iterator[Bar]:
    """Let Ctrl-C cancel the running operation and SIGTERM interrupt it. With `show`, and where
    standard error is a terminal, draw a progress bar."""
    bar = Bar(shown=show and sys.stderr.isatty())
    signals.operation_progress.connect(bar.told, app)
    try:
        with _stopped_by_signals(orders):
            yield bar
    finally:
        bar.clear()


@contextmanager
def _stopped_by_signals(orders: Orders) -> Iterator[None]:
    """Handle Ctrl-C and SIGTERM while the operation runs. The host's handlers are called after
    it."""
    if current_thread() is not main_thread():
        # Called by a thread of the host: only the main thread may set handlers.
        yield
        return
    errors = {
        signal.SIGINT: CancelledError("It was cancelled with Ctrl-C."),
        signal.SIGTERM: InterruptedOperationError("server stopped"),
    }
    came: list[int] = []

    def stop(number: int, frame: Any) -> None:
        came.append(number)
        orders.stopping = errors[signal.Signals(number)]

    # None is a handler that was not set from Python, and can't be set again.
    usual = {
        number: handler for number in errors if (handler := signal.getsignal(number)) is not None
    }
    for number in usual:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for known, handler in usual.items():
            signal.signal(known, handler)
        orders.stopping = None
        for each in came:
            handler = usual[signal.Signals(each)]
            if callable(handler) and handler is not signal.default_int_handler:
                handler(each, None)


class Bar:
    """The progress bar, on one line of standard error, where it is to be `shown`."""

    _WIDTH = 24

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._drawn = False

    def told(self, app: Any, event: dict[str, Any], **extra: Any) -> None:
        """Of an operation of this process, by a signal."""
        self.show(event)

    def show(self, event: Mapping[str, Any]) -> None:
        """Draw the progress that an event tells of."""
        if event["type"] != "progress":
            return
        full = round(self._WIDTH * event["percent"] / 100)
        left = event["seconds_left"]
        line = (
            f"[{'#' * full}{'-' * (self._WIDTH - full)}] {event['percent']:5.1f} %  "
            f"{event['step']}  {formatting.size(event['bytes_per_second'])}/s"
            + ("" if left is None else f"  {formatting.time_left(left)}")
        )
        self._draw(line)

    def wait(self, length: timedelta) -> None:
        """Say that no worker has taken the order yet."""
        self._draw(f"Waiting for a worker, {formatting.waited(length)}")

    def _draw(self, line: str) -> None:
        if self._shown:
            click.echo(f"\r{line:<79.79}", err=True, nl=False)
            self._drawn = True

    def clear(self) -> None:
        if self._drawn:
            click.echo(f"\r{'':79}\r", err=True, nl=False)


def warnings_text(count: int) -> str:
    return (
        formatting.plural(count, ", with {count} warning", ", with {count} warnings")
        if count
        else ""
    )


def warning_lines(outcome: Mapping[str, Any], operation: str) -> Iterator[str]:
    """The warnings of an outcome, and the number of further ones."""
    for warning in outcome["warnings"]:
        where = f"{warning['record']}: " if warning["record"] else ""
        yield f"Warning: {where}{warning['message']} ({warning['code']})"
    if more := outcome["warning_count"] - len(outcome["warnings"]):
        yield f"and {more:,} more: 'flask backups log {operation}' has all of them."


def restored_lines(outcome: Mapping[str, Any]) -> Iterator[str]:
    """The counts of a restore."""
    yield from _record_lines(outcome)
    files = outcome["files"]
    counts = f"{files['placed']:,} added, {files['replaced']:,} replaced"
    yield f"files:    {counts}, {formatting.size(files['bytes'])}"


def undone_lines(outcome: Mapping[str, Any]) -> Iterator[str]:
    """The counts of an undo."""
    yield from _record_lines(outcome)
    files = outcome["files"]
    yield f"files:    {files['removed']:,} removed, {files['brought_back']:,} brought back"


def _record_lines(outcome: Mapping[str, Any]) -> Iterator[str]:
    for kind, counts in outcome["records"].items():
        texts = (f"{count:,} {word.replace('_', ' ')}" for word, count in counts.items() if count)
        yield f"{kind + ':':<10}{', '.join(texts) or 'none'}"


def operation_row(operation: ListedOperation) -> dict[str, Any]:
    """An operation in the list of them."""
    return {
        "id": operation.id,
        "verb": operation.verb,
        "state": operation.state,
        "reason": operation.reason,
        "actor": operation.actor,
        "late_seconds": None if operation.late_by is None else operation.late_by.total_seconds(),
        "backup": operation.backup_id,
        "queued_at": operation.queued_at,
        "started_at": operation.started_at,
        "duration_seconds": operation.duration_seconds,
    }


def operation_line(row: Mapping[str, Any]) -> str:
    """A row of `operation_row`, as a line."""
    late = row["late_seconds"]
    who = row["actor"] if late is None else f"{row['actor']}, {formatting.late(late)}"
    return f"{row['id']}  {row['verb']:<8}  {row['state']:<12}  {who}"


def held_line(backup: Stored, held: tuple[str, ...]) -> str:
    """A backup, and what a prune would make of it."""
    effect = held_text(held) if held else "would be deleted"
    return f"{backup.id}  {formatting.time(backup.created_at)}  {effect}"


def list_lines(row: Mapping[str, Any]) -> Iterator[str]:
    """A backup in the list, with the reason where it has failed."""
    size = "" if row["size_bytes"] is None else formatting.size(row["size_bytes"])
    created = f"{formatting.time(row['created_at'])}  {_state_text(row):<12}  {size:>9}"
    yield f"{row['id']}  {created}  {stays_text(row, 'until'):<16}  {row['created_by']}"
    if row["reason"]:
        yield f"    {row['reason']}"


def _state_text(row: Mapping[str, Any]) -> str:
    if not row["file_missing"]:
        return str(row["state"])
    if row["elsewhere"]:
        return "elsewhere"
    return "unreadable" if row["file_unreadable"] else "file missing"


def show_lines(row: Mapping[str, Any]) -> Iterator[str]:
    """All details of a backup."""
    archive = None
    if row["state"] == "completed":
        archive = row["archive"]
        if row["file_missing"]:
            why = "can't be read" if row["file_unreadable"] else "is missing"
            archive = f"{archive} (the file {why})"
        if row["elsewhere"]:
            archive = f"not here, only in {row['elsewhere']}"
    lines = {
        "id": row["id"],
        "state": row["state"],
        "reason": row["reason"],
        "archive": archive,
        "created": f"{formatting.time(row['created_at'])} by {row['created_by']}",
        "origin": "found here, not created" if row["adopted"] else None,
        "duration": None if row["duration_seconds"] is None else f"{row['duration_seconds']} s",
        "size": None if row["size_bytes"] is None else formatting.size(row["size_bytes"]),
        "contents": formatting.contents(row["contents"]) if row["contents"] else None,
        "warnings": f"{row['warning_count']:,}" if row["warning_count"] else None,
        "expires": "never (it is kept)" if row["kept"] else stays_text(row, ""),
        "integrity": _integrity_text(row) if row["state"] == "completed" else None,
    }
    for name, text in lines.items():
        if text is not None:
            yield f"{name + ':':<11}{text}"
    for copy in row["copies"]:
        yield f"copy:      {copy['place']}: {copy_text(copy)}"


def _integrity_text(row: Mapping[str, Any]) -> str:
    if row["verified_at"] is None:
        return "not verified yet"
    integrity = "intact" if row["intact"] else "damaged"
    if row["intact"] and not row["checksums"]:
        integrity = "readable, but without checksums"
    return f"{integrity} ({formatting.time(row['verified_at'])})"


def event_line(event: Mapping[str, Any]) -> str:
    """A kept event, with its time."""
    return f"{event['at'][:19].replace('T', ' ')}  {_event_text(event)}"


def _event_text(event: Mapping[str, Any]) -> str:
    if event["type"] == "step":
        took = f" in {event['seconds']} s" if "seconds" in event else ""
        return f"{event['step']}: {event['state']}{took}"
    if event["type"] == "warning":
        return f"Warning: {event['record'] or 'the archive'}: {event['message']}"
    if event["type"] == "log":
        return str(event["message"])
    reason = event.get("reason")
    return f"{event['state']}: {reason}" if reason else str(event["state"])
