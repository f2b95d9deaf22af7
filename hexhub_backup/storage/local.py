"""Package and docs files in a directory of this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import FileIO
from itertools import takewhile
from pathlib import Path

from hexhub_backup.archive.records import FileType, ReleaseFile, unsafe_name
from hexhub_backup.durable import FULL, naming_full_disk, sync_file_system
from hexhub_backup.errors import ChangedError, StorageError
from hexhub_backup.storage.base import StoredFile, bare, sealed, sha256_of
from hexhub_backup.storage.folding import folding_of

_STAGING = ".hexhub-backup"
_UNDO = "undo"
# What no part of a path may be: an empty first one would make it absolute.
_NOT_A_PART = {"", ".", "..", _STAGING}
_CHUNK = 1 << 20
_FOLDERS: dict[FileType, str] = {"package": "packages", "docs": "docs"}


def hexhub_layout(file: ReleaseFile) -> str:
    """`hosted/packages/{name}/{name}-{version}.tar.gz`, and `hosted/docs/…`: as HexHub does."""
    name = f"{file.package}-{file.version}.tar.gz"
    return f"hosted/{_FOLDERS[file.type]}/{file.package}/{name}"


class LocalFile:
    """An open file, without what Python's own does for each: there are two for each release."""

    __slots__ = ("_before", "_descriptor", "size")

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._before = os.fstat(self._descriptor)
        if not stat.S_ISREG(self._before.st_mode):
            os.close(self._descriptor)
            raise StorageError(f"{path} is not a file: move it out of the storage.")
        self.size = self._before.st_size

    @property
    def tag(self) -> str:
        return _stored(self._before).tag

    def read(self, size: int) -> bytes:
        return os.read(self._descriptor, size)

    def readinto(self, buffer: memoryview) -> int:
        return os.readv(self._descriptor, (buffer,))

    def changed(self) -> bool:
        before, after = self._before, os.fstat(self._descriptor)
        return before.st_mtime_ns != after.st_mtime_ns or before.st_size != after.st_size

    def __enter__(self) -> LocalFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


