"""What a restore did, told from the plan that it carried out."""

from __future__ import annotations

from typing import Any

from hexhub_backup.archive.credentials import is_credential
from hexhub_backup.archive.records import FILE_TYPES, KINDS, USERS
from hexhub_backup.operations.changed import ChangedNames
from hexhub_backup.operations.plan import Plan


def outcome_of(plan: Plan, names: ChangedNames) -> dict[str, Any]:
    """`records`, `files` and `changed`, as `restore` describes them; all names go to `names`."""
    for kind in KINDS:
        written = (each.comparison.key[0] for each in plan.written(kind))
        names.add("users" if kind is USERS else "packages", written)
    names.add(
        "credentials",
        (
            each.comparison.key[0]
            for each in plan.written(USERS)
            if each.action == "overwrite" and any(map(is_credential, each.comparison.differs))
        ),
    )
    for file_type in FILE_TYPES:
        planned = plan.files(file_type, "place", "replace")
        names.add("packages", (each.file.package for each in planned))
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
