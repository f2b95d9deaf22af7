"""What a request of ours stands in: the app, its backups, and who is asking."""

from __future__ import annotations

from typing import cast

from flask import Flask, current_app, request

from hexhub_backup.history.models import Backup
from hexhub_backup.jobs.verbs import Backups, Who

#: In `app.extensions`: the function that gives the username of who is logged in.
ACTOR = "hexhub_backup_actor"
#: In `app.extensions`: the function that says whether who asks may come in.
AUTHORIZE = "hexhub_backup_authorize"


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


def who() -> Who:
    """Who is asking, and from where."""
    return Who(actor=current_app.extensions[ACTOR](), address=request.remote_addr)
