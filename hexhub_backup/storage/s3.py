"""Package and docs files in a bucket of S3: AWS, MinIO, Ceph, R2."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.errors import ChangedError, SettingError, StorageError
from hexhub_backup.marking import marked
from hexhub_backup.s3.server import (
    Errors,
    RacedError,
    S3Server,
    TakenError,
    UnknownError,
    check_server,
    place_of,
)
from hexhub_backup.s3.uploads import Uploads
from hexhub_backup.storage.base import (
    Purpose,
    bare,
    sealed,
    sha256_of,
)
from hexhub_backup.storage.layout import AREA, Layout, hexhub_layout
from hexhub_backup.storage.many import for_each, in_order
from hexhub_backup.storage.s3_objects import Found, Objects, pause
from hexhub_backup.storage.s3_probe import PROBE, Server, probe
from hexhub_backup.storage.s3_reading import S3Reading

_UNDO = f"{AREA}/undo"
#: What is no staging area.
_OURS = (_UNDO, PROBE)
_CHUNK = 1 << 20
#: So often boto3 tries a request, with random pauses in between that get longer.
_ATTEMPTS = 4
#: So often something is tried that others got in the way of.
_TRIES = 5
#: So many files are looked up in the listing at a time.
_BATCH = 1000
#: What ends the tag of a file that was staged to be copied to its place.
_STAGED = ".s"


#: What was found out of the server of a storage, by its location.
_servers: dict[str, Server] = {}


class UnknownStorageError(UnknownError, StorageError):
    """The storage could not be read or written.

    Of a server that does not know the call, or a header of it.
    """


class S3Storage(S3Reading):
    """The files of all releases in a bucket, below `prefix`.

    `layout` returns what follows the prefix in the key of a file; two files may not share one.
    `connections` is how many requests are made at a time. The other arguments are those of
    S3Destination.

    An object that a restore or an undo has written has the metadata `hexhub-backup`, with the
    operation's id and a random number. That is its tag, written by the same request as its bytes,
    so that a file of ours is known whenever the process dies. The tag of any other object is its
    version's id, and in a bucket without versions made of its ETag, its time and its metadata. A
    host that may store the same bytes twice within a second there has to give them metadata that
    differ, such as the time.

    A file of a new release is written at its place, by `place`. What else is staged lies below
    `prefix/.hexhub-backup/{operation}/`, what an undo needs below `prefix/.hexhub-backup/undo/`.
    """

    places_directly = True

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        layout: Layout = hexhub_layout,
        connections: int = 16,
        endpoint: str | None = None,
        region: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        storage_class: str | None = None,
        encryption: str | None = None,
        kms_key: str | None = None,
        connect_timeout: float = 10,
        read_timeout: float = 30,
    ) -> None:
        """Raises SettingError for an argument that can't work, and where a library is missing."""
        check_server("the S3Storage", bucket, endpoint)
        if not isinstance(connections, int) or connections < 1:
            raise SettingError(
                f"connections= of the S3Storage is {connections!r}: give a number, 1 or more."
            )
        self.bucket = bucket
        self.prefix, self.location = place_of(bucket, prefix, endpoint)
        server = S3Server(
            marked(f"The storage {self.location}"),
            Errors(StorageError, StorageError, UnknownStorageError),
            endpoint=endpoint,
            region=region,
            keys=(access_key, secret_key),
            timeouts=(connect_timeout, read_timeout),
            connections=connections,
            attempts=_ATTEMPTS,
        )
        uploads = Uploads(
            server,
            bucket,
            storage_class=storage_class,
            encryption=encryption,
            kms_key=kms_key,
        )
        objects = Objects(server, bucket, self.prefix, uploads, connections)
        super().__init__(objects, layout, connections)
        #: Whose staging area is begun.
        self._begun = ""
        self._beginning = threading.Lock()

    # staging and keeping

    def stage(
        self, operation: str, file: ReleaseFile, chunks: Iterable[bytes], *, purpose: Purpose
    ) -> str:
        key = self._path(file)
        self._begin(operation)
        tag = f"{operation}.{secrets.token_hex(6)}"
        if purpose == "place":
            return tag
        headers: Mapping[str, Any] = {}
        if purpose == "put_back":
            tag += _STAGED
        elif (replaced := self._objects.head(key)) is not None:
            headers = replaced.headers
        self._write(operation, _staged(operation, key), chunks, tag, headers=headers)
        return tag

    def _write(
        self,
        operation: str,
        key: str,
        chunks: Iterable[bytes],
        tag: str,
        *,
        new: bool = False,
        headers: Mapping[str, Any] | None = None,
    ) -> None:
        def begun(upload: str) -> None:
            # Whoever clears the area drops it.
            name = f"{_uploads(operation)}{hashlib.sha256(key.encode()).hexdigest()}"
            self._objects.put(name, f"{upload}\n{key}".encode(), tag, new=False)

        self._objects.write(key, chunks, tag, new=new, headers=headers or {}, begun=begun)

    def _begin(self, operation: str) -> None:
        """Let whoever looks for staging areas find that of the operation, on a server that keeps
        what is relied on."""
        self._server_knows()
        with self._beginning:
            if self._begun != operation:
                self._objects.put(f"{AREA}/{operation}/begun", b"", operation, new=False)
                self._begun = operation

    def _server_knows(self) -> Server:
        """Asked once by each process."""
        with self._beginning:
            if self.location not in _servers:
                _servers[self.location] = probe(self._objects, self.location)
            return _servers[self.location]

    def keep(self, operation: str, file: ReleaseFile, tag: str) -> str:
        key = self._path(file)
        kept = _kept(operation, key)
        found = self._objects.head(key)
        try:
            if found is not None and found.tag == bare(tag):
                self._objects.copy(key, found, kept, marked=found.tag)
                if sha256_of(tag) is not None:
                    return tag
                if (sha256 := self._sha256(kept)) is not None:
                    return sealed(tag, sha256)
        except (TakenError, FileNotFoundError):
            pass
        raise ChangedError(
            f"{key} in {self.location} has changed since the restore was planned, so nothing was "
            "restored. Inspect the archive again."
        )

    def stage_kept(self, operation: str, file: ReleaseFile, undone: str, tag: str | None) -> bool:
        key = self._path(file)
        self._begin(operation)
        kept = _kept(undone, key)
        found = self._objects.head(kept)
        if found is None or (tag is not None and found.tag != bare(tag)):
            return False
        # A tag of its own, by which it is known in its place.
        marked = f"{operation}.{secrets.token_hex(6)}"
        self._objects.copy(kept, found, _staged(operation, key), marked=marked)
        return True

    def staged_size(self, operation: str, file: ReleaseFile) -> int | None:
        found = self._objects.head(_staged(operation, self._path(file)))
        return None if found is None else found.size

    def flush(self) -> None:
        """What the server has answered is durable."""

    # placing

    def place(
        self,
        operation: str,
        files: Iterable[tuple[ReleaseFile, str]],
        content: Callable[[ReleaseFile], Iterable[bytes]],
    ) -> None:
        # What the bytes are is asked by the caller's thread, as that has the archive.
        placing = ((file, tag, () if _is_staged(tag) else content(file)) for file, tag in files)
        for_each(partial(self._place, operation), placing, self.at_once)

    def _place(self, operation: str, placing: tuple[ReleaseFile, str, Iterable[bytes]]) -> None:
        file, tag, chunks = placing
        key, tag = self._path(file), bare(tag)
        try:
            if _is_staged(tag):
                self._objects.make(key, tag, partial(self._put_back, operation, key))
            else:
                self._write(operation, key, chunks, tag, new=True)
        except (TakenError, RacedError):
            raise ChangedError(
                f"{key} in {self.location} was stored by the host in the meantime, so nothing was "
                "restored. Inspect the archive again."
            ) from None
        except FileNotFoundError:
            raise StorageError(
                f"The file that was staged for {key} in {self.location} no longer exists: nothing "
                "was restored. Start again."
            ) from None

    def _put_back(self, operation: str, key: str) -> None:
        """Copy what was staged to where there is nothing."""
        staged = _staged(operation, key)
        found = self._objects.head(staged)
        if found is None:
            raise FileNotFoundError(staged)
        if self._server_knows().conditional_copies:
            self._objects.copy(staged, found, key, condition={"IfNoneMatch": "*"})
        elif self._objects.head(key) is None:
            self._objects.copy(staged, found, key)
        else:
            raise TakenError

    def take_back(self, operation: str, files: Iterable[tuple[ReleaseFile, str]]) -> None:
        for_each(self._take_back, files, self.at_once)

    def _take_back(self, placed: tuple[ReleaseFile, str]) -> None:
        file, tag = placed
        key = self._path(file)
        found = self._objects.head(key)
        if found is not None and found.tag == bare(tag):
            # It is another one by now.
            with suppress(TakenError, RacedError):
                self._objects.delete(key, found, version=True)

    def replace(self, operation: str, file: ReleaseFile, tag: str) -> bool:
        key = self._path(file)
        staged = _staged(operation, key)
        for attempt in range(1, _TRIES + 1):
            found, stored = self._objects.head(staged), self._objects.head(key)
            if stored is not None and found is not None and stored.tag == found.tag:
                # It was replaced before.
                return True
            is_known = stored is not None and self._known_as(key, stored, tag) is not None
            if stored is None or found is None or not is_known:
                # Neither: it was replaced before.
                return found is None and not is_known
            try:
                self._copy_over(staged, found, key, stored)
            except (TakenError, RacedError, FileNotFoundError):
                # One of the two is another by now.
                pause(attempt)
            else:
                return True
        raise StorageError(
            f"{key} in {self.location} was written again and again while it was replaced: let the "
            "host be done with it."
        )

    def _copy_over(self, staged: str, found: Found, key: str, stored: Found) -> None:
        if self._server_knows().conditional_copies:
            with suppress(UnknownError):
                return self._objects.copy(staged, found, key, condition={"IfMatch": stored.etag})
        return self._objects.copy(staged, found, key)

    def remove(self, files: Iterable[tuple[ReleaseFile, str]]) -> list[bool]:
        return list(in_order(self._remove, files, self.at_once))

    def _remove(self, left: tuple[ReleaseFile, str]) -> bool:
        file, tag = left
        key = self._path(file)
        for attempt in range(1, _TRIES + 1):
            found = self._objects.head(key)
            if found is None:
                return True
            if self._known_as(key, found, tag) is None:
                return False
            try:
                # Not the version alone: the file before it would be there again.
                self._objects.delete(key, found)
            except (TakenError, RacedError):
                pause(attempt)
            else:
                return True
        return False

    # what is left

    def clear(self, operation: str) -> None:
        for name in self._objects.list(_uploads(operation)):
            upload, _, key = self._objects.read(name, 0, _CHUNK)[1].decode().partition("\n")
            self._objects.abort(key, upload)
        self._objects.remove(f"{AREA}/{operation}/")
        self._begun = ""

    def forget(self, operation: str, *, undone: bool = False) -> None:
        self._objects.remove(f"{_UNDO}/{operation}/")

    def kept(self) -> Iterator[str]:
        return self._objects.folders(f"{_UNDO}/")

    def staged(self) -> Iterator[str]:
        return (name for name in self._objects.folders(f"{AREA}/") if f"{AREA}/{name}" not in _OURS)


def _staged(operation: str, key: str) -> str:
    return f"{AREA}/{operation}/staged/{key}"


def _uploads(operation: str) -> str:
    return f"{AREA}/{operation}/uploads/"


def _kept(operation: str, key: str) -> str:
    return f"{_UNDO}/{operation}/kept/{key}"


def _is_staged(tag: str) -> bool:
    return bare(tag).endswith(_STAGED)
