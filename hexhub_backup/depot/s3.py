"""A depot in a bucket of S3: AWS, MinIO, Ceph, R2. Machines that share it share no disk."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from hexhub_backup.archive.source import Source
from hexhub_backup.depot import s3_resumable
from hexhub_backup.depot.base import Stat, UploadInfo, What
from hexhub_backup.depot.directory import DirectoryDepot
from hexhub_backup.depot.local_kept import PLAN
from hexhub_backup.depot.names import id_of
from hexhub_backup.depot.s3_cache import Cache
from hexhub_backup.depot.s3_kept import S3Kept
from hexhub_backup.depot.s3_new import S3NewArchive, S3Upload
from hexhub_backup.depot.s3_objects import DepotError, Objects, UnknownDepotError
from hexhub_backup.depot.s3_resumable import S3ResumableUpload, state_key
from hexhub_backup.depot.s3_source import S3Source
from hexhub_backup.errors import BusyError, NotFoundError, SettingError
from hexhub_backup.marking import marked
from hexhub_backup.operations.sidecar import archive_file
from hexhub_backup.s3.server import (
    Errors,
    RacedError,
    S3Server,
    TakenError,
    check_server,
    place_of,
)
from hexhub_backup.s3.uploads import Uploads


class Hold(Protocol):
    """Holds what has a name, with others or `alone`, over all processes. Raises BusyError."""

    def __call__(self, name: str, /, *, alone: bool) -> AbstractContextManager[object]: ...


#: So often boto3 tries a request, with random pauses in between that get longer.
_ATTEMPTS = 4
#: Connections that are kept open.
_CONNECTIONS = 16
_ARCHIVES = "hexhub-backup-"
#: An object that is written again and again, to see whether the server replaces it.
_PROBE = "probe"
#: Of so few backups each is asked for; all are listed for more.
_FEW = 3
_FOLDERS = ("contents", "operations", "plans", "undo")
#: In which of them what is kept is one file, `{id}.sqlite`.
_SINGLE: Mapping[What, str] = {"contents": "contents", "undo_set": "undo"}
_LEFT: tuple[What, ...] = ("changed", "refused", "findings", "undo_set", "plan")


class S3Depot:
    """The archives, uploads, plans and undo sets of all machines, in a bucket below `prefix`. Their
    registry's database is PostgreSQL, by which they know of each other.

    The arguments are those of S3Destination. Archives hold password hashes: let nobody read the
    bucket. HEXHUB_BACKUP_PATH is a directory of each machine's own then, for what it makes and
    what it has brought here to read.

    - `hexhub-backup-{id}.tar`: an archive, of which the row of its backup says that it is whole
    - `contents/{id}.sqlite`, `operations/{id}.changed`, `….refused`, `plans/{id}/`,
      `undo/{id}.sqlite`, `uploads/{id}.tar`: as in a backup directory
    - `uploads/{id}.part`: the state of an upload that can be resumed, and its last bytes
    - `probe`: an empty object, written to see what the server does
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
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
        check_server("the S3Depot", bucket, endpoint)
        prefix, self.location = place_of(bucket, prefix, endpoint)
        server = S3Server(
            marked(f"The depot {self.location}"),
            Errors(DepotError, DepotError, UnknownDepotError),
            endpoint=endpoint,
            region=region,
            keys=(access_key, secret_key),
            timeouts=(connect_timeout, read_timeout),
            connections=_CONNECTIONS,
            attempts=_ATTEMPTS,
        )
        kind = Uploads(
            server, bucket, storage_class=storage_class, encryption=encryption, kms_key=kms_key
        ).kind
        self._objects = Objects(server, bucket, prefix, kind)

    def opened(self, path: Path, hold: Hold) -> BucketDepot:
        """The depot as the processes of a machine use it: with a directory of that machine, and
        with what holds an archive over all of them."""
        return BucketDepot(self._objects, self.location, path, hold)


