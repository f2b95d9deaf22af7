"""The rules of an archive as a whole, the same for those who write it and those who read it.

Whoever checks an archive gives the `Facts` that he found in it, and this asks for them: a new rule
asks for a new fact, which both have to give. What a single part has to hold to is in `members` for
names, `checks` for records, `jsonrows` for JSON, `manifest` for the manifest, `tar` for headers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from hexhub_backup.archive.faults import GET_AGAIN, FaultList, shown
from hexhub_backup.archive.manifest import COUNTS, MANIFEST, SUMS, VOUCHED, Manifest
from hexhub_backup.archive.records import KINDS, Kind
from hexhub_backup.errors import Fault


class Facts(Protocol):
    """What somebody found in an archive by looking at it; names are of members."""

    def present(self, names: Iterable[str]) -> Iterator[str]:
        """Those of the names that are there."""

    def files_and_folders(self) -> Iterator[tuple[str, str]]:
        """Files that are a folder, too, each with a name below it, or of the folder itself."""

    def count(self, name: str) -> int:
        """How many there are of one of `COUNTS`."""

    def sha256(self, name: str) -> str | None:
        """Of one of `VOUCHED`, in hex; None where it is not there."""

    def unknown(self) -> Iterator[str]:
        """Members and directories that the format does not know."""

    def only_there(self) -> Iterator[str]:
        """Members, but for SHA256SUMS and the manifest, that SHA256SUMS does not name."""

    def only_in_sums(self) -> Iterator[str]:
        """What else SHA256SUMS names."""

    def damaged(self) -> Iterator[str]:
        """Members that are not what SHA256SUMS says; of files this may be found out later."""

    def duplicates(self) -> Iterator[tuple[Kind, str, int]]:
        """Keys that several records of a kind have: how the record is called, and how many."""


def check_members(facts: Facts, faults: FaultList) -> None:
    """That the manifest and the four JSON members are there, and no file is a folder, too."""
    for name, below in facts.files_and_folders():
        message = f"it is a file, and {shown(below)} makes a folder of it"
        faults.add(Fault("duplicate_member", message, shown(name)))
    needed = [MANIFEST, *(kind.member for kind in KINDS)]
    present = set(facts.present(needed))
    for name in needed:
        if name not in present:
            faults.add(Fault("missing_member", f"it has to be there; {GET_AGAIN}", name))


def is_strict(facts: Facts, manifest: Manifest) -> bool:
    """Whether the archive is held to everything: only HexHub's own are not."""
    has_sums = facts.sha256(SUMS) is not None
    return has_sums or manifest.generator is not None or bool(manifest.checksums)


def check_manifest(facts: Facts, manifest: Manifest, faults: FaultList) -> None:
    """Hold manifest, SHA256SUMS and members against each other."""
    strict = is_strict(facts, manifest)
    _check_counts(facts, manifest, faults, strict=strict)
    if strict:
        _check_checksums(facts, manifest, faults)
        _check_sums(facts, faults)
        _check_names(facts, manifest, faults)
        _check_duplicates(facts, faults)


def mismatch(member: str) -> Fault:
    return Fault("checksum_mismatch", f"it is damaged; {GET_AGAIN}", shown(member))


def _check_counts(facts: Facts, manifest: Manifest, faults: FaultList, *, strict: bool) -> None:
    for name in COUNTS:
        number, told = facts.count(name), manifest.contents.get(name)
        if told is None:
            if strict:
                faults.add(
                    Fault("bad_manifest", "it is missing", MANIFEST, field=f"contents.{name}")
                )
        # HexHub writes 0 for bytes that it did not count.
        elif told != number and (strict or name != "total_size_bytes" or told):
            message = f"it says {told}, and the archive holds {number}; {GET_AGAIN}"
            faults.add(Fault("count_mismatch", message, MANIFEST, field=f"contents.{name}"))


def _check_checksums(facts: Facts, manifest: Manifest, faults: FaultList) -> None:
    for name in VOUCHED:
        told, actual = manifest.checksums.get(name), facts.sha256(name)
        if actual is None:
            faults.add(Fault("missing_member", f"it has to be there; {GET_AGAIN}", name))
        elif told is None:
            faults.add(Fault("bad_manifest", "it is missing", MANIFEST, field=f"checksums.{name}"))
        elif told != f"sha256:{actual}":
            faults.add(mismatch(name))


def _check_sums(facts: Facts, faults: FaultList) -> None:
    for name in facts.only_there():
        faults.add(Fault("bad_checksums", f"it does not name {shown(name)}", SUMS))
    for name in facts.only_in_sums():
        message = f"it names {shown(name)}, which is not there; {GET_AGAIN}"
        faults.add(Fault("bad_checksums", message, SUMS))
    for name in facts.damaged():
        faults.add(mismatch(name))


def _check_names(facts: Facts, manifest: Manifest, faults: FaultList) -> None:
    for name in facts.unknown():
        message = "the format knows no such member; an update may"
        faults.add(Fault("unknown_member", message, shown(name)))
    for name in facts.present(manifest.missing_files):
        message = f"{shown(name)} is said to be missing, and is there"
        faults.add(Fault("bad_manifest", message, MANIFEST, field="missing_files"))


def _check_duplicates(facts: Facts, faults: FaultList) -> None:
    for kind, label, count in facts.duplicates():
        message = f"there are {count} rows of this key"
        faults.add(Fault("duplicate_record", message, kind.member, record=label))
