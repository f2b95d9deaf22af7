"""Downloads: the tar of a backup, whole or in ranges, or one file of it; as attachments."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack, closing
from datetime import datetime, timezone
from threading import Lock
from typing import IO, cast

from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.wsgi import FileWrapper

from hexhub_backup import signals
from hexhub_backup.archive.records import FILE_TYPES, FileEntry
from hexhub_backup.archive.source import Source
from hexhub_backup.destinations.base import Destination, OpenFile, find
from hexhub_backup.errors import BackupError, NotFoundError
from hexhub_backup.history.contents import listed_contents
from hexhub_backup.history.models import Backup, Copy, Who
from hexhub_backup.operations.fetch import check_size
from hexhub_backup.operations.sidecar import archive_file
from hexhub_backup.operations.single_file import check_file
from hexhub_backup.web import current

#: Seconds for which ranges of one backup, for one admin at one address, are one download.
_ONE_DOWNLOAD = 3600.0
#: Bytes that are sent at a time.
_CHUNK = 256 * 1024


class Downloads:
    """Distinguishes a new download from the next range of one that has been announced.

    Each process remembers its own downloads. A download that continues in another process is
    announced twice, rather than never.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._announced: dict[tuple[str, str, str | None], float] = {}

    def is_new(self, key: tuple[str, str, str | None], *, from_the_start: bool) -> bool:
        now = time.monotonic()
        with self._lock:
            self._announced = {
                known: at for known, at in self._announced.items() if now - at < _ONE_DOWNLOAD
            }
            new = from_the_start or key not in self._announced
            if new:
                self._announced[key] = now
        return new


def add_to(blueprint: Blueprint) -> None:
    """Give the blueprint its downloads."""
    downloads = Downloads()

    @blueprint.get("/<backup_id>/download")
    def download(backup_id: str) -> Response:
        who, shown = current.who(), current.backup(backup_id)
        copy = shown.elsewhere
        issued = copy is None and request.method == "GET" and _issued(backup_id)
        response = issued or (_local(backup_id) if copy is None else _remote(copy))
        content = response.content_range
        from_the_start = not content or content.start == 0
        if (
            request.method == "GET"
            and response.status_code in (200, 206, 302)
            and downloads.is_new((backup_id, who.actor, who.address), from_the_start=from_the_start)
        ):
            _tell(who, backup_id, shown.size_bytes, issued=bool(issued))
        return response

    @blueprint.get("/<backup_id>/files/<file_type>/<package>/<version>")
    def download_file(backup_id: str, file_type: str, package: str, version: str) -> Response:
        who, shown = current.who(), current.backup(backup_id)
        entry = _entry(shown, file_type, package, version)
        response = _file(shown.id, entry)
        if request.method == "GET":
            _tell(who, backup_id, entry.size, file=entry.member)
        return response


def _issued(backup_id: str) -> Response | None:
    """The way to the archive in a bucket, where downloads are to go there: an address that is a
    secret for some seconds. Raises NotFoundError."""
    backups = current.backups()
    seconds = backups.settings.signed_downloads
    if not seconds:
        return None
    archive, _ = backups.history.find(backup_id)
    address = backups.depot.address(archive, archive_file(backup_id), seconds)
    if address is None:
        return None
    response = Response(status=302, mimetype="text/plain")
    response.headers["Location"] = address
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _local(backup_id: str) -> Response:
    """The archive in the backup directory. Raises NotFoundError, BusyError."""
    backups = current.backups()
    archive, _ = backups.history.find(backup_id)
    # Until it is sent, nothing deletes it.
    file = _ArchiveFile(backups.depot.using(archive))
    source = file.source
    return _attachment(
        cast("IO[bytes]", file),
        archive_file(backup_id),
        size=source.size,
        modified=datetime.fromtimestamp(source.modified, timezone.utc),
        etag=f"{backup_id}-{source.size}-{source.version}",
    )


def _tell(
    who: Who, backup: str, size: int | None, *, issued: bool = False, file: str | None = None
) -> None:
    signals.emit(
        signals.backup_downloaded,
        current.app(),
        backup=backup,
        actor=who.actor,
        address=who.address,
        size_bytes=size,
        issued=issued,
        file=file,
    )


