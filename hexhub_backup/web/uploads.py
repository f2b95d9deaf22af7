"""The restore form: a plain multipart post whose file is streamed straight to its place.

Werkzeug's own parser would write the file to the temporary directory first, which may be memory
or a small disk. Nothing is read before `access` let the request in, and of the file nothing
before its CSRF token is checked: the token's field comes before the file's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import cast

from flask import Blueprint, abort, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from hexhub_backup import verbs
from hexhub_backup.depot.base import Depot, NewUpload, ResumableUpload
from hexhub_backup.depot.names import new_id
from hexhub_backup.destinations.encryption import HEAD, MAX_IDENTITY, Identities
from hexhub_backup.errors import WrongKeyError
from hexhub_backup.jobs.ending import as_backup_error
from hexhub_backup.operations import verify
from hexhub_backup.operations.choice import STRATEGIES, Choice, Strategy
from hexhub_backup.verbs.base import Order
from hexhub_backup.verbs.fetching import is_encrypted
from hexhub_backup.web import access, current, receiving, tokens, tus

#: Bytes: what is read at a time, what the decoder may hold, and all short fields together.
_CHUNK = 256 * 1024
_DECODER_LENGTH = 4 * _CHUNK
_FIELDS_LENGTH = 64 * 1024
_PARTS = 20
_BOUNDARY_LENGTH = 200
#: The fields of a private key: pasted, or a file.
_KEY_FIELDS = ("identity", "identity_file")
_YES = ("on", "1", "true", "yes")


def add_to(blueprint: Blueprint) -> None:
    """Give the blueprint the address that the restore form is sent to."""
    blueprint.add_url_rule("/restore", access.UPLOAD, restore_upload, methods=["POST"])


def restore_upload() -> ResponseReturnValue:
    """Plan a restore of an uploaded archive (`file`) or of a backup (`backup`, its id). One that is
    encrypted is opened first, with a private key (`identity`, a text, or `identity_file`), in an
    operation of its own.

    Fields: `csrf_token`, unless the header `X-CSRFToken` has it, `conflict_strategy` (skip),
    `grant_protected`, `backup`, `upload` (in place of `file`, the id of a resumable upload),
    `found` (in place of `file`, the name of a tar in the backup directory), `place` (of the copy
    that is opened), `identity`, `identity_file`, `file`, in this order.
    """
    backups = current.backups()
    # Rather before a long upload than after it.
    with backups.coordinator.exclusive():
        pass
    form = RestoreForm(backups.depot, checked="X-CSRFToken" in request.headers)
    upload = None
    with ExitStack() as held, ExitStack() as stack:
        stack.callback(form.discard)
        form.receive()
        if form.upload:
            upload = held.enter_context(tus.opened(form.upload, alone=True))
            form.take(upload)
        if form.found:
            form.archive, form.file_name = backups.depot.found_archive(form.found), form.found
        if form.archive is None:
            current.backup(form.backup)
        name = form.backup if form.archive is None else form.archive
        choice = Choice(
            strategy=form.strategy, protected=form.fields.get("grant_protected") in _YES
        )
        who, opening = current.who(), None
        place = form.fields.get("place") if form.archive is None else None
        if form.identities is not None:
            opening = verbs.decrypt.order(backups.history, who, name, place, choice)
        if opening is None:
            order = verbs.inspect.order(backups.history, who, name, choice, place=place)
            planned = backups.orders.start(current.app(), form.named(order))
            found = url_for(".plan", plan_id=planned)
        else:
            stack.callback(backups.depot.remove_upload, opening.options["archive"])
            backups.orders.start(current.app(), form.named(opening), identity=form.identities)
            found = url_for(".operation", operation_id=opening.id)
        stack.pop_all()
        if upload is not None:
            upload.release()
    return redirect(found, code=303)


class RestoreForm:
    """The form as it arrives. `checked` tells whether its CSRF token has been checked already. A
    private key stays in memory."""

    def __init__(self, depot: Depot, *, checked: bool) -> None:
        self.fields: dict[str, str] = {}
        #: The name of the uploaded archive, once all of it is there.
        self.archive: str | None = None
        #: The private keys, where there are some.
        self.identities: Identities | None = None
        #: What the browser calls the file.
        self.file_name: str | None = None
        self._file: NewUpload | None = None
        #: Bytes of it that came, and the first of them.
        self._length = 0
        self._head = bytearray()
        #: How much of its head was looked at: nothing, a tar's first block, all of an age header.
        self._seen = 0
        self._checked = checked
        self._depot = depot
        self._id = new_id()

    @property
    def backup(self) -> str:
        return self.fields.get("backup", "")

    @property
    def upload(self) -> str:
        return self.fields.get("upload", "")

    @property
    def found(self) -> str:
        return self.fields.get("found", "")

    @property
    def strategy(self) -> Strategy:
        return cast(Strategy, self.fields.get("conflict_strategy", "skip"))

    def receive(self) -> None:
        """Read the request's body. Aborts with 400 and 413; raises CSRFError, SpaceError,
        StorageError, WrongKeyError."""
        receiving.check_announced(self._depot, request.content_length or 0)
        with ExitStack() as stack:
            name, value, file = "", bytearray(), cast("NewUpload | None", None)
            for event in _events():
                if isinstance(event, Field | File):
                    name, value, file = event.name, bytearray(), None
                    if isinstance(event, File) and event.filename and name not in _KEY_FIELDS:
                        self._check_before_file()
                        self.file_name = receiving.plain_name(event.filename)
                        file = self._file = stack.enter_context(self._create())
                elif isinstance(event, Data) and file is not None:
                    self._write(file, event.data)
                elif isinstance(event, Data):
                    value += event.data
                    self._check_length(name, len(value))
                    if not event.more_data and name in _KEY_FIELDS:
                        self._take_key(bytes(value))
                    elif not event.more_data:
                        self.fields[name] = value.decode(errors="replace")
            self._check()
            if self._file is not None:
                self._look(ends=True)
                self._file.complete()
                self.archive = self._file.name
        named = [each for each in (self._file, self.backup, self.upload, self.found) if each]
        if not named:
            abort(400, "There is nothing to restore: choose a file or a backup.")
        if len(named) > 1:
            abort(400, "Choose a file or a backup, not both.")

    def take(self, upload: ResumableUpload) -> None:
        """Let an upload that came before be the file. Aborts with 409 where not all of it is there;
        raises as `receive`."""
        if upload.offset < upload.info.length:
            abort(409, "Not all of the file is here: upload the rest of it first.")
        upload.complete()
        self.archive, self.file_name = upload.name, tus.file_name(upload.info)
        with self._depot.source(upload.name) as source:
            self._head += source.read(0, HEAD)
        self._look(ends=True)

    def _check_length(self, name: str, length: int) -> None:
        if name in _KEY_FIELDS:
            if length > MAX_IDENTITY:
                abort(413, f"A private key has at most {MAX_IDENTITY // 1024} KiB.")
        elif length + sum(map(len, self.fields.values())) > _FIELDS_LENGTH:
            abort(413, "A field of the form is too long.")

    def _take_key(self, content: bytes) -> None:
        if content.strip():
            self._check()
            if self.identities is not None:
                abort(400, "Paste the private key or choose its file, not both.")
            self.identities = Identities(content)

    def named(self, order: Order) -> Order:
        """An order on the upload, with its file's name."""
        if self.file_name is None:
            return order
        return replace(order, options={**order.options, "file_name": self.file_name})

    def _look(self, *, ends: bool = False) -> None:
        """Look at the file as soon as its head is there: whether it is a tar, or an encrypted file
        that can be opened. Rather at its beginning than after gigabytes of it."""
        for length, check in ((verify.HEAD, self._check_kind), (HEAD, self._check_key)):
            if self._seen < length and (ends or len(self._head) >= length):
                self._seen = length
                check()

    def _check_kind(self) -> None:
        receiving.check_kind(bytes(self._head), self.file_name)

    def _check_key(self) -> None:
        head = bytes(self._head)
        if not is_encrypted(head):
            return
        if self.identities is None:
            raise WrongKeyError(
                "This file is encrypted: hand in the private key of one of its recipients with it."
            )
        if not self.identities.opens(head):
            raise WrongKeyError(
                "No key of those that were given opens this file: hand in the private key of one "
                "of its recipients."
            )

    def _write(self, file: NewUpload, data: bytes) -> None:
        receiving.check_room(self._depot, self._length, len(data))
        if self._seen < HEAD:
            self._head += data[: HEAD - len(self._head)]
            self._look()
        try:
            file.write(data)
        except OSError as error:
            raise as_backup_error(error, "upload") from error
        self._length += len(data)

    def discard(self) -> None:
        """Remove what was uploaded."""
        if self._file is not None:
            self._file.discard()

    def _check(self) -> None:
        if not self._checked:
            tokens.check_token(self.fields.get(tokens.FIELD), self.fields.items())
            self._checked = True
        if self.strategy not in STRATEGIES:
            abort(400, f"There is no strategy {self.strategy!r}: {', '.join(STRATEGIES)}.")

    def _check_before_file(self) -> None:
        self._check()
        if self.backup:
            abort(400, "Choose a file or a backup, not both.")

    def _create(self) -> NewUpload:
        if self._file is not None:
            abort(400, "One file at a time can be restored.")
        try:
            return self._depot.new_upload(self._id)
        except OSError as error:
            raise as_backup_error(error, "upload") from error


def _events() -> Iterator[Event]:
    """The parts of the request's body, as they arrive. Aborts with 400 for a body that is no form,
    or that ends too early."""
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data" or not 0 < len(boundary) <= _BOUNDARY_LENGTH:
        abort(400, "This address takes a form, as multipart/form-data.")
    # The app's limit is for its own forms.
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
