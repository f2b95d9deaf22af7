"""Package and docs files in a directory of this machine."""

from __future__ import annotations

import io
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO, cast

from hexhub_backup.archive.records import FileType, ReleaseFile, unsafe_name
from hexhub_backup.durable import sync_file_system
from hexhub_backup.errors import ChangedError, StorageError
from hexhub_backup.storage.base import StoredFile

_STAGING = ".hexhub-backup"
# What no part of a path may be: an empty first one would make it absolute.
_NOT_A_PART = {"", ".", "..", _STAGING}
_FOLDERS: dict[FileType, str] = {"package": "packages", "docs": "docs"}


def hexhub_layout(file: ReleaseFile) -> str:
    """`hosted/packages/{name}/{name}-{version}.tar.gz`, and `hosted/docs/…`: as HexHub does."""
    name = f"{file.package}-{file.version}.tar.gz"
    return f"hosted/{_FOLDERS[file.type]}/{file.package}/{name}"


class LocalStorage:
    """A directory that holds the files of all releases, on one file system.

    `layout` says where a file lies, as a relative path with forward slashes; two files may not
    share a path. Names and versions come from rows and from archives, so that a path that would
    leave `root` is refused whatever they hold.

    The staging area is `root/.hexhub-backup/{operation}/`: in `new` and `replacing` it mirrors
    the layout, so that after a crash every staged file tells its own destination.
    """

    def __init__(
        self, root: Path | str, *, layout: Callable[[ReleaseFile], str] = hexhub_layout
    ) -> None:
        self.root = Path(root).absolute()
        self._root = str(self.root)
        self._layout = layout

    def _relative(self, file: ReleaseFile) -> str:
        problem = unsafe_name(file.package, file.version)
        if problem is not None:
            raise StorageError(
                f"The files of release {file.package!a} {file.version!a} have no place in the "
                f"storage: {problem}. Mend the row in the registry."
            )
        path = self._layout(file)
        if not _NOT_A_PART.isdisjoint(path.split("/")):
            raise StorageError(
                f"The storage's layout puts {file.package} {file.version} at {path!r}: let the "
                "layout return a relative path without '..' and '.hexhub-backup'."
            )
        return path

    def _path(self, file: ReleaseFile) -> str:
        return f"{self._root}/{self._relative(file)}"

    def path(self, file: ReleaseFile) -> Path:
        """Where the file lies, or would. Raises StorageError for a path outside of `root`."""
        return Path(self._path(file))

    def open(self, file: ReleaseFile) -> BinaryIO:
        try:
            descriptor = os.open(self._path(file), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except NotADirectoryError as error:
            raise FileNotFoundError(*error.args) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise StorageError(f"{self.path(file)} is not a file: move it out of the storage.")
        return cast(BinaryIO, io.FileIO(descriptor))

    def stat(self, file: ReleaseFile) -> StoredFile | None:
        return _stat(self._path(file))

    def free(self) -> int:
        present = self.root
        while not present.exists():
            present = present.parent
        return shutil.disk_usage(present).free

    def _area(self, operation: str, *, replaces: bool) -> Path:
        return self.root / _STAGING / operation / ("replacing" if replaces else "new")

    def stage(
        self, operation: str, file: ReleaseFile, chunks: Iterable[bytes], *, replaces: bool
    ) -> None:
        path = self._area(operation, replaces=replaces) / self._relative(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = self.path(file).stat() if replaces else None
        if stored is not None and path.parent.stat().st_dev != stored.st_dev:
            raise StorageError(
                f"{self.path(file)} is on another file system than {self.root}: a storage has to "
                "be on one."
            )
        with path.open("xb", buffering=0) as staged:
            if stored is not None:
                os.fchmod(staged.fileno(), stat.S_IMODE(stored.st_mode))
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[staged.write(view) :]

    def flush(self) -> None:
        if self.root.exists():
            sync_file_system(self.root)

    def _staged_files(self, operation: str, *, replaces: bool) -> Iterator[tuple[Path, Path]]:
        """Every staged file, with its destination."""
        area = self._area(operation, replaces=replaces)
        if not area.is_dir():
            return
        for folder, _, names in os.walk(area, onerror=_raise):
            for name in names:
                staged = Path(folder, name)
                yield staged, self.root / staged.relative_to(area)

    def place(self, operation: str) -> int:
        placed = 0
        for staged, destination in self._staged_files(operation, replaces=False):
            self._make_folder(operation, destination.parent)
            try:
                os.link(staged, destination)
            except FileExistsError as error:
                raise ChangedError(
                    f"{destination} was stored by the host meanwhile, so that nothing was "
                    "restored: start again."
                ) from error
            except OSError as error:
                raise StorageError(
                    f"{destination} could not be linked from the staging area "
                    f"({error.strerror}): the storage has to be on one file system that knows "
                    "hard links, and where this process may write."
                ) from error
            placed += 1
        return placed

    def _make_folder(self, operation: str, folder: Path) -> None:
        """Make a folder for files that are placed, and remember which ones that took."""
        made = list(takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
        if made:
            with self._made(operation).open("a", encoding="utf-8") as memory:
                memory.writelines(f"{path.relative_to(self.root)}\n" for path in reversed(made))
            folder.mkdir(parents=True, exist_ok=True)

    def _made(self, operation: str) -> Path:
        return self.root / _STAGING / operation / "made"

    def take_back(self, operation: str) -> None:
        for staged, destination in self._staged_files(operation, replaces=False):
            with suppress(FileNotFoundError, NotADirectoryError):
                if destination.samefile(staged):
                    destination.unlink()
        with suppress(FileNotFoundError):
            made = self._made(operation).read_text(encoding="utf-8").splitlines()
            for folder in reversed(made):
                # The host may have put something there, or removed it.
                with suppress(OSError):
                    (self.root / folder).rmdir()

    def replace(self, operation: str, file: ReleaseFile, tag: str) -> bool:
        staged = self._area(operation, replaces=True) / self._relative(file)
        destination = self.path(file)
        if not staged.exists():
            return True
        present = _stat(destination)
        if present is None or present.tag != tag:
            return False
        staged.replace(destination)
        return True

    def clear(self, operation: str) -> None:
        area = self.root / _STAGING / operation
        # What can not be removed must not be reported as gone: recovery tries again.
        with suppress(FileNotFoundError):
            shutil.rmtree(area)
        with suppress(OSError):
            area.parent.rmdir()

    def staged(self) -> Iterator[str]:
        with suppress(FileNotFoundError):
            yield from sorted(entry.name for entry in (self.root / _STAGING).iterdir())


def _raise(error: OSError) -> None:
    raise error


def _stat(path: Path | str) -> StoredFile | None:
    try:
        found = os.stat(path)  # noqa: PTH116 (twice for each release)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return StoredFile(found.st_size, f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}")