def _entry(shown: Backup, file_type: str, package: str, version: str) -> FileEntry:
    """Where a file is in the archive of a backup. Raises NotFoundError."""
    entry = None
    with closing(listed_contents(current.backups().depot, shown)) as contents:
        for each in FILE_TYPES:
            if each == file_type:
                entry = contents.file(each, (package, version))
    if entry is None:
        raise NotFoundError(f"Backup {shown.id} has no {file_type} file of {package} {version}.")
    return entry


def _file(backup_id: str, entry: FileEntry) -> Response:
    """One file of an archive, which is checked before the first byte goes out. Raises
    NotFoundError, BusyError, ArchiveError."""
    backups = current.backups()
    archive, _ = backups.history.find(backup_id)
    file = _ArchiveFile(backups.depot.using(archive))
    try:
        check_file(file.source, entry)
    except BaseException:
        file.close()
        raise
    file.narrow(entry.offset, entry.size)
    response = Response(
        FileWrapper(cast("IO[bytes]", file), _CHUNK),
        mimetype="application/octet-stream",
        direct_passthrough=True,
    )
    name = entry.member.rpartition("/")[2]
    response.headers.set("Content-Disposition", "attachment", filename=name)
    response.headers["Cache-Control"] = "no-store"
    response.content_length = entry.size
    return response


class _ArchiveFile:
    """An archive as a file, held until it is closed."""

    def __init__(self, using: AbstractContextManager[Source]) -> None:
        """Raises NotFoundError, BusyError."""
        self._held = ExitStack()
        self.source = self._held.enter_context(using)
        self._at, self._end = 0, self.source.size

    def narrow(self, at: int, size: int) -> None:
        """Be only so many bytes of it, from a place on."""
        self._at, self._end = at, at + size

    def seekable(self) -> bool:
        return True

    def seek(self, at: int) -> None:
        self._at = at

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        data = self.source.read(self._at, min(size, self._end - self._at))
        self._at += len(data)
        return data

    def close(self) -> None:
        self._held.close()


def _remote(copy: Copy) -> Response:
    """A copy elsewhere, which goes through here as it comes. Raises NotFoundError,
    ArchiveError, DestinationError."""
    name, size = str(copy.file), copy.size_bytes or 0
    file = _CopyFile(find(current.backups().destinations, copy.place), name, size)
    response = _attachment(
        cast("IO[bytes]", file),
        name,
        size=size,
        modified=None,
        etag=f"{copy.backup_id}-{copy.place}-{copy.sha256 or size}",
    )
    if request.method == "GET" and response.status_code in (200, 206):
        # Before the answer begins: what is wrong then could not be said any more.
        content = response.content_range
        file.seek(content.start or 0 if content else 0)
        try:
            file.open()
        except BackupError:
            file.close()
            raise
    return response


class _CopyFile:
    """A copy as a file that is read on from where it is sought to."""

    def __init__(self, destination: Destination, name: str, size: int) -> None:
        self._destination = destination
        self._name = name
        self._size = size
        self._at = 0
        self._opened: OpenFile | None = None

    def open(self) -> OpenFile:
        """Raises NotFoundError, ArchiveError where it has another size, DestinationError."""
        if self._opened is None:
            try:
                self._opened = self._destination.open(self._name, self._at)
            except FileNotFoundError:
                raise NotFoundError(
                    f"{self._name} is not in {self._destination.location} any more: use another "
                    "copy."
                ) from None
            check_size(self._opened.size, self._size, self._destination, self._name)
        return self._opened

    def seekable(self) -> bool:
        return True

    def seek(self, at: int) -> None:
        if at != self._at:
            self.close()
            self._at = at

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        data = self.open().read(size) if self._at < self._size else b""
        self._at += len(data)
        return data

    def close(self) -> None:
        if self._opened is not None:
            self._opened.__exit__(None, None, None)
            self._opened = None


def _attachment(
    file: IO[bytes], name: str, *, size: int, modified: datetime | None, etag: str
) -> Response:
    """A file, or the range of it that is asked for. Raises RequestedRangeNotSatisfiable: then it is
    closed."""
    response = Response(
        FileWrapper(file, _CHUNK), mimetype="application/x-tar", direct_passthrough=True
    )
    response.headers.set("Content-Disposition", "attachment", filename=name)
    response.headers["Cache-Control"] = "no-store"
    response.content_length = size
    response.last_modified = modified
    response.set_etag(etag)
    try:
        response.make_conditional(request, accept_ranges=True, complete_length=size)
    except RequestedRangeNotSatisfiable:
        file.close()
        raise
    return response
