"""What a restore did, told from the plan that it carried out."""

from __future__ import annotations

from typing import Any

from hexhub_backup.archive.records import FILE_TYPES, KINDS, USERS
from hexhub_backup.operations.plan import Plan

#: The fields of a user with which one logs in, or may not any more.
CREDENTIALS = {"password_hash", "totp_enabled", "deactivated_at"}


def outcome_of(plan: Plan) -> dict[str, Any]:
    """`records`, `files` and `changed`, as `restore` describes them."""
    packages: set[str] = set()
    users: list[str] = []
    credentials: list[str] = []
    for kind in KINDS:
        for record in plan.written(kind):
            found = record.comparison
            if kind is not USERS:
                packages.add(found.key[0])
                continue
            users.append(found.key[0])
            if record.action == "overwrite" and CREDENTIALS & {*found.differs}:
                credentials.append(found.key[0])
    for file_type in FILE_TYPES:
        for planned in plan.files(file_type, "place", "replace"):
            packages.add(planned.file.package)
    files = plan.file_counts()
    return {
        "records": {kind.name: plan.effect(kind) for kind in KINDS},
        "files": {
            "placed": files["place"],
            "replaced": files["replace"],
            "bytes": sum(map(plan.file_bytes, FILE_TYPES)),
        },
        "changed": {
            "packages": sorted(packages),
            "users": sorted(users),
            "credentials": sorted(credentials),
        },
    }
