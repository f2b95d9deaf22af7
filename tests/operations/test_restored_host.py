"""A host that came out of an archive is used: people log in, files are served."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

from examples.host_app import create_app
from hexhub_backup import verbs
from hexhub_backup.jobs.backups import backups_of
from tests.support.directory import depot_of
from tests.support.hosts import ADA, planned
from tests.support.instance import DATA
from tests.support.people import sign_in


def restored(folder: Path, archive: Path) -> Any:
    app = create_app(folder)
    with app.app_context():
        backups = backups_of(app)
        backups.prepare(app)
        backups.orders.run(app, planned(app, str(archive)))
    return app


def test_a_user_of_the_first_logs_in_at_the_second(host: Any, tmp_path: Path) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    second = restored(tmp_path / "second", depot_of(backups).archive(made))
    client = second.test_client()
    assert sign_in(client, "admin").status_code == 303
    assert client.get("/admin/").status_code == 200
    assert sign_in(second.test_client(), "admin", "wrong").status_code != 303


def test_the_files_of_an_archive_of_hexhub_are_served(tmp_path: Path) -> None:
    archive = DATA / "hexhub-small.tar"
    client = restored(tmp_path / "host", archive).test_client()
    with tarfile.open(archive) as tar:
        for kind, folder in (("package", "packages"), ("docs", "docs")):
            member = tar.extractfile(f"{folder}/alpha_core-1.0.0.tar.gz")
            assert member is not None
            served = client.get(f"/packages/alpha_core/releases/1.0.0/{kind}")
            assert served.status_code == 200
            assert served.data == member.read()
            served.close()
    missing = client.get("/packages/zeta_missing/releases/3.1.0/package")
    assert missing.status_code == 404
