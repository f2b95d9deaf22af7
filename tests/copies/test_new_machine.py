"""The day for which there are copies: the server is gone, and all that it had comes back."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from hexhub_backup import DirectoryDestination
from hexhub_backup.destinations.encryption import fingerprint
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.schedule.tick import next_at, tick
from tests.support.age import age_key
from tests.support.directory import depot_of
from tests.support.hosts import make_app
from tests.support.instance import Instance
from tests.support.manual import PAGES, section


def contents(archive: Path) -> dict[str, Any]:
    """All that an archive holds, but for what no archive restores: who is without a second factor
    has none on."""
    found: dict[str, Any] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found[member.name] = file.read()
    for name in ("manifest.json", "SHA256SUMS"):
        del found[name]
    users = json.loads(found["users.json"])
    found["users.json"] = [{**user, "totp_enabled": False} for user in users]
    return found


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_a_new_machine_has_all_again_from_the_bucket_the_key_and_the_manual(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, encrypted: bool
) -> None:
    """Nothing else is left: no database and no directory."""
    key = age_key(tmp_path / "key.txt")
    if encrypted:
        monkeypatch.setenv("HOST_APP_AGE_RECIPIENTS", key.recipient)
    lost = Instance(tmp_path / "lost")
    lost.seed(users=5, packages=4, releases=2, file_size=2000)
    made = lost.backups("create")
    assert [copy["state"] for copy in made["copies"]] == ["copied"]
    assert [bool(copy["recipients"]) for copy in made["copies"]] == [encrypted]
    before = contents(Path(made["archive"]))
    lost.path.rename(tmp_path / "gone")
    # The server needs no public key to read what it has made.
    monkeypatch.delenv("HOST_APP_AGE_RECIPIENTS", raising=False)

    text = section(PAGES["move"], "The old machine is lost")
    lines = re.findall(r"^\$ flask (backups .*)$", text, re.MULTILINE)
    assert len(lines) == 3
    new = Instance(tmp_path / "new")
    for line in lines:
        command = re.sub(r"\d{8}-\d{6}-[0-9a-f]{6}", made["id"], line)
        done = new.run(*shlex.split(command.replace("key.txt", str(key.identity))))
        assert done.returncode == 0, done.stdout + done.stderr
    after = contents(Path(new.backups("create")["archive"]))
    assert after == before
    shown = new.backups("show", made["id"])
    assert (shown["elsewhere"], shown["file_missing"]) == ("offsite", True)


@pytest.mark.parametrize("place", ["nas", "offsite"])
def test_the_whole_circle_from_the_schedule_to_the_restored_registry(
    tmp_path: Path,
    nas: DirectoryDestination,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    key = age_key(tmp_path / "key.txt")
    monkeypatch.setenv("HOST_APP_AGE_RECIPIENTS", key.recipient)
    identity = ("--identity", str(key.identity))

    # A night: nobody does anything.
    old = make_app(tmp_path / "old", {"HEXHUB_BACKUP_SCHEDULE": "daily 03:00"})
    with old.app_context():
        assert tick(old) == []
        due = next_at(old)["backup"]
        done = tick(old, clock=lambda: due)
        assert [(each.job, each.error) for each in done] == [
            ("backup", None),
            ("copy", None),
            ("copy", None),
            ("verification", None),
        ]
        (backup,) = backups_of(old).history.backups()
        assert backup.created_by == "schedule"
        assert {copy.place: copy.recipients for copy in backup.copies} == {
            "nas": (fingerprint(key.recipient),),
            "offsite": (fingerprint(key.recipient),),
        }
        archive = depot_of(backups_of(old)).archive(backup.id)
        before, digest = contents(archive), hashlib.sha256(archive.read_bytes()).hexdigest()

    # Then the server is gone, with its database and its backups, and with it one of the places.
    shutil.rmtree(tmp_path / "old")
    if place == "offsite":
        shutil.rmtree(nas.path)
        monkeypatch.delenv("HOST_APP_NAS")
    else:
        monkeypatch.delenv("HOST_APP_BUCKET")

    new = Instance(tmp_path / "new")
    assert new.backups("destinations", "scan")["adopted"] == [backup.id]
    assert new.backups("destinations", "take-over", "--yes")["taken_over"] == 1
    problems = json.loads(new.run("backups", "status", "--json").stdout)["problems"]
    assert "key_not_proved" in {each["code"] for each in problems}
    (proof,) = new.backups("keys", "check", *identity)["places"]
    assert (proof["place"], proof["backup"], proof["opened"]) == (place, backup.id, True)
    assert new.refused("inspect", backup.id)["code"] == "wrong_key"
    plan = new.backups("inspect", backup.id, *identity)["plan"]
    arguments = ("--plan-hash", plan["hash"], "--grant-protected", "--yes")
    assert new.refused("restore", backup.id, *arguments, *identity)["code"] == "changed"
    plan = new.backups("inspect", backup.id, "--grant-protected", *identity)["plan"]
    arguments = ("--plan-hash", plan["hash"], "--grant-protected", "--yes")
    done_here = new.backups("restore", backup.id, *arguments, *identity)
    assert done_here["state"] == "completed"

    assert contents(Path(new.backups("create")["archive"])) == before
    new.backups("bring-back", backup.id, *identity)
    back = new.depot / f"hexhub-backup-{backup.id}.tar"
    assert hashlib.sha256(back.read_bytes()).hexdigest() == digest
    status = json.loads(new.run("backups", "status", "--json").stdout)
    assert (status["status"], status["problems"]) == ("fine", [])
