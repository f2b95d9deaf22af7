"""What a person at a terminal has of a command: its words, its question, a bar, and Ctrl-C."""

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
from datetime import datetime, timezone
from threading import current_thread, main_thread
from typing import Any

import click

from hexhub_backup import signals
from hexhub_backup.errors import BackupError, CancelledError, InterruptedOperationError
from hexhub_backup.history.models import ListedOperation
from hexhub_backup.jobs.runner import Runner


def tell(text: str, *, err: bool = False) -> None:
    """Print a line for people. Names come from archives: a control character is an escape.

    Where nobody reads any more, the work goes on without a word. Raises click.ClickException
    where standard output can't be written.
    """
    stream = sys.stderr if err else sys.stdout
    # Whatever the locale: what it has no character for is an escape too.
    encoding = getattr(stream, "encoding", None) or "utf-8"
    line = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    _write(line.encode(encoding, "backslashreplace").decode(encoding), err=err)


def tell_document(document: Any) -> None:
    """Print one JSON document; raises as `tell` does."""
    # In ASCII, so that it holds no control character, and a name that is no text is no fault.
    _write(json.dumps(document, default=_plain))


def _write(line: str, *, err: bool = False) -> None:
    try:
        click.echo(line, err=err)
    except OSError as error:
        # What is still buffered would be tried again at the exit, and fail there.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, (sys.stderr if err else sys.stdout).fileno())
        os.close(null)
        if not err and error.errno != errno.EPIPE:
            raise click.ClickException(
                f"Standard output could not be written ({error.strerror}): 'flask backups "
                "operations' tells what has happened."
            ) from error


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def tell_error(error: BackupError) -> None:
    """What ended a command, on standard error; its faults, but for one that it quotes."""
    tell(f"Error: {error}", err=True)
    for fault in error.faults:
        if str(fault) not in str(error):
            tell(f"  - {fault}", err=True)


def require_answer(refusal: str, *, as_json: bool) -> None:
    """Raises CancelledError where nobody can be asked: `refusal` says what was not done. A
    program that wants JSON gets no question, but at a terminal."""
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
        tell("", err=True)
        message = f"{refusal}, because the question had no answer: add --yes."
        raise CancelledError(message) from abort


