"""What is asked of the files in a bucket: whether they are there, and what they hold."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice, tee

from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.errors import StorageError
from hexhub_backup.storage.base import StoredFile, bare, sealed, sha256_of
from hexhub_backup.storage.layout import AREA, Layout, folders, safe
from hexhub_backup.storage.many import in_order
from hexhub_backup.storage.s3_file import S3File
from hexhub_backup.storage.s3_listing import sizes
from hexhub_backup.storage.s3_objects import Found, Objects

_CHUNK = 1 << 20
#: So many files are looked up in the listing at a time, and in so many listings.
_BATCH = 2000
_LISTS = 4


class S3Reading:
    """The part of an S3Storage that changes nothing; see `Storage`."""

    def __init__(self, objects: Objects, layout: Layout, connections: int) -> None:
        self.at_once = connections
        self._objects = objects
        self._path = safe(layout)

    def open(self, file: ReleaseFile) -> S3File:
        return S3File(self._objects, self._path(file))

    def sizes(self, files: Iterable[ReleaseFile]) -> Iterator[int | None]:
        at_once = min(self.at_once, _LISTS)

        def told(batch: list[ReleaseFile]) -> list[int | None]:
            keys = map(self._place_of, batch)
            return sizes(self._objects, keys, self.at_once // at_once)

        files = iter(files)
        batches = iter(lambda: list(islice(files, _BATCH)), [])
        return chain.from_iterable(in_order(told, batches, at_once))

    def _place_of(self, file: ReleaseFile) -> str | None:
        try:
            return self._path(file)
        except StorageError:
            return None

    def stat(self, file: ReleaseFile) -> StoredFile | None:
        found = self._objects.head(self._path(file))
        return None if found is None else StoredFile(found.size, found.tag)

    def stats(self, files: Iterable[ReleaseFile]) -> Iterator[StoredFile | None]:
        """Most of many are there, or are not: the listing tells of a thousand what is not there."""
        listed, files = tee(files)
        there = zip(files, self.sizes(listed), strict=True)
        return in_order(self._stat_of, there, self.at_once)

    def _stat_of(self, listed: tuple[ReleaseFile, int | None]) -> StoredFile | None:
        file, size = listed
        if size is None:
            # Raises for one that has no place.
            self._path(file)
            return None
        return self.stat(file)

    def known(self, file: ReleaseFile, tag: str, *, by_content: bool = True) -> str | None:
        key = self._path(file)
        found = self._objects.head(key)
        return None if found is None else self._known_as(key, found, tag, by_content=by_content)

    def _known_as(self, key: str, found: Found, tag: str, *, by_content: bool = True) -> str | None:
        """See `known`, of the object that was found."""
        if found.tag == bare(tag):
            return tag
        sha256 = sha256_of(tag)
        if not by_content or sha256 is None:
            return None
        try:
            is_same = self._sha256(key, found.etag) == sha256
        except FileNotFoundError:
            # The host has removed it just now.
            return None
        return sealed(found.tag, sha256) if is_same else None

    def _sha256(self, key: str, etag: str | None = None) -> str | None:
        """Of what an object holds, which has `etag`; None where it is another by now."""
        digest = hashlib.sha256()
        with S3File(self._objects, key) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
            is_same = not file.changed() and etag in (None, file.etag)
        return digest.hexdigest() if is_same else None

    def alike(self) -> None:
        """Keys are told apart by every byte."""

    def name_of(self, file: ReleaseFile) -> str:
        return self._path(file)

    def names(self) -> Iterator[str]:
        listed = chain.from_iterable(map(self._objects.list, folders(self._path)))
        return (key for key in listed if not key.startswith(f"{AREA}/"))

    def free(self) -> int:
        return sys.maxsize
