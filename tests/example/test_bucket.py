"""The example host with its files in a bucket, and copies of its backups elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select

from examples.host_app import create_app
from examples.host_app.models import Package, Release, db
from examples.host_app.seed import seed
from hexhub_backup import verbs
from hexhub_backup.jobs.backups import backups_of
from tests.support.directory import depot_of
from tests.support.hosts import ADA, dump, restored
from tests.support.registry import fields, get, payload
from tests.support.stored import NewStored, root_of


@pytest.fixture
def host(
    tmp_path: Path, bucket_server: NewStored, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Flask]:
    bucket = bucket_server()
    assert bucket is not None
    for name, value in bucket.config.items():
        monkeypatch.setenv(name, value)
    nas = tmp_path / "nas"
    nas.mkdir()
    monkeypatch.setenv("HOST_APP_NAS", str(nas))
    app = create_app(tmp_path / "host", {"HEXHUB_BACKUP_TICK_THREAD": False})
    with app.app_context():
        seed(users=3, packages=3, releases=2, file_size=0)
        yield app
        db.session.remove()


def test_files_come_from_the_bucket_whole_and_in_parts(host: Flask) -> None:
    query = select(Package.name, Release.version).join(Release.package)
    row = db.session.execute(query.where(~Package.private)).first()
    assert row is not None
    name, version = row
    (path,) = root_of(backups_of(host).storage).rglob(f"packages/*/{name}-{version}.tar.gz")
    client = host.test_client()
    address = f"/packages/{name}/releases/{version}/package"
    answer = client.get(address)
    assert answer.data == path.read_bytes()
    assert answer.headers["Content-Disposition"] == f"attachment; filename={name}-{version}.tar"
    part = client.get(address, headers={"Range": "bytes=512-1023"})
    assert (part.status_code, part.data) == (206, answer.data[512:1024])
    assert client.get(address, headers={"Range": "bytes=9999999-"}).status_code == 416
    tag = {"If-None-Match": answer.headers["ETag"]}
    assert (client.get(address, headers=tag).status_code) == 304
    release = fields(fields(payload(client, f"packages/{name}"))[1][0])
    found = get(client, f"tarballs/{name}-{release[1][0].decode()}.tar").data
    assert release[5] == [hashlib.sha256(found).digest()]
    path.unlink()
    assert client.get(address).status_code == 404
    assert len(fields(payload(client, f"packages/{name}"))[1]) == 1


def test_files_in_a_bucket_and_copies_in_a_directory_mix(host: Flask) -> None:
    backups = backups_of(host)
    backups.prepare(host)
    backups.destinations["nas"].init()
    before = dump(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    assert [why for _, why in backups.copying.run_due(host, ADA) if why] == []
    for path in list(root_of(backups.storage).rglob("*.tar.gz")):
        path.unlink()
    # The copy alone is left.
    depot_of(backups).archive(made).unlink()
    restored(host, made)
    cached = {name for name in before[1] if name.startswith("cached/")}
    assert dump(host) == (before[0], {k: v for k, v in before[1].items() if k not in cached})