class LocalStorage:
    """A directory that holds the files of all releases, on one file system.

    `layout` says where a file lies, as a relative path with forward slashes; two files may not
    share a path. Names and versions come from rows and from archives, so that a path that would
    leave `root` is refused whatever they hold.

    The staging area is `root/.hexhub-backup/{operation}/`: in `new` and `replacing` it mirrors
    the layout, so that after a crash every staged file tells its own destination. What is kept for
    an undo is in `root/.hexhub-backup/undo/{operation}/`: in `kept`, which mirrors it too, and in
    `made`, the folders that the operation made.
    """

    def __init__(
        self, root: Path | str, *, layout: Callable[[ReleaseFile], str] = hexhub_layout
    ) -> None:
        self.root = Path(root).absolute()
        self._root = str(self.root)
        self._layout = layout
        self._knows_folding = False
        self._folding: Callable[[str], str] | None = None

    def _relative(self, file: ReleaseFile) -> str:
        problem = unsafe_name(file.package, file.version)
        if problem is not None:
            raise StorageError(
                f"The files of release {file.package!a} {file.version!a} have no place in the "
                f"storage: {problem}. Mend the row in the registry."
            )
        path = self._layout(file)
        # Most are told by this that they have neither empty parts nor such as begin with a dot.
        framed = f"/{path}/"
        if ("//" in framed or "/." in framed) and not _NOT_A_PART.isdisjoint(path.split("/")):
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

    def open(self, file: ReleaseFile) -> LocalFile:
        try:
            return LocalFile(self._path(file))
        except NotADirectoryError as error:
            raise FileNotFoundError(*error.args) from error

    def size(self, file: ReleaseFile) -> int | None:
        try:
            return os.stat(self._path(file)).st_size  # noqa: PTH116 (twice for each release)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def stat(self, file: ReleaseFile) -> StoredFile | None:
        path = self._path(file)
        found = _stat(path)
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise StorageError(f"{path} is not a file: move it out of the storage.")
        return None if found is None else _stored(found)

    def known(self, file: ReleaseFile, tag: str, *, by_content: bool = True) -> str | None:
        return _known(self._path(file), tag, by_content=by_content)

    def alike(self) -> Callable[[ReleaseFile], str] | None:
        """By what the file system of `root` does to two names; it is asked once, by making a file
        in a folder of the staging area's."""
        if not self._knows_folding:
            try:
                self._folding, self._knows_folding = self._probe(), True
            except OSError:
                # Nothing can be put there, then.
                return None
        folding = self._folding
        return None if folding is None else lambda file: folding(self._relative(file))

    def _probe(self) -> Callable[[str], str] | None:
        area = self.root / _STAGING
        made = list(takewhile(lambda path: not path.exists(), (area, *area.parents)))
        try:
            area.mkdir(parents=True, exist_ok=True)
            return folding_of(area)
        finally:
            for folder in made:
                # Somebody else may have put something there meanwhile.
                with suppress(OSError):
                    folder.rmdir()

    def free(self) -> int:
        present = self.root
        while not present.exists():
            present = present.parent
        return shutil.disk_usage(present).free

    def _area(self, operation: str, *, replaces: bool) -> str:
        return f"{self._root}/{_STAGING}/{operation}/{'replacing' if replaces else 'new'}"

    def _staged(self, operation: str, file: ReleaseFile, *, replaces: bool) -> str:
        return f"{self._area(operation, replaces=replaces)}/{self._relative(file)}"

    def stage(
        self, operation: str, file: ReleaseFile, chunks: Iterable[bytes], *, replaces: bool
    ) -> str:
        path = self._staged(operation, file, replaces=replaces)
        stored = self.path(file).stat() if replaces else None
        with naming_full_disk(self.root), _new_file(path) as staged:
            if stored is not None:
                if os.fstat(staged.fileno()).st_dev != stored.st_dev:
                    raise StorageError(
                        f"{self.path(file)} is on another file system than {self.root}: a storage "
                        "has to be on one."
                    )
                os.fchmod(staged.fileno(), stat.S_IMODE(stored.st_mode))
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[staged.write(view) :]
            return _stored(os.fstat(staged.fileno())).tag

    def _kept(self, operation: str, file: ReleaseFile) -> Path:
        return self._undo(operation) / "kept" / self._relative(file)

    def _undo(self, operation: str) -> Path:
        return self.root / _STAGING / _UNDO / operation

    def keep(self, operation: str, file: ReleaseFile, tag: str) -> str:
        kept = self._kept(operation, file)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError, NotADirectoryError):
            # The file itself: a symbolic link would lead elsewhere from there.
            _link(os.path.realpath(self._path(file)), kept)
            # Of the link: the stored file may have been replaced before it or after.
            if _known(kept, tag, by_content=False) is not None:
                found = tag if sha256_of(tag) is not None else _sealed(kept)
                if bare(found) == bare(tag):
                    return found
        raise ChangedError(
            f"{self.path(file)} is another by now than when the restore was planned, so that "
            "nothing was restored. Inspect the archive again."
        )

    def stage_kept(self, operation: str, file: ReleaseFile, undone: str, tag: str | None) -> bool:
        staged = Path(self._staged(operation, file, replaces=True))
        staged.parent.mkdir(parents=True, exist_ok=True)
        try:
            _link(self._kept(undone, file), staged)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return tag is None or _known(staged, tag) is not None

    def staged_size(self, operation: str, file: ReleaseFile) -> int | None:
        found = _stat(self._staged(operation, file, replaces=True))
        return None if found is None else found.st_size

    def flush(self) -> None:
        if self.root.exists():
            sync_file_system(self.root)

    def place(self, operation: str, files: Iterable[tuple[ReleaseFile, str]]) -> None:
        made = ""
        for file, _ in files:
            destination = self._path(file)
            folder = destination.rpartition("/")[0]
            if folder != made:
                self._make_folder(operation, Path(folder))
                made = folder
            try:
                _link(self._staged(operation, file, replaces=False), destination)
            except FileExistsError as error:
                if not Path(destination).exists():
                    raise StorageError(
                        f"{destination} is a symbolic link to nothing, so that nothing was "
                        "restored: remove it, or put back what it leads to."
                    ) from error
                raise ChangedError(
                    f"{destination} was stored by the host meanwhile, so that nothing was "
                    "restored. Inspect the archive again."
                ) from error
            except FileNotFoundError as error:
                raise StorageError(
                    f"The file that was staged for {destination} is not there any more: nothing "
                    "was restored. Start again."
                ) from error

    def _make_folder(self, operation: str, folder: Path) -> None:
        """Make a folder for files that are placed, and remember which ones that took."""
        made = list(takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
        if made:
            self._undo(operation).mkdir(parents=True, exist_ok=True)
            with self._made(operation).open("a", encoding="utf-8") as memory:
                memory.writelines(f"{path.relative_to(self.root)}\n" for path in reversed(made))
            folder.mkdir(parents=True, exist_ok=True)

    def _made(self, operation: str) -> Path:
        return self._undo(operation) / "made"

    def take_back(self, operation: str, files: Iterable[tuple[ReleaseFile, str]]) -> None:
        for file, tag in files:
            destination = self._path(file)
            # Content alone does not tell whose it is: a host may have stored the same since.
            if _unwritten(destination, tag) and _known(destination, tag) is not None:
                Path(destination).unlink()
        self._remove_made(operation)

    def _remove_made(self, operation: str) -> None:
        with suppress(FileNotFoundError):
            made = self._made(operation).read_text(encoding="utf-8").splitlines()
            for folder in reversed(made):
                # The host may have put something there, or removed it.
                with suppress(OSError):
                    (self.root / folder).rmdir()

    def replace(self, operation: str, file: ReleaseFile, tag: str) -> bool:
        staged = Path(self._staged(operation, file, replaces=True))
        there = self.known(file, tag) is not None
        if staged.exists() and there:
            staged.replace(self._path(file))
            return True
        # Without either it was done before.
        return not staged.exists() and not there

    def remove(self, file: ReleaseFile, tag: str) -> bool:
        destination = self.path(file)
        if _stat(destination) is None:
            return True
        if self.known(file, tag) is None:
            return False
        destination.unlink(missing_ok=True)
        return True

    def clear(self, operation: str) -> None:
        self._clear(self.root / _STAGING / operation)

    def forget(self, operation: str, *, undone: bool = False) -> None:
        if undone:
            self._remove_made(operation)
        self._clear(self._undo(operation))

    def _clear(self, area: Path) -> None:
        # What can not be removed must not be reported as gone: recovery tries again.
        with suppress(FileNotFoundError):
            shutil.rmtree(area)
        with suppress(OSError):
            area.parent.rmdir()
            (self.root / _STAGING).rmdir()

    def staged(self) -> Iterator[str]:
        yield from (name for name in _names(self.root / _STAGING) if name != _UNDO)

    def kept(self) -> Iterator[str]:
        yield from _names(self.root / _STAGING / _UNDO)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return []


def _new_file(path: str) -> FileIO:
    # Most folders are there by then: a release is seldom the only one of its package.
    try:
        return FileIO(path, "xb")
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return FileIO(path, "xb")


def _link(source: Path | str, destination: Path | str) -> None:
    try:
        os.link(source, destination)
    except (FileExistsError, FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        if error.errno in FULL:
            raise
        raise StorageError(
            f"{destination} could not be linked to {source} ({error.strerror}): the storage has "
            "to be on one file system that knows hard links, and where this process may write."
        ) from error


def _stat(path: Path | str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 (twice for each release)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _stored(found: os.stat_result) -> StoredFile:
    # Not the time of the last change of the inode: that is another as soon as a link is made.
    return StoredFile(found.st_size, f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}")


def _known(path: Path | str, tag: str, *, by_content: bool = True) -> str | None:
    """See `Storage.known`."""
    found = _stat(path)
    if found is None or not stat.S_ISREG(found.st_mode):
        return None
    if _stored(found).tag == bare(tag):
        return tag
    sha256 = sha256_of(tag)
    if not by_content or sha256 is None or found.st_size != int(bare(tag).split("-")[1]):
        return None
    now = _sealed(path)
    return now if sha256_of(now) == sha256 else None


def _unwritten(path: Path | str, tag: str) -> bool:
    """Whether nobody has written to a file since it had this tag, also where it was copied."""
    found = _stat(path)
    return found is not None and _stored(found).tag.partition("-")[2] == bare(tag).partition("-")[2]


def _sealed(path: Path | str) -> str:
    """The tag of a file, sealed with what it holds; unsealed where it was written to meanwhile."""
    digest = hashlib.sha256()
    with LocalFile(str(path)) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        return file.tag if file.changed() else sealed(file.tag, digest.hexdigest())
