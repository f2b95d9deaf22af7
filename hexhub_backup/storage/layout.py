"""Where a release's file is in a storage: a relative path, which never leaves it."""

from __future__ import annotations

from collections.abc import Callable

from hexhub_backup.archive.records import FileType, ReleaseFile, unsafe_name
from hexhub_backup.errors import StorageError

#: The part of a storage that is ours.
AREA = ".hexhub-backup"
# No part of a path may be one of these. An empty first one would make the path absolute.
_NOT_A_PART = {"", ".", "..", AREA}
_FOLDERS: dict[FileType, str] = {"package": "packages", "docs": "docs"}

#: Returns the relative path of a file, with forward slashes.
Layout = Callable[[ReleaseFile], str]


def hexhub_layout(file: ReleaseFile) -> str:
    """`hosted/packages/{name}/{name}-{version}.tar.gz`, and `hosted/docs/…`: as HexHub does."""
    name = f"{file.package}-{file.version}.tar.gz"
    return f"hosted/{_FOLDERS[file.type]}/{file.package}/{name}"


def safe(layout: Layout) -> Layout:
    """A layout that is held to its storage, whatever names and versions hold: they come from rows
    and from archives. Raises StorageError."""

    def path_of(file: ReleaseFile) -> str:
        problem = unsafe_name(file.package, file.version)
        if problem is not None:
            raise StorageError(
                f"The files of release {file.package!a} {file.version!a} have no place in the "
                f"storage: {problem}. Fix the row in the registry."
            )
        path = layout(file)
        # Fast check: most paths have no empty part and none that begins with a dot.
        framed = f"/{path}/"
        if ("//" in framed or "/." in framed) and not _NOT_A_PART.isdisjoint(path.split("/")):
            raise StorageError(
                f"The storage's layout puts {file.package} {file.version} at {path!r}: let the "
                f"layout return a relative path without '..' and '{AREA}'."
            )
        return path

    return path_of
