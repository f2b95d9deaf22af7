"""Downloads: the tar of a backup, as an attachment, whole or in ranges."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from threading import Lock
from typing import IO

from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.wsgi import FileWrapper

from hexhub_backup import signals
from hexhub_backup.web import here

#: Seconds for which ranges of one backup, for one admin at one address, are one download.
_ONE_DOWNLOAD = 3600.0
#: Bytes that are sent at a time.
_CHUNK = 256 * 1024


class Downloads:
    """Tells a new download from the next range of one that was told already.

    It is this process that remembers: where a download goes on in another, it is told twice,
    and never not at all.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._told: dict[tuple[str, str, str | None], float] = {}

    def is_new(self, key: tuple[str, str, str | None], *, from_the_start: bool) -> bool:
        now = time.monotonic()
        with self._lock:
            self._told = {known: at for known, at in self._told.items() if now - at < _ONE_DOWNLOAD}
            new = from_the_start or key not in self._told
            if new:
                self._told[key] = now
        return new


def add_to(blueprint: Blueprint) -> None:
    """Give the blueprint its downloads."""
    downloads = Downloads()

    @blueprint.get("/<backup_id>/download")
    def download(backup_id: str) -> Response:
        backups, who = here.backups(), here.who()
        here.backup(backup_id)
        path, _ = backups.find(backup_id)
        with backups.directory.using(path) as descriptor:
            # A duplicate shares the lock: until it is sent, nothing deletes the file.
            file = os.fdopen(os.dup(descriptor), "rb")
        try:
            response = _attachment(file, path.name, etag=backup_id)
        except RequestedRangeNotSatisfiable:
            file.close()
            raise
        content = response.content_range
        from_the_start = not content or content.start == 0
        if (
            request.method == "GET"
            and response.status_code in (200, 206)
            and downloads.is_new((backup_id, who.actor, who.address), from_the_start=from_the_start)
        ):
            signals.emit(
                signals.backup_downloaded,
                here.app(),
                backup=backup_id,
                actor=who.actor,
                address=who.address,
                size_bytes=path.stat().st_size,
            )
        return response


def _attachment(file: IO[bytes], name: str, *, etag: str) -> Response:
    """A file, or the range of it that is asked for. Raises RequestedRangeNotSatisfiable."""
    status = os.fstat(file.fileno())
    response = Response(
        FileWrapper(file, _CHUNK), mimetype="application/x-tar", direct_passthrough=True
    )
    response.headers.set("Content-Disposition", "attachment", filename=name)
    response.headers["Cache-Control"] = "no-store"
    response.content_length = status.st_size
    response.last_modified = datetime.fromtimestamp(status.st_mtime, timezone.utc)
    response.set_etag(f"{etag}-{status.st_size}-{status.st_mtime_ns}")
    response.make_conditional(request, accept_ranges=True, complete_length=status.st_size)
    return response
