"""What an index tells of its archive once it is complete: faults, warnings and the digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import chain

from hexhub_backup.archive.checks import number_of
from hexhub_backup.archive.faults import GET_AGAIN, FaultList, shown
from hexhub_backup.archive.index import Index
from hexhub_backup.archive.manifest import MANIFEST, SUMS, VOUCHED, Manifest
from hexhub_backup.archive.members import is_folder
from hexhub_backup.archive.records import KINDS, RELEASES, Key, Kind
from hexhub_backup.errors import Fault, Warning_

_DUPLICATES = """
SELECT key, count(*) FROM rows WHERE kind = ? GROUP BY key HAVING count(*) > 1 ORDER BY key
"""
_WITHOUT_FILE = """
SELECT rows.key, files.member FROM files
JOIN records ON records.kind = ? AND records.n = files.n JOIN rows ON rows.id = records.id
WHERE files.type = ? AND expected AND files.member NOT IN (SELECT name FROM members)
ORDER BY files.n
"""
_NOT_IN_SUMS = """
SELECT name FROM members WHERE type NOT IN ('manifest', 'sums') EXCEPT SELECT name FROM sums
"""
_ONLY_IN_SUMS = """
SELECT name FROM sums EXCEPT SELECT name FROM members WHERE type NOT IN ('manifest', 'sums')
"""
_WITHOUT_RELEASE = """
SELECT name FROM members WHERE type IN ('package', 'docs')
AND name NOT IN (SELECT member FROM files) ORDER BY n
"""


# A file that is a folder, too: `0` is what comes behind `/`.
_FILES_AND_FOLDERS = """
SELECT file.name, below.name FROM members AS file JOIN members AS below
ON below.place > file.place || '/' AND below.place < file.place || '0'
UNION ALL
SELECT file.name, below.name FROM members AS file JOIN directories AS below
ON below.place = file.place OR below.place > file.place || '/' AND below.place < file.place || '0'
"""


def mismatch(member: str) -> Fault:
    return Fault("checksum_mismatch", f"it is damaged; {GET_AGAIN}", shown(member))


def check_members(index: Index, faults: FaultList) -> None:
    """That the manifest and the four JSON members are there, and no file is a folder, too."""
    for name, below in index.query(_FILES_AND_FOLDERS):
        message = f"it is a file, and {shown(below)} makes a folder of it"
        faults.add(Fault("duplicate_member", message, shown(name)))
    for name in (MANIFEST, *(kind.member for kind in KINDS)):
        if index.one("SELECT 1 FROM members WHERE name = ?", name) is None:
            faults.add(Fault("missing_member", f"it has to be there; {GET_AGAIN}", name))


def check_manifest(index: Index, manifest: Manifest, faults: FaultList) -> bool:
    """Hold manifest, SHA256SUMS and members against each other; says whether the archive is
    held to everything."""
    has_sums = index.one("SELECT 1 FROM members WHERE name = ?", SUMS) is not None
    strict = has_sums or manifest.generator is not None or bool(manifest.checksums)
    _check_counts(index, manifest, faults, strict=strict)
    if strict:
        _check_checksums(index, manifest, faults)
        _check_sums(index, faults)
        _check_names(index, manifest, faults)
        _check_duplicates(index, faults)
    return strict


def _check_counts(index: Index, manifest: Manifest, faults: FaultList, *, strict: bool) -> None:
    of_type = "SELECT count(*) FROM members WHERE type = ?"
    actual = {
        kind.name: index.number("SELECT count(*) FROM rows WHERE kind = ?", number_of(kind))
        for kind in KINDS
    } | {
        "package_files": index.number(of_type, "package"),
        "doc_files": index.number(of_type, "docs"),
        "total_size_bytes": index.number("SELECT sum(size) FROM members WHERE name != ?", MANIFEST),
    }
    for name, number in actual.items():
        told = manifest.contents.get(name)
        if told is None:
            if strict:
                faults.add(
                    Fault("bad_manifest", "it is missing", MANIFEST, field=f"contents.{name}")
                )
        # HexHub writes 0 for bytes that it did not count.
        elif told != number and (strict or name != "total_size_bytes" or told):
            message = f"it says {told}, and the archive holds {number}; {GET_AGAIN}"
            faults.add(Fault("count_mismatch", message, MANIFEST, field=f"contents.{name}"))


def _check_checksums(index: Index, manifest: Manifest, faults: FaultList) -> None:
    for name in VOUCHED:
        told = manifest.checksums.get(name)
        row = index.one("SELECT sha256 FROM members WHERE name = ?", name)
        if row is None:
            faults.add(Fault("missing_member", f"it has to be there; {GET_AGAIN}", name))
        elif told is None:
            faults.add(Fault("bad_manifest", "it is missing", MANIFEST, field=f"checksums.{name}"))
        elif told != f"sha256:{row[0]}":
            faults.add(mismatch(name))


def _check_sums(index: Index, faults: FaultList) -> None:
    for (name,) in index.query(_NOT_IN_SUMS):
        faults.add(Fault("bad_checksums", f"it does not name {shown(name)}", SUMS))
    for (name,) in index.query(_ONLY_IN_SUMS):
        message = f"it names {shown(name)}, which is not there; {GET_AGAIN}"
        faults.add(Fault("bad_checksums", message, SUMS))
    # The manifest vouches for the JSON members, and so does SHA256SUMS.
    for (name,) in index.query(
        "SELECT name FROM members JOIN sums USING (name) WHERE members.sha256 != sums.sha256"
    ):
        faults.add(mismatch(name))


def _check_names(index: Index, manifest: Manifest, faults: FaultList) -> None:
    unknown = index.query("SELECT name FROM members WHERE type = 'unknown' ORDER BY n")
    directories = index.query("SELECT name FROM directories ORDER BY name")
    strange = (row for row in directories if not is_folder(row[0]))
    for (name,) in chain(unknown, strange):
        message = "the format knows no such member; an update may"
        faults.add(Fault("unknown_member", message, shown(name)))
    for name in manifest.missing_files:
        if index.one("SELECT 1 FROM members WHERE name = ?", name) is not None:
            message = f"{shown(name)} is said to be missing, and is there"
            faults.add(Fault("bad_manifest", message, MANIFEST, field="missing_files"))


def _check_duplicates(index: Index, faults: FaultList) -> None:
    for kind in KINDS:
        for key, count in index.query(_DUPLICATES, number_of(kind)):
            message = f"there are {count} rows of this key"
            label = _label(kind, key)
            faults.add(Fault("duplicate_record", message, kind.member, record=label))


def digest(index: Index) -> str:
    """`sha256:…` of name, size and SHA-256 of all members in order."""
    whole = hashlib.sha256()
    for line in index.query("SELECT sha256, size, name FROM members ORDER BY n"):
        whole.update("{} {} {}\n".format(*line).encode())
    return f"sha256:{whole.hexdigest()}"


def warnings(
    index: Index, takes: Callable[[Kind, Key], bool], *, strict: bool
) -> Iterator[Warning_]:
    """What an admin should know, by code, and by key within; of the records that `takes` wants."""
    for kind in KINDS:
        for key, count in index.query(_DUPLICATES, number_of(kind)):
            message = f"{count} rows of this key were merged: the latest updated_at counts"
            if takes(kind, _key(key)):
                yield Warning_("duplicate_record", message, _label(kind, key))
    for type_, code, message in (
        ("package", "missing_package_file", "the archive has no package file of this release"),
        ("docs", "missing_docs_file", "this release has docs, but no docs file in the archive"),
    ):
        for key, _ in index.query(_WITHOUT_FILE, number_of(RELEASES), type_):
            if takes(RELEASES, _key(key)):
                yield Warning_(code, message, _label(RELEASES, key))
    for (name,) in index.query(_WITHOUT_RELEASE):
        message = "the archive has no release of this file: it is left out"
        yield Warning_("file_without_release", message, shown(name))
    if not strict:
        message = "HexHub's own archives have no checksums: damage would not be noticed"
        yield Warning_("not_checked", message, "archive")


def _key(key: bytes) -> Key:
    return tuple(key.decode().split("\0"))


def _label(kind: Kind, key: bytes) -> str:
    return shown(kind.label(_key(key)))
