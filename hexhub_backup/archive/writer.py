"""Records and files in, one tar out, in one pass."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import BinaryIO, cast

from hexhub_backup.archive import tar
from hexhub_backup.archive.checks import check_record, label_of
from hexhub_backup.archive.faults import shown
from hexhub_backup.archive.jsonrows import MAX_ROW_BYTES, StrictJSONError, dumps, write_rows
from hexhub_backup.archive.manifest import COUNTS, MANIFEST, SUMS, VERSION, Manifest
from hexhub_backup.archive.records import RELEASES, Key, Kind, Record, ReleaseFile
from hexhub_backup.errors import BackupError, Fault, RecordError

_FLUSH = 256 * 1024
_COUNTS = {"package": "package_files", "docs": "doc_files"}


class SourceChangedError(Exception):
    """A file gave fewer or more bytes than it was said to have; the archive is as before it."""


class ArchiveWriter:
    """Writes one archive, member by member: the four kinds in the order of `KINDS`, package files
    and docs files in the order of `release_rows`, then `finish`.

    `file` is a real file, empty and opened `w+b`; `sums` is another, scratch, which holds a line
    for each member. Nothing is synced: that is the caller's, who also closes both. Memory does
    not grow with the number of records or files.
    """

    def __init__(self, file: BinaryIO, sums: BinaryIO) -> None:
        self._file = file
        self._sums = sums
        self._at = 0
        self._total = 0
        self._counts = dict.fromkeys(COUNTS, 0)
        self._checksums: dict[str, str] = {}
        self._releases: tuple[int, int] | None = None
        # Header, bytes and padding of all but large files go out in one write.
        self._buffer = memoryview(bytearray(tar.CHUNK + tar.BLOCK))

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._at

    def write_records(self, kind: Kind, records: Iterable[Record]) -> int:
        """Stream the records of one kind into its member; gives how many.

        Raises RecordError, with a fault that names the record, for what a reader would refuse:
        a wrong shape, a value that is not strict JSON, two records of one key, a name that can
        not be a file's, or records that are not in byte order of the key.
        """
        start = self._at
        self._write(tar.block(kind.member.encode(), 0))
        count = 0

        def lines() -> Iterator[bytes]:
            nonlocal count
            before: Key | None = None
            for record in records:
                line = _checked_line(kind, record)
                # Python compares texts by code points, which is the order of their UTF-8.
                key = kind.key_of(record)
                if before is not None and key <= before:
                    _refuse_order(kind, record, twice=key == before)
                before = key
                count += 1
                yield line

        digest = hashlib.sha256()
        pending = bytearray()
        for piece in write_rows(lines()):
            pending += piece
            if len(pending) >= _FLUSH:
                digest.update(pending)
                self._write(pending)
                pending.clear()
        digest.update(pending)
        self._write(pending)
        offset = start + tar.BLOCK
        size = self._at - offset
        self._write(bytes(tar.padding(size)))
        # Only now is the size known. A pax header would not fit any more: base-256 does.
        self._file.seek(start)
        self._file.write(tar.block(kind.member.encode(), size))
        self._file.seek(self._at)
        self._file.flush()
        if kind is RELEASES:
            self._releases = (offset, size)
        self._counts[kind.name] = count
        self._checksums[kind.member] = f"sha256:{digest.hexdigest()}"
        self._note(kind.member, size, digest.hexdigest())
        return count

    def release_rows(self) -> Iterator[Record]:
        """The releases as they were written, read back from the archive: the files are copied
        when the registry's snapshot is closed. May be called again, and while files are written.
        """
        if self._releases is None:
            raise ValueError("the releases were not written yet")
        member = io.BufferedReader(tar.Slice(self._file.fileno(), *self._releases), _FLUSH)
        for line in member:
            if line.startswith(b"{"):
                yield json.loads(line.rstrip(b",\n"))

    def write_file(
        self,
        file: ReleaseFile,
        source: BinaryIO,
        size: int,
        advance: Callable[[int], None],
        changed: Callable[[], bool] = lambda: False,
    ) -> None:
        """Copy a release's file of `size` bytes, hashing it; `advance` is told bytes of it, and
        `changed` is asked at the end whether somebody has written to it meanwhile.

        Raises SourceChangedError where that is so, or the source has fewer or more bytes; the
        archive is then as before, and the file can be written again.
        """
        start = self._at
        try:
            digest = self._copy(
                file.member, cast(io.RawIOBase, source), size, advance=advance, changed=changed
            )
        except BaseException:
            self._file.seek(start)
            self._file.truncate()
            self._at = start
            raise
        self._counts[_COUNTS[file.type]] += 1
        self._note(file.member, size, digest)

    def _copy(
        self,
        member: str,
        source: io.RawIOBase,
        size: int,
        *,
        advance: Callable[[int], None],
        changed: Callable[[], bool],
    ) -> str:
        buffer = self._buffer
        header = tar.pack(member, size)
        filled = len(header)
        buffer[:filled] = header
        digest = hashlib.sha256()
        left = size
        while left:
            count = source.readinto(buffer[filled : min(filled + left, tar.CHUNK)]) or 0
            if not count:
                raise SourceChangedError(f"{shown(member)} is {left} bytes shorter than {size}")
            digest.update(buffer[filled : filled + count])
            filled += count
            left -= count
            advance(count)
            if filled == tar.CHUNK:
                self._write(buffer[:filled])
                filled = 0
        if source.read(1):
            raise SourceChangedError(f"{shown(member)} is longer than {size} bytes")
        if changed():
            raise SourceChangedError(f"{shown(member)} was written to meanwhile")
        padding = tar.padding(size)
        buffer[filled : filled + padding] = bytes(padding)
        self._write(buffer[: filled + padding])
        return digest.hexdigest()

    def finish(
        self,
        *,
        hex_hub_version: str,
        generator: str,
        created_by: str,
        created_at: datetime | None = None,
        missing_files: Iterable[str] = (),
    ) -> Manifest:
        """Write SHA256SUMS, the manifest and the end, and give the manifest.

        `created_at` is aware, and now by default; `missing_files` are member names. Raises
        BackupError where so many are missing that the manifest could not be read back.
        """
        self._write_sums()
        names: list[str] = []
        # Before all of them are in memory: a name is never smaller in JSON.
        room = MAX_ROW_BYTES
        for name in missing_files:
            names.append(name)
            room -= len(name.encode())
            if room < 0:
                raise _too_many_missing()
        self._counts["total_size_bytes"] = self._total
        manifest = Manifest(
            version=VERSION,
            hex_hub_version=_clean(hex_hub_version),
            generator=_clean(generator),
            created_at=_iso(created_at or datetime.now(timezone.utc)),
            created_by=_clean(created_by),
            contents=self._counts,
            checksums=self._checksums,
        )
        manifest = replace(manifest, missing_files=tuple(names))
        try:
            data = manifest.as_bytes()
        except StrictJSONError:
            raise _too_many_missing() from None
        self._write(tar.pack(MANIFEST, len(data)))
        self._write(data)
        self._write(bytes(tar.padding(len(data))))
        self._write(tar.END)
        self._file.flush()
        return manifest

    def _write_sums(self) -> None:
        size = self._sums.tell()
        self._sums.seek(0)
        self._write(tar.pack(SUMS, size))
        digest = hashlib.sha256()
        while chunk := self._sums.read(tar.CHUNK):
            digest.update(chunk)
            self._write(chunk)
        self._write(bytes(tar.padding(size)))
        self._checksums[SUMS] = f"sha256:{digest.hexdigest()}"
        self._total += size

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        self._file.write(data)
        self._at += len(data)

    def _note(self, member: str, size: int, digest: str) -> None:
        self._total += size
        self._sums.write(f"{digest}  {member}\n".encode())


def _checked_line(kind: Kind, record: Record) -> bytes:
    faults = check_record(kind, record)
    if not faults:
        try:
            return dumps(record)
        except StrictJSONError as error:
            field = None if error.field is None else shown(error.field)
            label = label_of(kind, record)
            faults = [Fault("bad_record", str(error), kind.member, field=field, record=label)]
    raise RecordError(
        f"The {kind.one} can not be backed up: {faults[0]}. Mend the row in the registry.", faults
    )


def _refuse_order(kind: Kind, record: Record, *, twice: bool) -> None:
    label = label_of(kind, record)
    if twice:
        fault = Fault("duplicate_record", "there are two rows of this key", kind.member)
        mend = "Remove one of the rows, or make the key unique."
    else:
        fault = Fault("bad_record", "it comes after a key that is greater", kind.member)
        mend = "The registry has to give records in byte order of the key's UTF-8."
    fault = replace(fault, record=label)
    raise RecordError(f"The {kind.one} can not be backed up: {fault}. {mend}", [fault])


def _too_many_missing() -> BackupError:
    return BackupError(
        "So many files are missing that the manifest can not list them: is the storage mounted?"
    )


def _iso(moment: datetime) -> str:
    utc = moment.astimezone(timezone.utc).replace(tzinfo=None)
    return f"{utc.isoformat(timespec='microseconds')}Z"


def _clean(text: str) -> str:
    # A system user's name may hold bytes that are no UTF-8, as lone surrogates.
    return text.encode(errors="replace").decode().replace("\0", "?")
