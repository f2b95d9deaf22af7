"""What a restore or an undo did, counted from the plan or the undo set that it carried out."""

from __future__ import annotations

from typing import Any

from hexhub_backup.archive.credentials import is_credential
from hexhub_backup.archive.records import FILE_TYPES, KINDS, PACKAGES, USERS
from hexhub_backup.operations.changed import CREDENTIALS, ChangedNames
from hexhub_backup.operations.plan import Plan
from hexhub_backup.operations.undo_set import UndoSet


def outcome_of_restore(plan: Plan, names: ChangedNames) -> dict[str, Any]:
    """`records`, `files` and `changed`, as `restore` describes them; all names go to `names`."""
    for kind in KINDS:
        names.add(kind.root.name, plan.written_roots(kind))
    names.add(
        CREDENTIALS,
        (
            each.comparison.key[0]
            for each in plan.overwritten(USERS)
            if any(map(is_credential, each.comparison.differs))
        ),
    )
    for file_type in FILE_TYPES:
        planned = plan.files(file_type, "place", "replace")
        names.add(PACKAGES.name, (each.file.package for each in planned))
    files = plan.file_counts()
    return {
        "records": {kind.name: plan.effect(kind) for kind in KINDS},
        "files": {
            "placed": files["place"],
            "replaced": files["replace"],
            "bytes": sum(map(plan.file_bytes, FILE_TYPES)),
        },
        "changed": names.complete(),
    }


def outcome_of_undo(undo_set: UndoSet, names: ChangedNames) -> dict[str, Any]:
    """`records`, `files` and `changed`, as `undo` describes them; all names go to `names`."""
    records: dict[str, dict[str, int]] = {}
    for kind in KINDS:
        undone = undo_set.undone(kind)
        done = {"removed": undone["create"], "brought_back": undone["overwrite"]}
        names.add(kind.root.name, undo_set.undone_roots(kind))
        records[kind.name] = {**done, "left": undo_set.count(kind) - sum(done.values())}
    names.add(
        CREDENTIALS,
        (
            USERS.key_of(left)[0]
            for left, before in undo_set.brought_back(USERS)
            if any(left.get(name) != before[name] for name in filter(is_credential, before))
        ),
    )
    stored = undo_set.undone_files()
    files = {"removed": stored["place"], "brought_back": stored["replace"]}
    names.add(PACKAGES.name, undo_set.undone_packages())
    return {"records": records, "files": files, "changed": names.complete()}