def system_user() -> str:
    """Who the operating system says it is."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, say; OSError since Python 3.13
        return f"uid {os.getuid()}"


def text_of(argument: str) -> str:
    """An argument without the bytes that are no UTF-8: no database would take them."""
    return argument.encode(errors="replace").decode()


@contextmanager
def log_lines(*, debug: bool) -> Iterator[None]:
    """Where the host has not configured a log, errors in it are a line on standard error each,
    or with `debug` a traceback. Warnings are told by the command itself."""
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
    """Says what an error was and where, but not its message, which may hold a secret."""

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, BackupError):
            line += f": {error}"
        elif error is not None:
            line += f": {type(error).__name__}"
            for place in traceback.extract_tb(error.__traceback__)[-1:]:
                line += f" in {place.filename}, line {place.lineno}"
        tell(f"Log: {line}", err=True)


@contextmanager
def watched(app: Any, runner: Runner, *, show: bool) -> Iterator[None]:
    """Ctrl-C cancels what runs, SIGTERM interrupts it, and where `show` is set and standard
    error is a terminal, a bar tells how far it is."""
    bar = _Bar()
    if show and sys.stderr.isatty():
        signals.operation_progress.connect(bar.show, app)
    try:
        with _stopped_by_signals(runner):
            yield
    finally:
        bar.clear()


@contextmanager
def _stopped_by_signals(runner: Runner) -> Iterator[None]:
    """Handle Ctrl-C and SIGTERM meanwhile. A handler that the host has set for them comes after
    the operation, which ends at once."""
    if current_thread() is not main_thread():
        # A command that a thread of the host's calls: no thread may, and signals are the host's.
        yield
        return
    errors = {
        signal.SIGINT: CancelledError("It was cancelled with Ctrl-C."),
        signal.SIGTERM: InterruptedOperationError("server stopped"),
    }
    came: list[int] = []

    def stop(number: int, frame: Any) -> None:
        came.append(number)
        runner.stopping = errors[signal.Signals(number)]

    # None is the handler of somebody who does not use Python, and could not be set again.
    usual = {number: found for number in errors if (found := signal.getsignal(number)) is not None}
    for number in usual:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for known, handler in usual.items():
            signal.signal(known, handler)
        runner.stopping = None
        for each in came:
            handler = usual[signal.Signals(each)]
            if callable(handler) and handler is not signal.default_int_handler:
                handler(each, None)


class _Bar:
    """A line on standard error that is drawn over and over."""

    _WIDTH = 24
    _drawn = False

    def show(self, app: Any, event: dict[str, Any], **extra: Any) -> None:
        if event["type"] != "progress":
            return
        full = round(self._WIDTH * event["percent"] / 100)
        left = event["seconds_left"]
        line = (
            f"[{'#' * full}{'-' * (self._WIDTH - full)}] {event['percent']:5.1f} %  "
            f"{event['step']}  {size_text(event['bytes_per_second'])}/s"
            + ("" if left is None else f"  {left:.0f} s left")
        )
        click.echo(f"\r{line:<79.79}", err=True, nl=False)
        self._drawn = True

    def clear(self) -> None:
        if self._drawn:
            click.echo(f"\r{'':79}\r", err=True, nl=False)


def size_text(count: float) -> str:
    """A number of bytes for people: `104.9 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def time_text(moment: datetime) -> str:
    """An aware time for people: `2026-01-31 10:30:00 UTC`."""
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def counted(count: int, word: str) -> str:
    """`1 backup`, `2,000 backups`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def contents_text(contents: Mapping[str, int]) -> str:
    """The counts of a manifest: `15 users, 1 package, …`."""
    words = ("user", "package", "release", "owner", "package_file", "doc_file")
    return ", ".join(
        counted(contents[f"{word}s"], word.replace("_", " "))
        for word in words
        if f"{word}s" in contents
    )


def warnings_text(count: int) -> str:
    return f", with {counted(count, 'warning')}" if count else ""


def warning_lines(outcome: Mapping[str, Any], operation: str) -> Iterator[str]:
    """The warnings of an outcome, and how many more there were."""
    for warning in outcome["warnings"]:
        where = f"{warning['record']}: " if warning["record"] else ""
        yield f"Warning: {where}{warning['message']} ({warning['code']})"
    if more := outcome["warning_count"] - len(outcome["warnings"]):
        yield f"and {more:,} more: 'flask backups log {operation}' has all of them."


def restored_lines(outcome: Mapping[str, Any]) -> Iterator[str]:
    """What a restore has done."""
    yield from _record_lines(outcome)
    files = outcome["files"]
    placed = f"{files['placed']:,} placed, {files['replaced']:,} replaced"
    yield f"files:    {placed}, {size_text(files['bytes'])}"


def undone_lines(outcome: Mapping[str, Any]) -> Iterator[str]:
    """What an undo has done."""
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
        "backup": operation.backup_id,
        "started_at": operation.started_at,
        "duration_seconds": operation.duration_seconds,
    }


def list_lines(row: Mapping[str, Any]) -> Iterator[str]:
    """A backup in the list, with the reason where something is wrong with it."""
    state = "file missing" if row["file_missing"] else row["state"]
    size = "" if row["size_bytes"] is None else size_text(row["size_bytes"])
    until = f"until {row['expires_at']:%Y-%m-%d}" if row["expires_at"] else "kept"
    made = f"{time_text(row['created_at'])}  {state:<12}  {size:>9}"
    yield f"{row['id']}  {made}  {until:<16}  {row['created_by']}"
    if row["reason"]:
        yield f"    {row['reason']}"


def show_lines(row: Mapping[str, Any]) -> Iterator[str]:
    """All that is known of a backup."""
    archive = None
    if row["state"] == "completed":
        archive = row["archive"] + (" (the file is missing)" if row["file_missing"] else "")
    lines = {
        "id": row["id"],
        "state": row["state"],
        "reason": row["reason"],
        "archive": archive,
        "created": f"{time_text(row['created_at'])} by {row['created_by']}",
        "origin": "found in the backup directory" if row["adopted"] else None,
        "duration": None if row["duration_seconds"] is None else f"{row['duration_seconds']} s",
        "size": None if row["size_bytes"] is None else size_text(row["size_bytes"]),
        "contents": contents_text(row["contents"]) if row["contents"] else None,
        "warnings": f"{row['warning_count']:,}" if row["warning_count"] else None,
        "expires": f"{row['expires_at']:%Y-%m-%d}" if row["expires_at"] else "never: it is kept",
        "check": _check_text(row) if row["state"] == "completed" else None,
    }
    for name, text in lines.items():
        if text is not None:
            yield f"{name + ':':<11}{text}"


def _check_text(row: Mapping[str, Any]) -> str:
    if row["verified_at"] is None:
        return "not checked yet"
    found = "intact" if row["intact"] else "damaged"
    if row["intact"] and not row["checksums"]:
        found = "readable, but without checksums"
    return f"{found} ({time_text(row['verified_at'])})"


def event_line(event: Mapping[str, Any]) -> str:
    """A kept event, with its time."""
    return f"{event['at'][:19].replace('T', ' ')}  {_told(event)}"


def _told(event: Mapping[str, Any]) -> str:
    if event["type"] == "step":
        took = f" in {event['seconds']} s" if "seconds" in event else ""
        return f"{event['step']}: {event['state']}{took}"
    if event["type"] == "warning":
        return f"Warning: {event['record'] or 'the archive'}: {event['message']}"
    if event["type"] == "log":
        return str(event["message"])
    reason = event.get("reason")
    return f"{event['state']}: {reason}" if reason else str(event["state"])
