"""A restore of ten releases that creates, overwrites, leaves and puts back, to be tortured."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from pathlib import Path

from tests.instance import FLASK, ROOT, Instance
from tests.torture.kill_every_syscall import Torture
from tests.torture.state import fingerprint


def changed_registry(folder: Path) -> tuple[Instance, Path]:
    """An instance, and an archive of it from before some of it was changed and removed."""
    instance = Instance(folder / "base")
    instance.seed(users=4, packages=5, releases=2, file_size=3000)
    archive = Path(instance.backups("create")["archive"])
    kept = folder / "before.tar"
    shutil.copyfile(archive, kept)
    with sqlite3.connect(instance.database()) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        releases = connection.execute(
            "SELECT releases.id, packages.name, version FROM releases "
            "JOIN packages ON packages.id = package_id WHERE source = 'local' ORDER BY 1"
        ).fetchall()
        gone, other, lost = releases[0], releases[1], releases[2]
        connection.execute("DELETE FROM releases WHERE id = ?", gone[:1])
        connection.execute("UPDATE packages SET private = NOT private WHERE name = ?", other[1:2])
        connection.execute("DELETE FROM api_keys")
        connection.execute("UPDATE users SET email = 'other@example.org' WHERE id = 2")
    for file in instance.storage.rglob(f"{gone[1]}-{gone[2]}.tar.gz"):
        file.unlink()
    for file in instance.storage.rglob(f"{other[1]}-{other[2]}.tar.gz"):
        file.write_bytes(b"another file")
    for file in instance.storage.rglob(f"{lost[1]}-{lost[2]}.tar.gz"):
        file.unlink()
    return instance, kept


def torture(folder: Path) -> Torture:
    """Prepared in `folder`: the command is a restore of everything under `overwrite`."""
    instance, archive = changed_registry(folder)
    before = fingerprint(instance)
    after = Instance(folder / "after")
    shutil.copytree(instance.path, after.path)
    restored = after.backups("restore", str(archive), "--strategy", "overwrite", "--yes")
    assert restored["files"]["placed"]
    assert restored["files"]["replaced"]
    flask = " ".join(FLASK)
    here = "HOST_APP_DATA={dir}/state"
    return Torture(
        setup=f"cp -a {instance.path} {{dir}}/state",
        command=f"env {here} {flask} backups restore {archive} --strategy overwrite --yes --json",
        recover=f"env {here} {flask} backups operations --json",
        check=f"{sys.executable} -m tests.torture.state {{dir}}/state "
        f"--one-of {before} {fingerprint(after)}",
        environment={**instance.environment, "PYTHONDONTWRITEBYTECODE": "1", "PWD": str(ROOT)},
    )
