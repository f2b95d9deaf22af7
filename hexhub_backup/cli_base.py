"""What all commands of `flask backups …` share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, TypeVar

import click
from flask import Flask, current_app
from flask.cli import AppGroup

from hexhub_backup import terminal
from hexhub_backup.errors import NotFoundError, SettingError
from hexhub_backup.history.models import Who
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.jobs.ending import as_backup_error
from hexhub_backup.jobs.following import Following
from hexhub_backup.jobs.running import Done
from hexhub_backup.terminal import Output
from hexhub_backup.verbs.base import Order

F = TypeVar("F", bound=Callable[..., Any])

backups_cli = AppGroup("backups", help="Create, verify, restore and keep backups of the registry.")


def the_app() -> Flask:
    return current_app._get_current_object()  # type: ignore[attr-defined, no-any-return]


def the_backups() -> Backups:
    return backups_of(current_app)


def who_is(actor: str | None) -> Who:
    return Who(actor=terminal.text_of(actor or f"cli:{terminal.system_user()}"))


def command(
    name: str, *, prepare: bool = True, group: click.Group = backups_cli, failure: int = 1
) -> Callable[[F], F]:
    """A command with `--json`, whose errors are messages instead of tracebacks, and end it with
    the exit code `failure`."""

    def decorate(function: F) -> F:
        @wraps(function)
        def run(*args: Any, as_json: bool, **values: Any) -> None:
            out = Output(as_json=as_json)
            with terminal.log_lines(debug=current_app.debug):
                try:
                    if prepare:
                        the_backups().prepare(the_app())
                    _refuse_bytes(values)
                    is_queued()
                    out.print_document(function(out, *args, **values))
                except (click.ClickException, click.Abort, click.exceptions.Exit):
                    raise
                except Exception as cause:
                    error = as_backup_error(cause, name)
                    if as_json:
                        terminal.print_document({"error": error.as_json()})
                    else:
                        terminal.print_error(error)
                    sys.exit(failure)

        run = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(run)
        return group.command(name)(run)  # type: ignore[return-value]

    return decorate


def _refuse_bytes(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, str) and name != "actor" and value != terminal.text_of(value):
            raise NotFoundError(
                f"{value} can't be used, because it is not UTF-8: rename the file, and start again."
            )


#: Key in the context of a command: whether its operations are handed to the runner.
_QUEUE = f"{__name__}.queue"


def queueing(function: F) -> F:
    """Add `--queue` to a command that has operations run."""

    def keep(context: click.Context, _: click.Parameter, value: Any) -> None:
        context.meta[_QUEUE] = value

    help_ = "Have a worker do it, and wait for it. Ctrl-C cancels it, as without."
    option = click.option("--queue", is_flag=True, expose_value=False, callback=keep, help=help_)
    return option(function)


def acting(function: F) -> F:
    """Add the options of a command that has operations run: `--queue`, and `--as` as `actor`."""
    option = click.option("--as", "actor", metavar="USER", help="The actor in the audit log.")
    return queueing(option(function))


def is_queued() -> bool:
    """Whether the operations of this command are handed to the runner. Raises SettingError where
    there is none."""
    asked = bool(click.get_current_context().meta.get(_QUEUE))
    if asked and not the_backups().orders.has_runner:
        raise SettingError(
            "Nothing was begun: --queue hands it to a runner, and this app has none. Give init_app "
            "of hexhub_backup a runner=, or leave --queue out."
        )
    return asked


@contextmanager
def running(out: Output) -> Iterator[Callable[[Order], Done]]:
    """What runs an order to its end: in this thread, or with `--queue` by the host's runner. As
    long as it is there, Ctrl-C and SIGTERM end what runs."""
    app, backups, queued = the_app(), the_backups(), is_queued()
    with terminal.watched(app, backups.orders, show=not out.as_json) as bar:
        if queued:
            yield Following(app, backups, bar.show, bar.wait).run
        else:
            yield partial(backups.orders.run, app)


def document(done: Done, archive: str | None, **more: Any) -> dict[str, Any]:
    return {
        "id": done.operation,
        "state": "completed",
        "archive": archive,
        "duration_seconds": done.duration_seconds,
        **more,
        "warnings": done.outcome["warnings"],
        "warning_count": done.outcome["warning_count"],
    }


def print_warnings(out: Output, done: Done) -> str:
    """Print each, and return how many there are, for the last line."""
    out.print(*terminal.warning_lines(done.outcome, done.operation))
    return terminal.warnings_text(done.outcome["warning_count"])
