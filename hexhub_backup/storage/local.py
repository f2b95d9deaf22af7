"""Package and docs files in a directory of this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import groupby, takewhile
from pathlib import Path

from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.durable import naming_full_disk, sync_file_system
from hexhub_backup.errors import ChangedError, StorageError
from hexhub_backup.storage.base import Purpose, StoredFile, bare, sha256_of
from hexhub_backup.storage.folding import folding_of
from hexhub_backup.storage.layout import AREA, Layout, folders, hexhub_layout, safe
from hexhub_backup.storage.local_files import (
    LocalFile,
    append,
    create,
    each_of,
    empty,
    folder_of,
    for_each,
    known,
    link,
    link_into,
    make_folders,
    paths_in,
    remove,
    sealed_tag,
    stat_of,
    stored,
    unwritten,
    write,
)

_UNDO = "undo"


class LocalStorage:
    """A directory that holds the files of all releases, on one file system.

    `layout` returns the relative path of a file, with forward slashes; two files may not share a
    path. Names and versions come from rows and from archives, so a path that would leave `root` is
    refused whatever they hold.

    The staging area is `root/.hexhub-backup/{operation}/`. In its folder `new` a file is named by
    the hash of its path: a folder for each package would take longer than its files. The folder
    `replacing` mirrors the layout. Files for an undo are in
    `root/.hexhub-backup/undo/{operation}/kept`, which mirrors the layout too; the file `made`
    beside it lists the folders that the operation created.
    """

    #: A disk is busy with one; where it is not, `each_of` takes some.
    at_once = 1
    places_directly = False

    def __init__(self, root: Path | str, *, layout: Layout = hexhub_layout) -> None:
        self.root = Path(root).absolute()
        self.location = str(self.root)
        self.layout = layout
        self._relative = safe(layout)
        self._knows_folding = False
        self._folding: Callable[[str], str] | None = None

    def _path(self, file: ReleaseFile) -> str:
        return f"{self.location}/{self._relative(file)}"

    def path(self, file: ReleaseFile) -> Path:
        """Where the file lies, or would. Raises StorageError for a path outside of `root`."""
        return Path(self._path(file))

    def open(self, file: ReleaseFile) -> LocalFile:
        try:
            return LocalFile(self._path(file))
        except NotADirectoryError as error:
            raise FileNotFoundError(*error.args) from error

    def sizes(self, files: Iterable[ReleaseFile]) -> Iterator[int | None]:
        path_of = self._path
        for file in files:
            try:
                yield os.stat(path_of(file)).st_size  # noqa: PTH116 (twice for each release)
            except (FileNotFoundError, NotADirectoryError, StorageError):
                yield None

    def stat(self, file: ReleaseFile) -> StoredFile | None:
        path = self._path(file)
        status = stat_of(path)
        if status is not None and not stat.S_ISREG(status.st_mode):
            raise StorageError(f"{path} is not a file: move it out of the storage.")
        return None if status is None else stored(status)

    def stats(self, files: Iterable[ReleaseFile]) -> Iterator[StoredFile | None]:
        return map(self.stat, files)

    def known(self, file: ReleaseFile, tag: str, *, by_content: bool = True) -> str | None:
        return known(self._path(file), tag, by_content=by_content)

    def alike(self) -> Callable[[ReleaseFile], str] | None:
        """See `Storage.alike`. The file system of `root` is probed once, with a file in the staging
        area."""
        if not self._knows_folding:
            try:
                self._folding, self._knows_folding = self._probe(), True
            except OSError:
                # Then nothing can be stored there either.
                return None
        folding = self._folding
        return None if folding is None else lambda file: folding(self._relative(file))

    def name_of(self, file: ReleaseFile) -> str:
        return self._told_apart(self._relative(file))

    def names(self) -> Iterator[str]:
        for folder in folders(self._relative):
            for path in paths_in(
                f"{self.location}/{folder}".rstrip("/"), but=f"{self.location}/{AREA}"
            ):
                yield self._told_apart(path[len(self.location) + 1 :])

    def _told_apart(self, path: str) -> str:
        """The same text for all paths that are one to the file system."""
        self.alike()
        return path if self._folding is None else self._folding(path)

    def _probe(self) -> Callable[[str], str] | None:
        area = self.root / AREA
        created = list(takewhile(lambda path: not path.exists(), (area, *area.parents)))
        try:
            area.mkdir(parents=True, exist_ok=True)
            return folding_of(area)
        finally:
            for folder in created:
                # Somebody else may have stored something there in the meantime.
                with suppress(OSError):
                    folder.rmdir()

    def free(self) -> int:
        present = self.root
        while not present.exists():
            present = present.parent
        return shutil.disk_usage(present).free

    def stage(
        self, operation: str, file: ReleaseFile, chunks: Iterable[bytes], *, purpose: Purpose
    ) -> str:
        replaces = purpose == "replace"
        path = self._replacing(operation, file) if replaces else self._new(operation, file)
        replaced = self.path(file).stat() if replaces else None
        with naming_full_disk(self.root):
            if not replaces:
                # Not while it is placed: then others wait.
                self._make_folder(operation, folder_of(self._path(file)))
            descriptor = create(path)
            try:
                if replaced is not None:
                    self._make_alike(descriptor, replaced, file)
                for chunk in chunks:
                    write(descriptor, chunk)
                return stored(os.fstat(descriptor)).tag
            finally:
                os.close(descriptor)

    def _make_alike(self, descriptor: int, replaced: os.stat_result, file: ReleaseFile) -> None:
        if os.fstat(descriptor).st_dev != replaced.st_dev:
            raise StorageError(
                f"{self.path(file)} is on another file system than {self.root}: a storage has to "
                "be on one."
            )
        os.fchmod(descriptor, stat.S_IMODE(replaced.st_mode))

    def _new(self, operation: str, file: ReleaseFile) -> str:
        name = hashlib.sha256(os.fsencode(self._relative(file))).hexdigest()
        return f"{self._area(operation)}/new/{name}"

    def _replacing(self, operation: str, file: ReleaseFile) -> str:
        return f"{self._area(operation)}/replacing/{self._relative(file)}"

    def _area(self, operation: str) -> str:
        return f"{self.location}/{AREA}/{operation}"

    def _kept(self, operation: str, file: ReleaseFile) -> str:
        return f"{self._undo(operation)}/kept/{self._relative(file)}"

    def _undo(self, operation: str) -> str:
        return f"{self.location}/{AREA}/{_UNDO}/{operation}"

    def keep(self, operation: str, file: ReleaseFile, tag: str) -> str:
        kept = self._kept(operation, file)
        with suppress(FileNotFoundError, NotADirectoryError):
            # The file itself: a symbolic link would lead elsewhere from there.
            link_into(os.path.realpath(self._path(file)), kept)
            # Of the link: the stored file may have been replaced before it or after.
            if known(kept, tag, by_content=False) is not None:
                kept_tag = tag if sha256_of(tag) is not None else sealed_tag(kept)
                if bare(kept_tag) == bare(tag):
                    return kept_tag
        raise ChangedError(
            f"{self.path(file)} has changed since the restore was planned, so nothing was "
            "restored. Inspect the archive again."
        )

    def stage_kept(self, operation: str, file: ReleaseFile, undone: str, tag: str | None) -> bool:
        staged = self._replacing(operation, file)
        try:
            link_into(self._kept(undone, file), staged)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return tag is None or known(staged, tag) is not None

    def staged_size(self, operation: str, file: ReleaseFile) -> int | None:
        status = stat_of(self._replacing(operation, file))
        return None if status is None else status.st_size

    def flush(self) -> None:
        if self.root.exists():
            sync_file_system(self.root)

    def place(
        self,
        operation: str,
        files: Iterable[tuple[ReleaseFile, str]],
        content: Callable[[ReleaseFile], Iterable[bytes]],
    ) -> None:
        for file, _ in files:
            destination = self._path(file)
            try:
                self._place(operation, self._new(operation, file), destination)
            except FileExistsError as error:
                if stat_of(destination) is None:
                    raise StorageError(
                        f"{destination} is a symbolic link to nothing, so nothing was restored: "
                        "remove it, or restore its target."
                    ) from error
                raise ChangedError(
                    f"{destination} was stored by the host in the meantime, so nothing was "
                    "restored. Inspect the archive again."
                ) from error
            except FileNotFoundError as error:
                raise StorageError(
                    f"The file that was staged for {destination} no longer exists: nothing "
                    "was restored. Start again."
                ) from error

    def _place(self, operation: str, staged: str, destination: str) -> None:
        try:
            link(staged, destination)
        except FileNotFoundError:
            # The host may have removed the folder, which was empty.
            self._make_folder(operation, folder_of(destination))
            link(staged, destination)

    def _make_folder(self, operation: str, folder: str) -> None:
        """Create a folder for files, and record before which folders are created for it."""
        created = []
        missing = folder
        while missing != self.location and stat_of(missing) is None:
            created.append(missing[len(self.location) + 1 :])
            missing = folder_of(missing)
        if created:
            lines = "".join(f"{path}\n" for path in reversed(created))
            append(str(self._created(operation)), lines.encode())
            make_folders(folder)

    def _created(self, operation: str) -> Path:
        return Path(self._undo(operation), "made")

    def take_back(self, operation: str, files: Iterable[tuple[ReleaseFile, str]]) -> None:
        def take(placed: tuple[ReleaseFile, str]) -> None:
            file, tag = placed
            destination = self._path(file)
            # Equal content is not enough: the host may have stored the same file since.
            if unwritten(destination, tag) and known(destination, tag) is not None:
                # The host may remove it at this moment.
                with suppress(FileNotFoundError):
                    remove(destination)

        for_each(take, files)
        self._remove_created(operation)

    def _remove_created(self, operation: str) -> None:
        with suppress(FileNotFoundError):
            created = self._created(operation).read_text(encoding="utf-8").splitlines()
            inner_first = sorted(created, key=_depth, reverse=True)
            for _, folders in groupby(inner_first, key=_depth):
                for_each(self._remove_folder, folders)

    def _remove_folder(self, folder: str) -> None:
        # The host may have put something there, or removed it. After a power loss there may be
        # NULs in place of a name.
        with suppress(OSError, ValueError):
            os.rmdir(f"{self.location}/{folder}")  # noqa: PTH106 (one of each package)

    def replace(self, operation: str, file: ReleaseFile, tag: str) -> bool:
        staged = Path(self._replacing(operation, file))
        is_staged, is_known = staged.exists(), self.known(file, tag) is not None
        if is_staged and is_known:
            staged.replace(self._path(file))
            return True
        # Neither: it was replaced before.
        return not is_staged and not is_known

    def remove(self, files: Iterable[tuple[ReleaseFile, str]]) -> list[bool]:
        return list(each_of(self._remove, files))

    def _remove(self, left: tuple[ReleaseFile, str]) -> bool:
        file, tag = left
        path = self._path(file)
        if known(path, tag) is None:
            return stat_of(path) is None
        with suppress(FileNotFoundError):
            remove(path)
        return True

    def clear(self, operation: str) -> None:
        area = self._area(operation)
        with suppress(FileNotFoundError):
            empty(f"{area}/new")
        self._clear(area)

    def forget(self, operation: str, *, undone: bool = False) -> None:
        if undone:
            self._remove_created(operation)
        self._clear(self._undo(operation))

    def _clear(self, area: str) -> None:
        # An error is raised here, so that recovery tries again.
        with suppress(FileNotFoundError):
            shutil.rmtree(area)
        with suppress(OSError):
            Path(area).parent.rmdir()
            (self.root / AREA).rmdir()

    def staged(self) -> Iterator[str]:
        yield from (name for name in _names(self.root / AREA) if name != _UNDO)

    def kept(self) -> Iterator[str]:
        yield from _names(self.root / AREA / _UNDO)


def _depth(path: str) -> int:
    return path.count("/")


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return []
