"""Which names a member may have, what each is, and SHA256SUMS as it is read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NoReturn

from hexhub_backup.archive.faults import refuse
from hexhub_backup.archive.manifest import MANIFEST, SUMS
from hexhub_backup.archive.records import KINDS, unsafe_part

MemberType = Literal["records", "sums", "manifest", "package", "docs", "unknown"]

_OWN: Mapping[str, MemberType] = {
    **dict.fromkeys((kind.member for kind in KINDS), "records"),
    MANIFEST: "manifest",
    SUMS: "sums",
}
#: Under what the manifest counts the files of a type.
COUNTED: Mapping[MemberType, str] = {"package": "package_files", "docs": "doc_files"}
_SUFFIX = ".tar.gz"
# What nearly all names are.
_PLAIN = re.compile(r"[a-z]{1,99}/[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,99}")
_SUM = re.compile(rb"([0-9a-f]{64}) [ *](.+)")
_MAX_LINE_BYTES = 64 * 1024


def safe_name(name: str) -> str:
    """The name without a leading `./`.

    Raises ArchiveError for one that could leave its place (CVE-2007-4559) or that not every
    system can hold. Nothing here is ever written to the path that a member names; this is the
    belt to those braces.
    """
    name = name.removeprefix("./")
    if _PLAIN.fullmatch(name):
        return name
    for part in name.split("/"):
        why = unsafe_part(part)
        if why is not None:
            message = f"a part of the name {why}; an archive with such a name is not restored"
            refuse("unsafe_name", message, name)
    return name


def folded(name: str) -> str:
    """The name as a file system sees it that knows neither case nor forms of Unicode."""
    composed = unicodedata.normalize("NFC", name)
    return unicodedata.normalize("NFC", composed.casefold())


def place_of(name: str) -> str:
    """What a member has for itself: no other may have the same, nor lie below it.

    The format's own names stand for all that differ from them in case or in Unicode normal form
    only. Within the members of releases either tells two apart, as it does in the registry:
    whether a storage can hold both is the storage's to say.
    """
    folder, _, rest = name.partition("/")
    folder = folded(folder)
    if folder in ("packages", "docs") and rest[-len(_SUFFIX) :].casefold() == _SUFFIX:
        return f"{folder}/{rest[: -len(_SUFFIX)]}{_SUFFIX}"
    return folded(name)


def type_of(name: str) -> MemberType:
    """What a member is, by its name; names and versions are never parsed out of it."""
    if name.endswith(_SUFFIX):
        if name.startswith("packages/"):
            return "package"
        if name.startswith("docs/"):
            return "docs"
    return _OWN.get(name, "unknown")


def is_folder(name: str) -> bool:
    """Whether a directory of this name holds members of the format."""
    first, _, below = name.partition("/")
    return first in ("packages", "docs") and "/" not in below


def read_sums(read: Callable[[int], bytes]) -> Iterator[tuple[str, str]]:
    """`(name, sha256)` for each line of SHA256SUMS, which `read(n)` gives the next bytes of.

    Raises ArchiveError for a line that `sha256sum -c` would not read, or that escapes its name.
    """
    rest = b""
    while chunk := read(_MAX_LINE_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from map(_sum, lines)
        if len(rest) > _MAX_LINE_BYTES:
            _refuse_line()
    if rest:
        yield _sum(rest)


def sum_line(name: str, sha256: str) -> bytes:
    """A line of SHA256SUMS, as `read_sums` reads it."""
    return f"{sha256}  {name}\n".encode()


def _sum(line: bytes) -> tuple[str, str]:
    match = _SUM.fullmatch(line)
    if match is None:
        _refuse_line()
    try:
        return match[2].decode(), match[1].decode()
    except UnicodeDecodeError:
        _refuse_line()


def _refuse_line() -> NoReturn:
    refuse("bad_checksums", "a line is not `SHA256  NAME` as sha256sum writes it", SUMS)
