"""The current request: its app, the backups of that app, and the actor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from flask import Flask, current_app, request

from hexhub_backup.errors import SettingError
from hexhub_backup.history.models import Backup, Operation, Who
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.verbs import VERBS

#: Key in `app.extensions` of the function that returns the username of whoever is logged in.
ACTOR = "hexhub_backup_actor"
#: Key in `app.extensions` of the function that returns whether a request is allowed.
AUTHORIZE = "hexhub_backup_authorize"
#: Key in `app.extensions` of the function that returns whether the metrics may be read, or None.
AUTHORIZE_METRICS = "hexhub_backup_authorize_metrics"
#: Key in `app.extensions` of the function that releases the connection of the host's session.
LET_GO = "hexhub_backup_let_go"
#: Key in `app.extensions` of the function that starts the housekeeping.
HOUSEKEEPING = "hexhub_backup_housekeeping"

#: Key in `app.extensions` of what ticks in the processes that serve, where it does.
TICKING = "hexhub_backup_ticking"

_T = TypeVar("_T")


def ask(function: Callable[[], _T]) -> _T:
    """Call a function of the host, and release the connection that its session has taken.

    The session would keep the connection until the end of the request, and an upload or a download
    takes long. An operation would need a second one, which the pool may not have.
    """
    try:
        return function()
    finally:
        current_app.extensions[LET_GO]()


def app() -> Flask:
    """The app itself, for threads and signals: `current_app` ends with the request."""
    return current_app._get_current_object()  # type: ignore[attr-defined, no-any-return]


def backups() -> Backups:
    return backups_of(current_app)


def backup(backup_id: str) -> Backup:
    """The backup with an id. Raises NotFoundError.

    Verbs also take the path of a file; a browser may send an id only.
    """
    return backups().history.backup(backup_id)


def operation(operation_id: str) -> Operation:
    """The operation with an id. Starts recovery where its process is dead. Raises
    NotFoundError."""
    operation = backups().catalog.operation(operation_id)
    look_after([operation])
    return operation


def running() -> list[Operation]:
    """The operations that wait or run. Starts recovery where the process of one is dead."""
    operations = backups().catalog.unfinished_operations()
    look_after(operations)
    return operations


def is_busy(operations: Iterable[Operation]) -> bool:
    """Whether one of these has to end before a backup or a restore can begin."""
    known = (VERBS.get(each.verb) for each in operations)
    return any(verb is not None and verb.exclusive for verb in known)


def look_after(operations: Iterable[Operation]) -> None:
    """Start recovery, in a thread, where one of these has not ended and has no process any more, or
    where its process could not record how it ended."""
    if any(not each.ended and backups().recovery.is_due(each) for each in operations):
        current_app.extensions[HOUSEKEEPING](app(), soon=True)


def look_into_depot() -> None:
    """Start a look for new archives, in a thread, where something has come or gone since the last
    one."""
    if backups().depot_changed_at() is not None:
        current_app.extensions[HOUSEKEEPING](app(), soon=True)


def who() -> Who:
    """The actor and the address of the request. Raises SettingError where the host has no actor."""
    actor = ask(current_app.extensions[ACTOR])
    if not isinstance(actor, str) or not actor:
        raise SettingError(
            f"actor= of init_app returned a value of type {type(actor).__name__} instead of a "
            "username: let it return the registry's username of whoever is logged in."
        )
    return Who(actor=actor, address=request.remote_addr)
