"""Objects of a bucket as files of this machine: brought here once, and not forever."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from hexhub_backup.depot.s3_objects import Objects, Stored
from hexhub_backup.depot.s3_source import S3Source

#: What was brought here has beside it which object it is.
_KNOWN = ".etag"
_JOURNAL = "-journal"
_CHUNK = 1024 * 1024
#: Bytes of what was brought here, and seconds for which it stays when nobody asks for it: it holds
#: password hashes.
_MOST = 2 * 1024**3
_STAYS = 24 * 3600.0
#: Seconds after which what was made here, by an operation that ended or died, is needed no more.
_MADE_STAYS = 7 * 24 * 3600.0


class Cache:
    """A folder whose files have the places that their keys say. `folders` are those in which there
    may be such files. What an operation has made here is not replaced."""

    def __init__(self, path: Path, objects: Objects, folders: tuple[str, ...]) -> None:
        self._path = path
        self._objects = objects
        self._folders = folders

    def file(self, key: str) -> Path:
        """Where it is, or would be."""
        return self._path / key

    def bring(self, *keys: str) -> None:
        """Let each of these files be its object, where there is one and it was not made here; where
        there is none any more, none is here."""
        is_new = [self._is_new(key) for key in keys]
        if any(is_new):
            self.sweep(keys)

    def _is_new(self, key: str) -> bool:
        """Bring a file, and tell whether it was not here."""
        path = self.file(key)
        known = _known(path)
        if path.exists() and not known.exists():
            return False
        found = self._objects.head(key)
        if found is None:
            self.drop(key)
        elif path.exists() and _read(known) == found.etag:
            # It was asked for just now.
            with suppress(FileNotFoundError):
                os.utime(path)
        else:
            self._fetch(key, found)
            return True
        return False

    def _fetch(self, key: str, found: Stored) -> None:
        path = self.file(key)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        coming = _coming(path)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with (
                os.fdopen(os.open(coming, flags, 0o600), "wb") as file,
                S3Source(self._objects, key, found, key) as source,
            ):
                for at in range(0, found.size, _CHUNK):
                    file.write(source.read(at, _CHUNK))
            path.with_name(f"{path.name}{_JOURNAL}").unlink(missing_ok=True)
            # Before and after: a file without it would be one that was made here, and who dies in
            # between leaves one that is brought again. Another thread may be reading the old one.
            _write(_known(path), "")
            coming.rename(path)
            _write(_known(path), found.etag)
        finally:
            coming.unlink(missing_ok=True)

    def drop(self, key: str) -> None:
        """Let no file be here, with what SQLite may have left beside it."""
        path = self.file(key)
        for each in (path.with_name(f"{path.name}{_JOURNAL}"), path, _known(path)):
            each.unlink(missing_ok=True)
        if path.parent.parent != self._path:
            # That of a plan, which has a folder for itself.
            with suppress(OSError):
                path.parent.rmdir()

    def sweep(self, wanted: Collection[str] = ()) -> None:
        """Drop what nobody has asked for, and of the rest so much that it is not too large; what is
        `wanted` just now stays."""
        now, size = time.time(), 0
        found = sorted(self._files(), key=lambda each: each[1].st_mtime, reverse=True)
        for path, status in found:
            key = str(path.relative_to(self._path))
            age, is_brought = now - status.st_mtime, _known(path).exists()
            size += status.st_size if is_brought else 0
            is_old = age > (_STAYS if is_brought else _MADE_STAYS)
            if key not in wanted and (is_old or (is_brought and size > _MOST)):
                self.drop(key)

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder in self._folders:
            for path in (self._path / folder).rglob("*"):
                with suppress(FileNotFoundError):
                    if path.suffix != _KNOWN and path.is_file():
                        yield path, path.stat()


def _known(path: Path) -> Path:
    return path.with_name(f"{path.name}{_KNOWN}")


def _coming(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.coming")


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    """At once, for whoever reads it meanwhile."""
    coming = _coming(path)
    try:
        coming.write_text(text)
        coming.rename(path)
    finally:
        coming.unlink(missing_ok=True)
