"""Which names a member may have, what each is, and SHA256SUMS as it is read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Literal, NoReturn

from hexhub_backup.archive.faults import refuse
from hexhub_backup.archive.manifest import MANIFEST, SUMS
from hexhub_backup.archive.records import KINDS

MemberType = Literal["records", "sums", "manifest", "package", "docs", "unknown"]

_KINDS = {kind.member: kind for kind in KINDS}
# C0, DEL, C1, line and paragraph separators, and what Windows takes for a separator.
_UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\\\\]")
_MAX_COMPONENT_BYTES = 255
_SUFFIX = ".tar.gz"
_SUM = re.compile(rb"([0-9a-f]{64}) [ *](.+)")
_MAX_LINE_BYTES = 64 * 1024


def safe_name(name: str) -> str:
    """The name without a leading `./`.

    Raises ArchiveError for one that could leave its place (CVE-2007-4559) or that not every
    system can hold. Nothing here is ever written to the path that a member names; this is the
    belt to those braces.
    """
    name = name.removeprefix("./")
    parts = name.split("/")
    why = None
    if name.startswith("/"):
        why = "is absolute"
    elif _UNSAFE.search(name):
        why = "holds a backslash or a control character"
    elif not {"", ".", ".."}.isdisjoint(parts):
        why = "has an empty part, `.` or `..`"
    elif any(len(part.encode()) > _MAX_COMPONENT_BYTES for part in parts):
        why = f"has a part that is longer than {_MAX_COMPONENT_BYTES} bytes"
    if why is not None:
        message = f"the name {why}; an archive with such a name is not restored"
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
    if name in _KINDS:
        return "records"
    if name == MANIFEST:
        return "manifest"
    if name == SUMS:
        return "sums"
    if name.endswith(_SUFFIX):
        if name.startswith("packages/"):
            return "package"
        if name.startswith("docs/"):
            return "docs"
    return "unknown"


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
