"""Records and files in, one tar out, in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import datetime, timezone
from itertools import pairwise
from operator import lt
from typing import BinaryIO, Protocol

from hexhub_backup.archive.batch import Batch
from hexhub_backup.archive.faults import shown
from hexhub_backup.archive.records import (
    RELEASES,
    FileEntry,
    Key,
    Kind,
    ReleaseFile,
    makes_a_folder_of,
)
from hexhub_backup.archive.rules import tar
from hexhub_backup.archive.rules.checksums import sum_line
from hexhub_backup.archive.rules.json_rows import read_rows
from hexhub_backup.archive.rules.manifest import COUNTS, MANIFEST, MAX_TEXT, SUMS, VERSION, Manifest
from hexhub_backup.archive.rules.member_names import COUNTED
from hexhub_backup.archive.rules.strict_json import MAX_ROW_BYTES, StrictJSONError, write_rows
from hexhub_backup.archive.times import format_time
from hexhub_backup.archive.writing.lines import checked_line, plain_lines
from hexhub_backup.archive.writing.new_archive import Output
from hexhub_backup.beside import DigestBeside
from hexhub_backup.errors import BackupError, Fault, RecordError
from hexhub_backup.marking import marked

_ZEROS = bytes(tar.BLOCK)


class SourceChangedError(Exception):
    """A file gave fewer or more bytes than it was said to have; the archive is as before it."""


class Source(Protocol):
    """A file that is read as `io.RawIOBase` is."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


