"""What state an instance is in: a fingerprint of it, and what should not be there."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import sqlalchemy as sa

from hexhub_backup.jobs.backups import Backups
from tests.support.instance import Instance


def fingerprint(instance: Instance) -> str:
    """Of the whole registry, rows and files, of what is in the archives, and of the copies that
    are called good."""
    archives = sorted(map(_content, instance.depot.glob("*.tar")))
    copies = sorted(_content(instance.nas / file) for file, _ in _copied(instance))
    return hashlib.sha256(repr((instance.registry(), archives, copies)).encode()).hexdigest()


def _copied(instance: Instance) -> list[tuple[str, str | None]]:
    """The file and the SHA-256 of each copy that is called good."""
    with instance.database() as connection:
        rows = connection.exec_driver_sql(
            "SELECT file, sha256 FROM hexhub_backup_copies WHERE state = 'copied'"
        )
        return [(file, sha256) for file, sha256 in rows]


def bad_copies(instance: Instance) -> list[str]:
    """Copies that are called good and are not."""
    return [
        f"the copy {file} is not good"
        for file, sha256 in _copied(instance)
        if hashlib.sha256((instance.nas / file).read_bytes()).hexdigest() != sha256
    ]


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
                "SELECT verb || ' ' || id FROM hexhub_backup_operations "
                "WHERE state IN ('queued', 'running') "
                "UNION ALL SELECT 'journal of ' || operation_id FROM hexhub_backup_journal"
            )
        ]


def remains(instance: Instance, backups: Backups) -> list[str]:
    """What nobody needs any more after a recovery, and what is missing that somebody needs."""
    problems = [f"left over: {path}" for path in instance.leftovers()]
    sets = (instance.depot / "undo").glob("*")
    problems += [f"left over: {path}" for path in sets if path.suffix != ".sqlite"]
    problems += [f"not finished: {what}" for what in unfinished(instance)]
    problems += bad_copies(instance)
    problems += [f"left over: {schema}" for schema in scratch_schemas(backups)]
    operations = {operation.id: operation for operation in backups.history.operations()}
    completed = {name: each for name, each in operations.items() if each.state == "completed"}
    done = {each.options.get("plan") for each in completed.values() if each.verb == "restore"}
    undone = {each.options["operation"] for each in completed.values() if each.verb == "undo"}
    for folder in (instance.depot / "plans").glob("*"):
        inspected = completed.get(folder.name)
        if inspected is None or inspected.verb != "inspect" or folder.name in done:
            problems.append(f"the plan {folder.name} is of no use")
    kept = {*backups.depot.undo_sets(), *backups.storage.kept()}
    for name in kept:
        restored = completed.get(name)
        if restored is None or restored.verb != "restore" or name in undone:
            problems.append(f"the undo set {name} is of no use")
    return problems


def scratch_schemas(backups: Backups) -> list[str]:
    """Those of rehearsals."""
    names = sa.inspect(backups.registry.engine).get_schema_names()
    return [name for name in names if name.startswith("hexhub_backup_")]


def strangers(backups: Backups) -> list[str]:
    """Archives without a row, and rows without an archive."""
    listed = backups.history.backups()
    rows = {each.id for each in listed if each.state == "completed" and not each.elsewhere}
    archives = set(backups.depot.archives())
    return [f"the backup {name} is half there" for name in sorted(rows ^ archives)]


def operations_of(instance: Instance) -> set[str]:
    with instance.database() as connection:
        rows = connection.exec_driver_sql("SELECT id FROM hexhub_backup_operations")
        return {name for (name,) in rows}
