"""What state an instance is in: a fingerprint of it, and what should not be there."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

from hexhub_backup.jobs.verbs import Backups
from tests.instance import Instance


def fingerprint(instance: Instance) -> str:
    """Of the whole registry, rows and files, and of what is in the archives."""
    archives = sorted(map(_content, instance.directory.glob("*.tar")))
    return hashlib.sha256(repr((instance.registry(), archives)).encode()).hexdigest()


def _content(archive: Path) -> str:
    """Two backups of one registry have the same content but for the manifest."""
    digest = hashlib.sha256()
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name != "manifest.json" and (file := tar.extractfile(member)) is not None:
                digest.update(f"{member.name} {member.size}\n".encode())
                digest.update(file.read())
    return digest.hexdigest()


def unfinished(instance: Instance) -> list[str]:
    with instance.database() as connection:
        return [
            found
            for (found,) in connection.exec_driver_sql(
                "SELECT verb || ' ' || id FROM hexhub_backup_operations WHERE state = 'running' "
                "UNION ALL SELECT 'journal of ' || operation_id FROM hexhub_backup_journal"
            )
        ]


def remains(instance: Instance, backups: Backups) -> list[str]:
    """What nobody needs any more after a recovery, and what is missing that somebody needs."""
    problems = [f"left over: {path}" for path in instance.leftovers()]
    problems += [f"not finished: {what}" for what in unfinished(instance)]
    operations = {operation.id: operation for operation in backups.operations()}
    completed = {name: each for name, each in operations.items() if each.state == "completed"}
    done = {each.options.get("plan") for each in completed.values() if each.verb == "restore"}
    undone = {each.options["operation"] for each in completed.values() if each.verb == "undo"}
    for folder in (instance.directory / "plans").iterdir():
        inspected = completed.get(folder.name)
        if inspected is None or inspected.verb != "inspect" or folder.name in done:
            problems.append(f"the plan {folder.name} is of no use")
    kept = {*backups.directory.undo_sets(), *backups.storage.kept()}
    for name in kept:
        restored = completed.get(name)
        if restored is None or restored.verb != "restore" or name in undone:
            problems.append(f"the undo set {name} is of no use")
    return problems


def strangers(backups: Backups) -> list[str]:
    """Archives without a row, and rows without an archive."""
    rows = {backup.id for backup in backups.backups() if backup.state == "completed"}
    archives = set(backups.directory.archives())
    return [f"the backup {name} is half there" for name in sorted(rows ^ archives)]


def operations_of(instance: Instance) -> set[str]:
    with instance.database() as connection:
        rows = connection.exec_driver_sql("SELECT id FROM hexhub_backup_operations")
        return {name for (name,) in rows}