class ArchiveWriter:
    """Writes one archive, member by member: the kinds in the order of `KINDS`, package files
    and docs files in the order of the releases, then `finish`.

    `file` is empty; `sums` is a real file, scratch, opened `w+b`, which holds a line for each
    member. Nothing is synced: that is the caller's, who also closes both. `mark` is called with
    the place where a file's member begins: nothing before it is touched any more. The archive as a
    whole is hashed by `beside`, if it is given. Memory does not grow with the number of records or
    files.
    """

    def __init__(
        self,
        file: Output,
        sums: BinaryIO,
        mark: Callable[[int], object] = lambda _: None,
        beside: Executor | None = None,
    ) -> None:
        self._file = file
        self._mark = mark
        self._sums = sums
        # What comes next goes here, so that many small files go out in one write; the other one
        # may still be hashed.
        self._buffer = memoryview(bytearray(tar.CHUNK))
        self._other = memoryview(bytearray(tar.CHUNK))
        self._filled = 0
        self._whole = DigestBeside(beside)
        #: Where the last file's member begins.
        self._start = 0
        #: What is written stays as it is: the headers of records get their sizes later.
        self._stays = True
        self._written = 0
        self._total = 0
        self._counts = dict.fromkeys(COUNTS, 0)
        self._checksums: dict[str, str] = {}
        # By the key of the release whose file it would make a folder of: the first such release.
        self._folders: dict[Key, Key] = {}
        self._last_file = (False, "", "")

    @property
    def size(self) -> int:
        """Bytes of the archive so far."""
        return self._written + self._filled

    @property
    def sha256(self) -> str:
        """Of the whole archive, in hex, once it is finished."""
        return self._whole.hexdigest()

    def write_records(self, kind: Kind, batches: Iterable[Batch]) -> int:
        """Stream the records of one kind into its member. Returns how many.

        Raises RecordError, with a fault that names the record, for what a reader would refuse:
        a wrong shape, a value that is not strict JSON, two records of one key, a name that can
        not be a file's, a release whose folder would be another's file, or records that are not
        in byte order of the key.
        """
        start, self._stays = self.size, False
        self._write(tar.block(kind.member.encode(), 0))
        digest = hashlib.sha256()
        for piece in write_rows(self._lines(kind, batches)):
            digest.update(piece)
            self._write(piece)
        size = self.size - start - tar.BLOCK
        self._write(bytes(tar.padding(size)))
        # Only now is the size known. A pax header would not fit any more: base-256 does.
        self._flush()
        if self._folders and kind is RELEASES:
            self._refuse_folders(start + tar.BLOCK, size)
        self._file.seek(start)
        self._file.write(tar.block(kind.member.encode(), size))
        read = self._reading(start, self._written - start)
        while chunk := read(tar.CHUNK):
            self._whole.update(chunk)
        self._file.seek(self._written)
        self._stays = True
        self._checksums[kind.member] = f"sha256:{digest.hexdigest()}"
        self._note(kind.member, size, digest.hexdigest())
        return self._counts[kind.name]

    def _lines(self, kind: Kind, batches: Iterable[Batch]) -> Iterator[bytes]:
        before: Key = ()
        for batch in batches:
            lines = plain_lines(kind, batch) or (
                checked_line(kind, record) for record in batch.records()
            )
            self._counts[kind.name] += len(batch)
            yield from lines
            # Python compares texts by code points, which is the order of their UTF-8.
            keys = [before, *zip(*(batch.columns[name] for name in kind.key), strict=True)]
            if not all(map(lt, keys, keys[1:])):
                _refuse_order(kind, keys)
            before = keys[-1]
            if kind is RELEASES:
                self._note_folders(keys[1:])

    def _note_folders(self, keys: Sequence[Key]) -> None:
        for key in keys:
            if key[0].endswith(".tar.gz"):
                file = makes_a_folder_of(key[0])
                if file is not None:
                    self._folders.setdefault(file, key)

    def _refuse_folders(self, at: int, size: int) -> None:
        """Look through the releases for those whose files are folders of others."""
        for row in read_rows(self._reading(at, size)):
            key = RELEASES.key_of(row.value)
            if key in self._folders:
                other = shown(RELEASES.label(self._folders[key]))
                message = f"a tar can not hold its file and the folder of the same name, of {other}"
                label = shown(RELEASES.label(key))
                fault = Fault("duplicate_member", message, RELEASES.member, record=label)
                raise RecordError(
                    f"The release can not be backed up: {fault}. Rename one of the two packages.",
                    [fault],
                )

    def _reading(self, at: int, left: int) -> Callable[[int], bytes]:
        """Reads so many bytes of the file, from a place on."""
        self._file.seek(at)

        def read(length: int) -> bytes:
            nonlocal left
            data = self._file.read(min(length, left))
            left -= len(data)
            return data

        return read

    def write_file(
        self,
        file: ReleaseFile,
        source: Source,
        size: int,
        advance: Callable[[int], None],
        changed: Callable[[], bool] = lambda: False,
    ) -> FileEntry:
        """Copy a release's file of `size` bytes, hashing it; `advance` is called with bytes of it,
        and `changed` at the end, to say whether somebody has written to it meanwhile. Gives where
        it is.

        Raises SourceChangedError where that is so, or the source has fewer or more bytes; the
        archive is then as before, and the file can be written again. Raises ValueError for a file
        that does not come in its order, so that none is there twice.
        """
        start, member = self.size, file.member
        place = (file.type == "docs", file.package, file.version)
        if place <= self._last_file:
            raise ValueError(f"{shown(member)} does not come in its order")
        self._mark(start)
        self._start = start
        try:
            entry = self._copy(member, source, size, advance=advance, changed=changed)
        except BaseException:
            self._take_back(start)
            raise
        self._last_file = place
        self._counts[COUNTED[file.type]] += 1
        self._note(member, size, str(entry.sha256))
        return entry

    def _copy(
        self,
        member: str,
        source: Source,
        size: int,
        *,
        advance: Callable[[int], None],
        changed: Callable[[], bool],
    ) -> FileEntry:
        self._write(tar.pack(member, size))
        offset, digest = self.size, hashlib.sha256()
        left = size
        while True:
            if self._filled == len(self._buffer):
                self._flush()
            # A file that is asked for one byte more and returns fewer is at its end.
            room = self._buffer[self._filled : self._filled + left + 1]
            count = source.readinto(room) or 0
            if count > left:
                raise SourceChangedError(f"{shown(member)} is longer than {size} bytes")
            digest.update(room[:count])
            self._filled += count
            left -= count
            advance(count)
            if not left and count < len(room):
                break
            if not count:
                raise SourceChangedError(f"{shown(member)} is {left} bytes shorter than {size}")
        if changed():
            raise SourceChangedError(f"{shown(member)} was written to meanwhile")
        self._write(_ZEROS[: tar.padding(size)])
        return FileEntry(member, offset, size, digest.hexdigest())

    def finish(
        self,
        *,
        hex_hub_version: str,
        generator: str,
        created_by: str,
        created_at: datetime | None = None,
        missing_files: Iterable[str] = (),
    ) -> Manifest:
        """Write SHA256SUMS, the manifest and the end. Returns the manifest.

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
            created_at=format_time(created_at or datetime.now(timezone.utc)),
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
        self._flush()
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

    def _write(self, data: bytes | bytearray) -> None:
        end = self._filled + len(data)
        if end <= len(self._buffer):
            self._buffer[self._filled : end] = data
            self._filled = end
            return
        self._flush()
        self._send(data)

    def _flush(self) -> None:
        self._send(self._buffer[: self._filled])
        self._file.flush()
        self._filled = 0
        self._buffer, self._other = self._other, self._buffer

    def _send(self, data: bytes | bytearray | memoryview) -> None:
        self._file.write(data)
        if self._stays:
            mark = self._start - self._written
            self._whole.update(data, mark=mark if 0 <= mark < len(data) else None)
        self._written += len(data)

    def _take_back(self, start: int) -> None:
        """Let the archive end at `start` again."""
        self._filled = max(0, start - self._written)
        if start < self._written:
            self._file.seek(start)
            self._file.truncate()
            self._written = start
            self._whole.rewind()

    def _note(self, member: str, size: int, digest: str) -> None:
        self._total += size
        self._sums.write(sum_line(member, digest))


def _refuse_order(kind: Kind, keys: Sequence[Key]) -> None:
    before, key = next(pair for pair in pairwise(keys) if not pair[0] < pair[1])
    if before == key:
        fault = Fault("duplicate_record", "there are two rows of this key", kind.member)
        fix = marked("Remove one of the rows, or make the key unique.")
    else:
        fault = Fault("bad_record", "it comes after a key that is greater", kind.member)
        fix = marked("The registry has to return records in byte order of the key's UTF-8.")
    fault = replace(fault, record=shown(kind.label(key)))
    raise RecordError(f"The {kind.one} can not be backed up: {fault}. {fix}", [fault])


def _too_many_missing() -> BackupError:
    return BackupError(
        "So many files are missing that the manifest can not list them: is the storage mounted?"
    )


def _clean(text: str) -> str:
    # A system user's name may hold bytes that are no UTF-8, as lone surrogates.
    return text.encode(errors="replace").decode().replace("\0", "?")[:MAX_TEXT]
