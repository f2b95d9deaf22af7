"""A stored file that is a symbolic link: backed up, replaced and brought back."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from examples.host_app.models import Release, db
from hexhub_backup import verbs
from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.errors import StorageError
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.storage.base import Storage
from tests.support.hosts import ADA, restored


@pytest.fixture
def stored(host: Flask) -> Path:
    """The package file of a release, which is a relative link to another folder."""
    storage: Storage = backups_of(host).storage
    release = db.session.query(Release).first()
    assert release is not None
    file = ReleaseFile("package", release.package.name, release.version)
    path = storage.path(file)  # type: ignore[attr-defined]
    target = path.parent.parent / "pool" / "content"
    target.parent.mkdir()
    path.rename(target)
    path.symlink_to("../pool/content")
    assert isinstance(path, Path)
    return path


@pytest.mark.parametrize("absolute", [False, True])
def test_a_restore_over_a_link_and_its_undo(host: Flask, stored: Path, absolute: bool) -> None:
    backups = backups_of(host)
    target = stored.resolve()
    if absolute:
        stored.unlink()
        stored.symlink_to(target)
    made = backups.orders.run(host, verbs.create.order(ADA))
    assert made.outcome["warning_count"] == 0
    before = target.read_bytes()
    target.write_bytes(b"changed")
    done = restored(host, made.operation)
    assert done.outcome["files"]["replaced"] == 1
    assert stored.read_bytes() == before
    # Others may share what it led to.
    assert target.read_bytes() == b"changed"
    undone = backups.orders.run(host, verbs.undo.order(backups.history, ADA, done.operation))
    assert undone.outcome["files"]["brought_back"] == 1
    assert stored.read_bytes() == target.read_bytes() == b"changed"


def test_a_link_to_nothing_is_named(host: Flask, stored: Path) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    stored.resolve().unlink()
    with pytest.raises(StorageError, match="is a symbolic link to nothing"):
        restored(host, made)
    assert stored.is_symlink()
    stored.unlink()
    restored(host, made)
    assert stored.read_bytes()
