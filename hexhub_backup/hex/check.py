"""The check of a release for registries of Hex packages: would a client take its package file?"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from hexhub_backup.archive.faults import shown
from hexhub_backup.archive.source import ReadableFile
from hexhub_backup.hex.contents import find_problem
from hexhub_backup.hex.tarball import NOT_FITTING, Scanned, TarballError, scan_package
from hexhub_backup.marking import marked
from hexhub_backup.operations.release_check import ReleaseToCheck

#: The field of a release with the SHA-256 of its whole package file, where a host maps one.
_OUTER_CHECKSUM = "outer_checksum"
#: Of a requirement that names none.
_UPSTREAM = "hexpm"


def hex_tarball(
    release: ReleaseToCheck,
    file: ReadableFile,
    /,
    *,
    unpack: bool,
    repository: str | None = None,
) -> list[str]:
    """Check a package file as Hex's clients do: a `ReleaseCheck` for `init_app`.

    It is read as a Hex tarball: its members, VERSION and CHECKSUM, and name and version in its
    metadata.config, which have to be those of the release. With `unpack` its contents.tar.gz is
    unpacked to its end and thrown away, up to 1 GiB. Where the release has a field
    `outer_checksum`, as hex or bytes, the whole file has to have that SHA-256.

    `repository` is the name that requirements have this registry by: give it by
    `functools.partial`. A package that is required of this repository has to be here. Those of
    other repositories are not checked, and without a name none are.
    """
    expected = release.record.get(_OUTER_CHECKSUM)
    problems: list[str] = []

    def look_into(packed: Iterator[memoryview]) -> None:
        if problem := find_problem(packed):
            problems.append(problem)

    contents = look_into if unpack else None
    try:
        found = scan_package(file, contents=contents, outer=expected is not None)
    except TarballError as error:
        reason = str(error)
        return [*problems, marked(f"its package file is none that a client takes: {reason}")]
    return [*problems, *_problems(release, found, expected, repository)]


def _problems(
    release: ReleaseToCheck, found: Scanned, expected: Any, repository: str | None
) -> Iterator[str]:
    """What does not fit a file that can be read."""
    if not found.fits:
        reason = NOT_FITTING
        yield marked(f"its package file is none that a client takes: {reason}")
    if expected is not None and found.outer_checksum != _digest(expected):
        yield marked("its package file has another SHA-256 than the release says")
    if (name := found.said.get("name")) != release.package:
        value = _shown(name)
        yield marked(f"its package file has another name in its metadata: {value}")
    if (version := found.said.get("version")) != release.version:
        value = _shown(version)
        yield marked(f"its package file has another version in its metadata: {value}")
    for each in found.requirements if repository is not None else ():
        if (each.repository or _UPSTREAM) == repository and not release.has_package(each.package):
            package = shown(each.package)
            yield marked(f"it requires {package} of this repository, which is not here")


def _shown(value: object) -> str:
    return shown(value) if isinstance(value, str) and value else "–"


def _digest(checksum: Any) -> bytes | None:
    """Of a column of texts in hex, or of bytes; None where it is neither."""
    try:
        if isinstance(checksum, str):
            return bytes.fromhex(checksum)
        return base64.b64decode(checksum["$bytes"])
    except (KeyError, TypeError, ValueError):
        return None