class BucketDepot:
    """The depot of several machines; see `S3Depot` and `Depot`."""

    advice = marked("See to the bucket, its server and its keys.")

    def __init__(self, objects: Objects, location: str, path: Path, hold: Hold) -> None:
        self.location = location
        self.where = marked(f"in the bucket {objects.bucket}")
        self.path = path
        #: What every name of ours begins with.
        self._address = f"s3://{objects.bucket}/{objects.prefix}"
        self._objects = objects
        self._hold = hold
        # Files of this machine by their paths, and what it makes for itself.
        self._files = DirectoryDepot(path)
        self._cache = Cache(path, objects, _FOLDERS)

    def prepare(self) -> None:
        self._files.prepare()
        if not self._objects.refuses_to_replace(_PROBE):
            raise SettingError(
                f"The server of {self.location} ignores conditions (If-None-Match): one machine "
                "would replace the archive of another. Use a server that knows conditional writes, "
                "such as AWS, MinIO, Ceph or R2, in a newer release if need be."
            )

    def trouble(self) -> str | None:
        try:
            self._objects.look()
        except DepotError as error:
            return str(error)
        return None

    def free(self) -> None:
        """Nothing limits a bucket."""

    # archives, by their names

    def _key(self, archive: str) -> str | None:
        """The key of a name; None for the path of a file of this machine."""
        if archive.startswith(self._address):
            return archive[len(self._address) :]
        return None

    def archive_name(self, backup: str) -> str:
        return f"{self._address}{archive_file(backup)}"

    def is_there(self, archive: str) -> bool:
        key = self._key(archive)
        return self._files.is_there(archive) if key is None else self._objects.head(key) is not None

    def finder(self, backups: Collection[str]) -> Callable[[str], bool]:
        if len(backups) <= _FEW:
            return lambda backup: self.is_there(self.archive_name(backup))
        listed: set[str] = set()
        is_listed = False

        def is_here(backup: str) -> bool:
            nonlocal is_listed
            if not is_listed:
                listed.update(self.archives())
                is_listed = True
            return backup in listed

        return is_here

    def stat(self, archive: str) -> Stat:
        key = self._key(archive)
        if key is None:
            return self._files.stat(archive)
        found = self._objects.head(key)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "There is none", archive)
        return Stat(found.size, found.modified.timestamp())

    def source(self, archive: str) -> Source:
        key = self._key(archive)
        if key is None:
            return self._files.source(archive)
        found = self._objects.head(key)
        if found is None:
            raise NotFoundError(f"There is no archive at {archive}.")
        return S3Source(self._objects, key, found, archive)

    @contextmanager
    def using(self, archive: str, *, alone: bool = False) -> Iterator[Source]:
        if self._key(archive) is None:
            with self._files.using(archive, alone=alone) as file:
                yield file
            return
        with self._hold(archive, alone=alone), self.source(archive) as source:
            yield source

    def address(self, archive: str, file: str, seconds: int) -> str | None:
        key = self._key(archive)
        return None if key is None else self._objects.address(key, file, seconds)

    def new_archive(self, backup: str, about: int, work: Path) -> S3NewArchive:
        name = self.archive_name(backup)
        return S3NewArchive(self._objects, archive_file(backup), name, about, work)

    def was_published(self, backup: str) -> bool:
        """An archive gets its name before it is read back: only its row says so."""
        return False

    def discard(self, backup: str) -> None:
        key = archive_file(backup)
        for each, upload, _ in self._objects.uploads(key):
            self._objects.abort(each, upload)
        self._objects.delete(key)

    def remove(self, archive: str) -> None:
        key = self._key(archive)
        if key is None:
            self._files.remove(archive)
        else:
            self._objects.delete(key)

    def archives(self) -> Iterator[str]:
        for name in self._names():
            if (backup := id_of(name)) is not None:
                yield backup

    def changed_at(self) -> None:
        """Only a list of all would tell."""

    def misnamed(self) -> Iterator[str]:
        for name in self._names():
            if id_of(name) is None:
                yield name

    def found(self) -> list[str]:
        """A bucket is filled by what knows the names in it."""
        return []

    def found_archive(self, name: str) -> str:
        raise NotFoundError(f"There is no {name} in the bucket.")

    def _names(self) -> Iterator[str]:
        for key, _ in self._objects.list(_ARCHIVES, deep=False):
            if key.endswith(".tar"):
                yield key

    # what operations leave

    def kept(self, what: What, operation: str) -> S3Kept:
        keys: tuple[str, ...] = (
            (f"{_SINGLE[what]}/{operation}.sqlite",)
            if what in _SINGLE
            else (f"operations/{operation}.{what}",)
        )
        path = self.path / keys[0]
        if what == "plan":
            path = self.path / "plans" / operation
            keys = tuple(f"plans/{operation}/{name}" for name in ("index.sqlite", PLAN))
        return S3Kept(self._objects, self._cache, keys, path)

    def plans(self) -> list[str]:
        keys = (key.split("/") for key, _ in self._objects.list("plans/"))
        return sorted(operation for _, operation, name in keys if name == PLAN)

    def undo_sets(self) -> Iterator[str]:
        for key, _ in self._objects.list("undo/"):
            yield Path(key).stem

    def remove_operation(self, operation: str) -> None:
        for what in _LEFT:
            self.kept(what, operation).remove()

    # what comes in

    def upload_name(self, upload: str) -> str:
        return f"{self._address}uploads/{upload}.tar"

    def new_upload(self, upload: str) -> S3Upload:
        return S3Upload(self._objects, f"uploads/{upload}.tar", self.upload_name(upload))

    def new_resumable(self, upload: str, info: UploadInfo) -> None:
        s3_resumable.begin(self._objects, upload, info)

    @contextmanager
    def resumable(self, upload: str, *, alone: bool) -> Iterator[S3ResumableUpload]:
        state = f"{self._address}{state_key(upload)}"
        with self.using(state, alone=True) if alone else self.source(state) as known:
            yield S3ResumableUpload(self._objects, upload, self.upload_name(upload), known)

    def new_work_file(self, operation: str) -> str:
        # Nobody else has this name: the answer to the first attempt was lost.
        with suppress(TakenError, RacedError):
            self._objects.put(f"uploads/{operation}.tar", b"", new=True)
        return self.upload_name(operation)

    def work_file(self, archive: str, size: int) -> S3Upload:
        key = self._key(archive)
        assert key is not None  # noqa: S101 (it is a work file's)
        return S3Upload(self._objects, key, archive, size)

    def publish(self, upload: str, backup: str) -> None:
        """The upload goes last: by that it is known that all was done."""
        source, key = self._key(upload), archive_file(backup)
        assert source is not None  # noqa: S101 (it is an upload's)
        found = self._objects.head(source)
        if found is None:
            raise NotFoundError(f"{upload} is not there any more: start again.")
        taken = f"The archive of backup {backup} is {self.where} by now."
        if self._objects.head(key) is not None:
            raise BusyError(taken)
        try:
            # Held, so that `remove_partials` of another process takes it for none of the dead.
            with self._hold(self.archive_name(backup), alone=False):
                self._objects.copy(source, found, key)
        except (TakenError, RacedError):
            # One backup is brought back at a time: the answer to the first attempt was lost.
            copied = self._objects.head(key)
            if copied is None or copied.size != found.size:
                raise BusyError(taken) from None
        try:
            self._objects.delete(source)
        except BaseException:
            with suppress(DepotError):
                self._objects.delete(key)
            raise

    def is_upload(self, archive: str) -> bool:
        key = self._key(archive)
        return key is not None and key.startswith("uploads/")

    def remove_upload(self, archive: str | None) -> None:
        if archive is not None and self.is_upload(archive):
            self.remove(archive)

    def remove_uploads(self, now: datetime, stay: timedelta) -> None:
        for key, modified in [*self._objects.list("uploads/")]:
            if abs(now - modified) > stay:
                name = f"{self._address}{key}"
                with suppress(NotFoundError, BusyError), self.using(name, alone=True):
                    self.remove(name)
        for key, upload, began in [*self._objects.uploads("uploads/")]:
            # What can be resumed may have begun long ago: it goes after its state.
            if abs(now - began) > stay and not self._objects.head(state_key(Path(key).stem)):
                self._objects.abort(key, upload)

    # what is left

    def work(self) -> AbstractContextManager[str]:
        return self._files.work()

    def remove_partials(self) -> None:
        """Whoever makes an archive has the lock, and whoever brings one back holds it: all other
        uploads of archives are of the dead."""
        self._files.remove_partials()
        self._cache.sweep()
        for key, upload, _ in [*self._objects.uploads(_ARCHIVES)]:
            with suppress(BusyError), self._hold(f"{self._address}{key}", alone=True):
                self._objects.abort(key, upload)
