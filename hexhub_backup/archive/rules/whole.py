"""The rules of an archive as a whole, the same for those who write it and those who read it.

Whoever checks an archive brings the `Facts` of it, and this module asks for them: a new rule asks
for a new fact, which both have to bring. The rules of a single part are in modules of their own:
`checksums`, `member_names`, `fields` (of records), `strict_json`, `json_rows`, `manifest` and
`tar` (headers).
"""

from __future__ import annotations

from hexhub_backup.archive.faults import GET_AGAIN, FaultList, shown
from hexhub_backup.archive.records import KINDS
from hexhub_backup.archive.rules.checksums import check_checksums
from hexhub_backup.archive.rules.facts import Facts
from hexhub_backup.archive.rules.manifest import COUNTS, MANIFEST, SUMS, Manifest
from hexhub_backup.errors import Fault


def check_members(facts: Facts, faults: FaultList) -> None:
    """That the manifest and the JSON members are there, and no file is a folder, too."""
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
        check_checksums(facts, manifest, faults)
        _check_names(facts, manifest, faults)
        _check_duplicates(facts, faults)


def _check_counts(facts: Facts, manifest: Manifest, faults: FaultList, *, strict: bool) -> None:
    for name in COUNTS:
        number, counted = facts.count(name), manifest.contents.get(name)
        if counted is None:
            if strict:
                faults.add(
                    Fault("bad_manifest", "it is missing", MANIFEST, field=f"contents.{name}")
                )
        # HexHub writes 0 for bytes that it did not count.
        elif counted != number and (strict or name != "total_size_bytes" or counted):
            message = f"it says {counted}, and the archive holds {number}; {GET_AGAIN}"
            faults.add(Fault("count_mismatch", message, MANIFEST, field=f"contents.{name}"))


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
