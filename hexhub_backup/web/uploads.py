"""The restore form: a plain multipart post whose file is streamed straight to its place.

Werkzeug's own parser would write the file to the temporary directory first, which may be memory
or a small disk. Nothing is read before `access` let the request in, and of the file nothing
before its CSRF token is checked: the token's field comes before the file's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

from flask import Blueprint, abort, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from hexhub_backup.errors import SpaceError
from hexhub_backup.history.directory import BackupDirectory, new_id
from hexhub_backup.jobs.lock import exclusive
from hexhub_backup.jobs.runner import as_backup_error
from hexhub_backup.operations.choice import STRATEGIES, Choice, Strategy
from hexhub_backup.web import access, filters, here

#: Bytes: what is read at a time, what the decoder may hold, and all short fields together.
_CHUNK = 256 * 1024
_DECODER_LENGTH = 4 * _CHUNK
_FIELDS_LENGTH = 64 * 1024
_PARTS = 20
_BOUNDARY_LENGTH = 200
#: Bytes that an upload leaves free, for the database and the events beside it.
_SPARE = 16 * 1024 * 1024
_YES = ("on", "1", "true", "yes")


def add_to(blueprint: Blueprint) -> None:
    """Give the blueprint the address that the restore form is sent to."""
    blueprint.add_url_rule("/restore", access.UPLOAD, restore_upload, methods=["POST"])


def restore_upload() -> ResponseReturnValue:
    """Plan a restore of an uploaded archive (`file`) or of a backup (`backup`, its id).

    Fields: `csrf_token`, unless the header `X-CSRFToken` has it, `conflict_strategy` (skip),
    `grant_protected`, `backup`, `file`, in this order.
    """
    backups = here.backups()
    # Rather before a long upload than after it.
    with exclusive(backups.directory.lock):
        pass
    form = RestoreForm(backups.directory, checked="X-CSRFToken" in request.headers)
    with ExitStack() as stack:
        stack.callback(form.discard)
        form.receive()
        if form.archive is None:
            here.backup(form.backup)
        job = backups.inspect(
            here.app(),
            here.who(),
            form.backup if form.archive is None else str(form.archive),
            Choice(strategy=form.strategy, protected=form.fields.get("grant_protected") in _YES),
        )
        plan_id = backups.start(job)
        stack.pop_all()
    return redirect(url_for(".plan", plan_id=plan_id), code=303)


class RestoreForm:
    """The form as it comes in. `checked` says that its CSRF token has been checked already."""

    def __init__(self, directory: BackupDirectory, *, checked: bool) -> None:
        self.fields: dict[str, str] = {}
        #: The uploaded file, once all of it is there.
        self.archive: Path | None = None
        self._checked = checked
        self._directory = directory
        self._id = new_id()

    @property
    def backup(self) -> str:
        return self.fields.get("backup", "")

    @property
    def strategy(self) -> Strategy:
        return cast(Strategy, self.fields.get("conflict_strategy", "skip"))

    def receive(self) -> None:
        """Read the request's body. Aborts with 400 and 413; raises CSRFError, SpaceError,
        StorageError."""
        length, free = request.content_length or 0, self._directory.free()
        if length > free:
            raise self._no_room(f"has {filters.size(length)}", free)
        part = self._directory.partial_upload(self._id)
        with ExitStack() as stack:
            name, value, file = "", bytearray(), cast("IO[bytes] | None", None)
            for event in _events():
                if isinstance(event, Field | File):
                    name, value, file = event.name, bytearray(), None
                    if isinstance(event, File) and event.filename:
                        self._check_before_file()
                        file = stack.enter_context(self._create(part))
                elif isinstance(event, Data) and file is not None:
                    self._write(file, event.data, part)
                elif isinstance(event, Data):
                    value += event.data
                    if len(value) + sum(map(len, self.fields.values())) > _FIELDS_LENGTH:
                        abort(413, "A field of the form is too long.")
                    if not event.more_data:
                        self.fields[name] = value.decode(errors="replace")
        self._check()
        if part.exists():
            self.archive = part.rename(self._directory.upload(self._id))
        elif not self.backup:
            abort(400, "There is nothing to restore: choose a file, or a backup.")

    def _write(self, file: IO[bytes], data: bytes, path: Path) -> None:
        # How much comes may not have been said (Transfer-Encoding: chunked), and others write too.
        free = self._directory.free()
        if free < len(data) + _SPARE:
            raise self._no_room(f"has more than {filters.size(file.tell())}", free)
        left = memoryview(data)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError as error:
            error.filename = str(path)
            raise as_backup_error(error, "upload") from error

    def _no_room(self, has: str, free: int) -> SpaceError:
        return SpaceError(
            f"The upload {has}, and there are {filters.size(free)} free in "
            f"{self._directory.path}: make room there, and upload it again."
        )

    def discard(self) -> None:
        """Remove what was uploaded."""
        self._directory.partial_upload(self._id).unlink(missing_ok=True)
        self._directory.upload(self._id).unlink(missing_ok=True)

    def _check(self) -> None:
        if not self._checked:
            access.check_token(self.fields.get("csrf_token"))
            self._checked = True
        if self.strategy not in STRATEGIES:
            abort(400, f"There is no strategy {self.strategy!r}: {', '.join(STRATEGIES)}.")

    def _check_before_file(self) -> None:
        self._check()
        if self.backup:
            abort(400, "Choose a file or a backup, not both.")

    def _create(self, part: Path) -> IO[bytes]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.fdopen(os.open(part, flags, 0o600), "wb", buffering=0)
        except FileExistsError:
            abort(400, "One file at a time can be restored.")
        except OSError as error:
            raise as_backup_error(error, "upload") from error


def _events() -> Iterator[Event]:
    """The parts of the request's body, as they arrive. Aborts with 400 where it is none, or ends
    too early."""
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data" or not 0 < len(boundary) <= _BOUNDARY_LENGTH:
        abort(400, "This takes a form, as multipart/form-data.")
    # The limit of the app is for its own forms.
    request.max_content_length = sys.maxsize
    stream = request.stream
    try:
        decoder = MultipartDecoder(boundary.encode(), _DECODER_LENGTH, max_parts=_PARTS)
        while True:
            event = decoder.next_event()
            if isinstance(event, NeedData):
                decoder.receive_data(stream.read(_CHUNK) or None)
            elif isinstance(event, Epilogue):
                return
            elif isinstance(event, Field | File) and not isinstance(event.name, str):
                abort(400, "A part of the form has no name.")
            else:
                yield event
    except ValueError:
        abort(400, "The form is damaged, or its end is missing: send it again.")
