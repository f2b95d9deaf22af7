"""The page beside a copy: whoever has nothing but that reads the copy by its commands."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import shlex
import shutil
import subprocess
import tarfile
from html import unescape
from pathlib import Path

import pytest
from flask import Flask

from examples.host_app.models import User, db
from hexhub_backup import DirectoryDestination, verbs
from hexhub_backup.destinations.encryption import fingerprint
from hexhub_backup.history.models import Copy
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.copy_page import copy_page
from hexhub_backup.operations.sidecar import Sidecar, archive_file, page_file, sidecar_file
from tests.support.age import Key, age_key, ssh_key
from tests.support.directory import depot_of
from tests.support.encrypted import content, copied, use
from tests.support.hosts import ADA
from tests.support.pages import Check

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(params=["age", "ssh", None])
def key(tmp_path: Path, request: pytest.FixtureRequest) -> Key | None:
    if request.param is None:
        return None
    return age_key(tmp_path / "key.txt") if request.param == "age" else ssh_key(tmp_path / "id")


@pytest.fixture
def copy(app: Flask, backups: Backups, key: Key | None) -> Copy:
    use(backups, *([key] if key else []))
    return copied(app, backups)["nas"]


def commands(page: str) -> list[str]:
    """Those of each section."""
    return [unescape(each) for each in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)]


def run(steps: list[str], folder: Path) -> str:
    """What a shell says to the commands there."""
    done = subprocess.run(
        ["bash", "-e"], input="\n".join(steps), cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_commands_check_and_open_the_copy(
    app: Flask,
    backups: Backups,
    nas: DirectoryDestination,
    copy: Copy,
    key: Key | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = (nas.path / page_file(copy.backup_id)).read_text()
    *steps, restore = commands(page)
    folder = tmp_path / "nothing but the copy"
    folder.mkdir()
    shutil.copy(nas.path / str(copy.file), folder)
    if key:
        shutil.copy(key.identity, folder / "key.txt")
    said = run(steps, folder)
    assert f"{copy.file}: OK" in said
    assert f"{archive_file(copy.backup_id)}: OK" in said
    assert "users.json: OK" in said
    unpacked = folder / f"hexhub-backup-{copy.backup_id}"
    with tarfile.open(depot_of(backups).archive(copy.backup_id)) as archive:
        members = [each for each in archive if each.isfile()]
        for member in members:
            file = archive.extractfile(member)
            assert file is not None
            assert (unpacked / member.name).read_bytes() == file.read()
    assert len([each for each in unpacked.rglob("*") if each.is_file()]) == len(members)
    program, *arguments = shlex.split(restore)
    assert program == "flask"
    monkeypatch.chdir(folder)
    restored = app.test_cli_runner().invoke(args=[*arguments, "--yes"])
    assert restored.exit_code == 0, restored.output


def test_it_says_what_the_copy_is_and_names_nobody(
    backups: Backups, copy: Copy, key: Key | None
) -> None:
    archive = depot_of(backups).archive(copy.backup_id).read_bytes()
    for place in ("nas", "offsite"):
        stored = content(backups, place, str(backups.catalog.copies.of(copy.backup_id)[0].file))
        page = content(backups, place, page_file(copy.backup_id)).decode()
        text = unescape(page)
        assert hashlib.sha256(archive).hexdigest() in text
        assert hashlib.sha256(stored).hexdigest() in text
        assert re.search(r"Holds</dt><dd>\d+ users, \d+ packages, ", text)
        assert ("age -d" in text) is (key is not None)
        if key:
            assert fingerprint(key.recipient) in text
            assert key.recipient not in text
        names = {each.username for each in db.session.query(User)}
        assert not [name for name in {*names, ADA.actor} if re.search(rf"\b{name}\b", text)]
        check = Check()
        check.feed(page)
        assert check.faults == ["inline style or script in style"]


def test_everything_on_it_is_escaped(backups: Backups, copy: Copy, key: Key | None) -> None:
    sidecar = Sidecar.parse(content(backups, "nas", sidecar_file(copy.backup_id)))
    bad = "<script>alert(1)</script>&\"'; $(id)"
    manifest = {**sidecar.manifest, "generator": bad, "hex_hub_version": bad}
    file = f"{bad}.tar{'.age' if key else ''}"
    page = copy_page(
        dataclasses.replace(sidecar, file=file, recipients=(bad,), manifest=manifest)
    ).decode()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#x27;; $(id)") >= 4


def test_no_name_of_a_file_is_a_command(
    backups: Backups, copy: Copy, key: Key | None, tmp_path: Path
) -> None:
    sidecar = Sidecar.parse(content(backups, "nas", sidecar_file(copy.backup_id)))
    name = "a 'b'; touch run; \"$(touch run)\" &.tar"
    plain = depot_of(backups).archive(copy.backup_id).read_bytes()
    page = copy_page(
        dataclasses.replace(
            sidecar, file=name, stored_sha256=sidecar.archive_sha256, stored_size=len(plain)
        )
    ).decode()
    (tmp_path / name).write_bytes(plain)
    *steps, _ = commands(page)
    run(steps, tmp_path)
    assert (tmp_path / name.removesuffix(".tar") / "manifest.json").exists()
    assert not (tmp_path / "run").exists()


def test_it_goes_with_the_copy_and_is_no_copy_itself(
    app: Flask, backups: Backups, nas: DirectoryDestination, copy: Copy
) -> None:
    result = backups.orders.run(app, verbs.scan.order(ADA, ["nas", "offsite"]))
    assert result.outcome["adopted"] == []
    assert result.outcome["places"]["nas"] == {"copies": 1, "new": 0, "missing": 0}
    backups.history.delete(app, ADA, copy.backup_id, everywhere=True)
    backups.orders.run(app, verbs.delete_copies.order(ADA))
    for place in ("nas", "offsite"):
        assert [each.name for each in backups.destinations[place].list()] == []
    nas.put(page_file(copy.backup_id), io.BytesIO(b"alone"), 5)
    result = backups.orders.run(app, verbs.scan.order(ADA, ["nas"]))
    assert result.outcome["adopted"] == []
