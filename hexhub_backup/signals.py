"""The telemetry bus: every signal, its payload, and when it is sent.

The sender is the Flask app. Receivers accept `**extra`, because payloads grow. An error of a
receiver is logged and never harms an operation. A receiver runs in the thread of the operation, in
an app context of its own, and should be quick. While an operation reads the registry, a receiver
that writes to the same SQLite database without WAL waits for it.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any

from blinker import NamedSignal, Namespace

from hexhub_backup.errors import without_messages

_log = logging.getLogger("hexhub_backup")
_signals = Namespace()

#: The names in every payload: `operation` is the operation's id, `verb` its verb, `actor` the
#: username, `address` the client's address (or None), `event` the event as a page gets it.
operation_started = _signals.signal(
    "operation_started",
    "An operation begins: `operation`, `verb`, `actor`, `address`, `options`, "
    "`backup` (the id it creates or verifies, or None), `event`.",
)
operation_step = _signals.signal(
    "operation_step", "A step begins or is done: `operation`, `verb`, `event`."
)
operation_progress = _signals.signal(
    "operation_progress",
    "Progress, at most ten events a second, a log line or a warning: `operation`, `verb`, `event` "
    "(of type `progress`, `log` or `warning`).",
)
operation_finished = _signals.signal(
    "operation_finished",
    "An operation has ended: `operation`, `verb`, `actor`, `address`, `backup`, `state`, `reason`, "
    "`code` (the error's), `outcome`, `duration_seconds`, `event`.",
)
backup_created = _signals.signal(
    "backup_created",
    "A backup has been created: `backup` (id), `operation`, `actor`, `address`, `archive` (path), "
    "`size_bytes`, `manifest`.",
)
backup_rehearsed = _signals.signal(
    "backup_rehearsed",
    "A restore of a backup has been tried beside the registry: `backup` (id, or None for a file), "
    "`operation`, `actor`, `address`, `restorable` (whether all of it came back as it was), "
    "`outcome`.",
)
backup_deleted = _signals.signal(
    "backup_deleted",
    "A backup has been deleted: `backup` (id), `actor`, `address`, `reason` (`manual` or "
    "`expired`), `places` (`here`, or names of destinations: copies in others may still be there).",
)
backup_downloaded = _signals.signal(
    "backup_downloaded",
    "Somebody begins to download a backup: `backup` (id), `actor`, `address`, `size_bytes`, "
    "`issued` (it was sent to a signed address, and nothing tells what came of that), and `file`, "
    "the name of the one file that it is, or None for all of the archive.",
)
change_acknowledged = _signals.signal(
    "change_acknowledged",
    "Somebody knows why package files of a backup are not what they were in an earlier one: "
    "`backup` (id), `actor`, `address`, `changed_files` (how many), `note`.",
)
restore_completed = _signals.signal(
    "restore_completed",
    "A restore is complete: `operation`, `actor`, `address`, `outcome`, and the names of all "
    "`packages` and `users` it changed and of all users whose `credentials` it changed, for hosts "
    "that rebuild an index or end sessions. Each is a `collections.abc.Collection` of texts, "
    "sorted, with `len()`, that reads a file anew at each look: as often as you like, in any "
    "thread, for as long as the operation is remembered. `outcome` has the first hundred of each.",
)
restore_undone = _signals.signal(
    "restore_undone",
    "A restore has been undone: `operation`, `undone` (the restore's id), `actor`, `address`, "
    "`outcome`, and `packages`, `users` and `credentials` as of `restore_completed`.",
)
backups_pruned = _signals.signal(
    "backups_pruned", "A prune has deleted expired backups: `operation`, `actor`, `backups` (ids)."
)
alert_raised = _signals.signal(
    "alert_raised",
    "A problem with the backups has begun, or has gone on for another day: `alert`, with `event` "
    "(`raised` or `reminder`), `code`, `level`, `text`, `action`, `began_at`.",
)
alert_cleared = _signals.signal(
    "alert_cleared", "A problem with the backups is over: `alert`, whose `event` is `cleared`."
)

SIGNALS: Mapping[str, NamedSignal] = {str(name): signal for name, signal in _signals.items()}


def emit(signal: NamedSignal, app: Any, **payload: Any) -> None:
    """Send a signal to each receiver, and log what a receiver raises.

    Each receiver has an app context of its own, whose end closes the database session: an open
    transaction would lock out the next receiver or the operation.
    """
    for receiver in signal.receivers_for(app):
        try:
            with app.app_context():
                if inspect.iscoroutinefunction(receiver):
                    app.ensure_sync(receiver)(app, **payload)
                else:
                    receiver(app, **payload)
        except BaseException as error:  # also SystemExit: it ends the receiver only
            _log.error("a receiver of %s failed", signal.name, exc_info=without_messages(error))
