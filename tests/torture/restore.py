"""A restore of ten releases that creates, overwrites, leaves and puts back, to be tortured."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.instance import FLASK, ROOT, Instance
from tests.postgres import Server, name_of
from tests.torture.kill_every_syscall import CHANGING, Point, Torture
from tests.torture.state import fingerprint

#: What a database in another process is told and says is a change, too.
_TALK = ("sendto", "recvfrom")
#: The mode in which the connection to the database is lost.
CUT = "ECONNRESET"


def makes_sense(point: Point, mode: str) -> bool:
    """A driver that can not send waits for the last words of the other side, which is there."""
    if mode == "kill":
        return True
    return point.call == "recvfrom" if mode == CUT else point.call not in _TALK


def changed_registry(folder: Path, uri: str | None = None) -> tuple[Instance, Path]:
    """An instance, and an archive of it from before some of it was changed and removed."""
    instance = Instance(folder / "base", uri)
    instance.seed(users=4, packages=5, releases=2, file_size=3000)
    archive = Path(instance.backups("create")["archive"])
    kept = folder / "before.tar"
    shutil.copyfile(archive, kept)
    with instance.database() as connection:
        gone, other, lost, *_ = connection.exec_driver_sql(
            "SELECT releases.id, packages.name, version FROM releases "
            "JOIN packages ON packages.id = package_id WHERE source = 'local' ORDER BY 1"
        ).all()
        for sql in (
            f"DELETE FROM releases WHERE id = {gone[0]}",
            f"UPDATE packages SET private = NOT private WHERE name = '{other[1]}'",
            "DELETE FROM api_keys",
            "UPDATE users SET email = 'other@example.org' WHERE id = 2",
        ):
            connection.exec_driver_sql(sql)
    for file in instance.storage.rglob(f"{gone[1]}-{gone[2]}.tar.gz"):
        file.unlink()
    for file in instance.storage.rglob(f"{other[1]}-{other[2]}.tar.gz"):
        file.write_bytes(b"another file")
    for file in instance.storage.rglob(f"{lost[1]}-{lost[2]}.tar.gz"):
        file.unlink()
    return instance, kept


def torture(folder: Path, server: Server | None = None) -> Torture:
    """Prepared in `folder`: the command is a restore of everything under `overwrite`.

    With a `server` the registry is in it, and each run has a copy of its database.
    """
    instance, archive = changed_registry(folder, None if server is None else server.create())
    before = fingerprint(instance)
    flask = " ".join(FLASK)
    state, uri, copy, drop = "HOST_APP_DATA={dir}/state", None, "true", "true"
    calls = CHANGING
    if server is not None and instance.uri is not None:
        base, calls = name_of(instance.uri), ",".join((CHANGING, *_TALK))
        uri = server.uri("{name}")
        state = f"{state} HOST_APP_DATABASE_URI='{uri}'"
        copy = server.command("createdb", "-T", base, "{name}")
        drop = server.command("dropdb", "--force", "--if-exists", "{name}")
    after = Instance(folder / "after", None if server is None else server.copy(str(instance.uri)))
    shutil.copytree(instance.path, after.path)
    restored = after.backups("restore", str(archive), "--strategy", "overwrite", "--yes")
    assert restored["files"]["placed"]
    assert restored["files"]["replaced"]
    of = "" if uri is None else f"--database '{uri}'"
    return Torture(
        setup=f"cp -a {instance.path} {{dir}}/state && {copy}",
        command=f"env {state} {flask} backups restore {archive} --strategy overwrite --yes --json",
        recover=f"env {state} {flask} backups operations --json",
        check=f"{sys.executable} -m tests.torture.state {{dir}}/state {of} "
        f"--one-of {before} {fingerprint(after)}",
        environment={**instance.environment, "PYTHONDONTWRITEBYTECODE": "1", "PWD": str(ROOT)},
        calls=calls,
        cleanup=drop,
    )
