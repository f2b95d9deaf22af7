"""Which names a member may have, and what each is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Literal

from hexhub_backup.archive.faults import refuse
from hexhub_backup.archive.records import KINDS, unsafe_part
from hexhub_backup.archive.rules.manifest import MANIFEST, SUMS

MemberType = Literal["records", "sums", "manifest", "package", "docs", "unknown"]

_OWN: Mapping[str, MemberType] = {
    **dict.fromkeys((kind.member for kind in KINDS), "records"),
    MANIFEST: "manifest",
    SUMS: "sums",
}
#: Under what the manifest counts the files of a type.
COUNTED: Mapping[MemberType, str] = {"package": "package_files", "docs": "doc_files"}
_SUFFIX = ".tar.gz"
_BELOW_A_FILE = f"{_SUFFIX}/"
# What nearly all names are.
_PLAIN = re.compile(r"[a-z]{1,99}(?:/[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,99}){1,2}")


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
    if type_of(name) in COUNTED:
        return name
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


def makes_a_folder(place: str) -> bool:
    """Whether a member or directory may lie below what could be a file of a release, by its
    place."""
    return _BELOW_A_FILE in place


def is_folder(name: str) -> bool:
    """Whether a directory of this name holds members of the format."""
    first, _, below = name.partition("/")
    return first in ("packages", "docs") and "/" not in below
