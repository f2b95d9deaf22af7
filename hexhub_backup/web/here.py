"""What a request of ours stands in: the app, its backups, and who is asking."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar, cast

from flask import Flask, current_app, request

from hexhub_backup.errors import SettingError
from hexhub_backup.history.models import Backup, Operation
from hexhub_backup.jobs.verbs import Backups, Who

#: In `app.extensions`: the function that gives the username of who is logged in.
ACTOR = "hexhub_backup_actor"
#: In `app.extensions`: the function that says whether who asks may come in.
AUTHORIZE = "hexhub_backup_authorize"
#: In `app.extensions`: the function that gives back the connection of the host's session.
LET_GO = "hexhub_backup_let_go"
#: In `app.extensions`: the function that looks after what dead processes left.
HOUSEKEEPING = "hexhub_backup_housekeeping"

_T = TypeVar("_T")


def ask(function: Callable[[], _T]) -> _T:
    """Ask a function of the host's. Reading who is logged in, its session takes a connection, and
    would keep it to the end of the request: ours would be a second one, which the pool may not
    have, and an upload or a download takes long."""
    try:
        return function()
    finally:
        current_app.extensions[LET_GO]()


def app() -> Flask:
    """The app itself, for threads and signals: the proxy ends with the request."""
    return current_app._get_current_object()  # type: ignore[attr-defined, no-any-return]


def backups() -> Backups:
    return cast(Backups, current_app.extensions["hexhub_backup"])


def backup(backup_id: str) -> Backup:
    """The backup that an address or a form names. Raises NotFoundError.

    The verbs take the path of a file too; what a browser sends is an id and nothing else.
    """
    return backups().backup(backup_id)


def operation(operation_id: str) -> Operation:
    """An operation. Where it is said to run and doesn't, recovery begins. Raises NotFoundError."""
    found = backups().catalog.operation(operation_id)
    look_after([found])
    return found


def running() -> list[Operation]:
    """The operations that are said to run; recovery begins where one doesn't."""
    found = backups().catalog.running_operations()
    look_after(found)
    return found


def look_after(operations: Iterable[Operation]) -> None:
    """Begin recovery, in a thread, where one of these is said to run and doesn't: its process is
    dead, or could not write how it ended."""
    if any(each.state == "running" and not backups().is_alive(each.id) for each in operations):
        current_app.extensions[HOUSEKEEPING](app(), soon=True)


def who() -> Who:
    """Who is asking, and from where. Raises SettingError where the host can't tell."""
    actor = ask(current_app.extensions[ACTOR])
    if not isinstance(actor, str) or not actor:
        raise SettingError(
            f"actor= of init_app gave a value of type {type(actor).__name__}, and not a username: "
            "let it give that of who is logged in, as the registry has it."
        )
    return Who(actor=actor, address=request.remote_addr)
