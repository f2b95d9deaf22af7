"""Where a release's file is in a storage: a relative path, which never leaves it."""

from __future__ import annotations

import os.path
from collections.abc import Callable

from hexhub_backup.archive.records import FILE_TYPES, FileType, ReleaseFile, unsafe_name
from hexhub_backup.errors import StorageError

#: The part of a storage that is ours.
AREA = ".hexhub-backup"
# No part of a path may be one of these. An empty first one would make the path absolute.
_NOT_A_PART = {"", ".", "..", AREA}
# Releases that have hardly a folder in common which others have not.
_NAMES = "abcdefghijklmnopqrstuvwxyz"
_FOLDERS: dict[FileType, str] = {"package": "packages", "docs": "docs"}

#: Returns the relative path of a file, with forward slashes.
Layout = Callable[[ReleaseFile], str]


def hexhub_layout(file: ReleaseFile) -> str:
    """`hosted/packages/{name}/{name}-{version}.tar.gz`, and `hosted/docs/…`: as HexHub does."""
    name = f"{file.package}-{file.version}.tar.gz"
    return f"hosted/{_FOLDERS[file.type]}/{file.package}/{name}"


def folders(layout: Layout) -> list[str]:
    """The folders, each with a slash at its end, below which a layout puts all files of releases,
    none inside of another: the whole storage is an empty text. What else a host keeps beside them
    is none of ours."""
    shared = set()
    for file_type in FILE_TYPES:
        files = (ReleaseFile(file_type, name, f"1.0.{n}") for n, name in enumerate(_NAMES))
        folder = os.path.commonpath(list(map(layout, files)))
        shared.add(f"{folder}/" if folder else "")
    return [
        one for one in shared if not any(one != each and one.startswith(each) for each in shared)
    ]


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
