"""Runs orders in workers of Celery, which only this file imports."""

from __future__ import annotations

import logging
from typing import Any

from hexhub_backup.errors import (
    BackupError,
    BusyError,
    CancelledError,
    NotFoundError,
    SettingError,
)
from hexhub_backup.extras import require
from hexhub_backup.jobs.running import run

_log = logging.getLogger("hexhub_backup")

#: What the task is called in the queue.
TASK = "hexhub_backup.run"
#: Seconds for which a request waits for a broker: to connect, and for each answer.
_PATIENCE = 4.0
#: Each transport knows some of these: those of Redis, those of AMQP, and how often it is tried to
#: connect.
_TRANSPORT = {
    "socket_connect_timeout": _PATIENCE,
    "socket_timeout": _PATIENCE,
    "read_timeout": _PATIENCE,
    "write_timeout": _PATIENCE,
    "max_retries": 3,
    "interval_start": 0.2,
    "interval_step": 0.2,
}
#: What says that an order is gone, or somebody else's.
_NOT_OURS = (BusyError, CancelledError, NotFoundError)
#: Seconds: ten years. A time limit that the host has set for its own tasks would kill a long
#: operation in the middle, and 0 would be none of our own.
_NO_LIMIT = 10 * 365 * 24 * 3600


class CeleryRunner:
    """Has orders run by the workers of a Celery app, by way of a queue of their own.

    Make it in the app's factory, and hand it to `init_app`: `celery_app` is the Celery of that app,
    in web processes and in workers, and its tasks run in an app context, as those of Flask's
    documentation do (https://flask.palletsprojects.com/en/stable/patterns/celery/). The message
    carries the operation's id and nothing else: the row and the lock decide. It is acknowledged
    when a worker takes it and never sent again, and no result is kept.
    """

    def __init__(self, celery_app: Any, queue: str = "backups") -> None:
        """Raises SettingError where Celery is missing, or `celery_app` is none."""
        require("celery", "CeleryRunner")
        from celery import Celery  # type: ignore[import-untyped]

        if not isinstance(celery_app, Celery):
            raise SettingError(
                f"CeleryRunner got something of the type {type(celery_app).__name__}, which is no "
                "Celery app: hand it the one that your workers are started with."
            )
        self.queue = queue
        self._celery = celery_app
        self._task = celery_app.task(
            name=TASK,
            ignore_result=True,
            acks_late=False,
            max_retries=0,
            time_limit=_NO_LIMIT,
            soft_time_limit=_NO_LIMIT,
        )(_run)

    def submit(self, operation_id: str) -> None:
        """Put an order into the queue. Raises BusyError within seconds where the broker does not
        take it, and whatever else Celery raises."""
        from celery.exceptions import OperationalError  # type: ignore[import-untyped]

        try:
            self._send(operation_id)
        except (OperationalError, OSError) as error:
            # Its message may have the broker's address, with its password.
            raise BusyError(
                "Nothing was begun, because Celery's broker did not take it "
                f"({type(error).__name__}): see that the broker runs, and start again."
            ) from error

    def _send(self, operation_id: str) -> None:
        # A connection of its own: one that others wait for, or that a broker has left behind, would
        # be waited for without end.
        with self._celery.connection_for_write(
            connect_timeout=_PATIENCE, transport_options=_TRANSPORT
        ) as connection:
            self._task.apply_async(
                (operation_id,),
                task_id=operation_id,
                queue=self.queue,
                connection=connection,
                retry=False,
            )


def _run(operation_id: str) -> None:
    """Run an order, in a worker. What ended the operation is recorded, and told by the run; that
    the order is gone, or was taken before, is a line in the log."""
    from flask import current_app, has_app_context

    if not has_app_context():
        raise SettingError(
            "The tasks of this Celery app run in no app context: let their class push one, as "
            "FlaskTask does in Flask's documentation."
        )
    try:
        run(current_app._get_current_object(), operation_id)  # type: ignore[attr-defined]
    except BackupError as error:
        level = logging.INFO if isinstance(error, _NOT_OURS) else logging.WARNING
        _log.log(level, "order %s: %s", operation_id, error)
