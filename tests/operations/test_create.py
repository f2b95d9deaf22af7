"""Create, on the example host, as its admin does it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from tests.support.archives import content
from tests.support.databases import NewDatabase
from tests.support.instance import Instance
from tests.support.patience import PATIENCE
from tests.support.serving import HELD, Hold


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, database: NewDatabase) -> Instance:
    """200 packages, never changed by a test."""
    instance = Instance(tmp_path_factory.mktemp("filled"), database())
    instance.seed(packages=200, releases=2, file_size=4000)
    return instance


def test_an_archive_is_listed_unpacked_and_checked_by_the_tools_of_the_system(
    filled: Instance, tmp_path: Path
) -> None:
    made = filled.backups("create")
    assert made["state"] == "completed"
    assert made["warnings"] == []
    archive = Path(made["archive"])
    assert archive == filled.depot / f"hexhub-backup-{made['id']}.tar"
    assert archive.stat().st_mode & 0o777 == 0o600
    assert filled.depot.stat().st_mode & 0o777 == 0o700
    listed = subprocess.run(
        ["tar", "-tf", archive], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert listed[0] == "users.json"
    assert listed[-2:] == ["SHA256SUMS", "manifest.json"]
    assert made["contents"]["package_files"] == len([n for n in listed if "/" in n]) - 1 - len(
        [name for name in listed if name.startswith("docs/")]
    )
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True)
    checked = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert len(checked.stdout.splitlines()) == len(listed) - 2
    assert filled.leftovers() == []


def test_two_backups_of_one_state_have_the_same_content(filled: Instance) -> None:
    first, second = filled.backups("create"), filled.backups("create")
    assert content(Path(first["archive"])) == content(Path(second["archive"]))


def test_what_was_only_cached_and_what_is_secret_does_not_travel(
    filled: Instance, tmp_path: Path
) -> None:
    archive = Path(filled.backups("create")["archive"])
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True)
    packages = json.loads((tmp_path / "packages/metadata.json").read_text())
    assert {package["source"] for package in packages} == {"local"}
    names = {package["name"] for package in packages}
    with filled.database() as connection:
        rows = connection.exec_driver_sql("SELECT name, source FROM packages").all()
    cached = {name for name, source in rows if source == "cached"}
    assert cached
    assert names == {name for name, _ in rows} - cached
    releases = json.loads((tmp_path / "releases.json").read_text())
    assert {release["package_name"] for release in releases} <= names
    users = json.loads((tmp_path / "users.json").read_text())
    assert not [key for user in users for key in user if "secret" in key or "key" in key]
    assert [user["username"] for user in users if user["totp_enabled"]]


def test_an_empty_registry_makes_a_valid_archive(tmp_path: Path, database: NewDatabase) -> None:
    instance = Instance(tmp_path, database())
    made = instance.backups("create")
    assert set(made["contents"].values()) - {made["contents"]["total_size_bytes"]} == {0}
    assert instance.backups("verify", made["id"])["state"] == "completed"
    other = Instance(tmp_path / "other", database())
    assert other.backups("restore", made["archive"], "--yes")["warnings"] == []


def test_a_file_that_is_missing_is_told_and_listed(tmp_path: Path, database: NewDatabase) -> None:
    instance = Instance(tmp_path, database())
    instance.seed(packages=4, releases=1)
    package = next((instance.storage / "hosted/packages").rglob("*.tar.gz"))
    package.unlink()
    made = instance.backups("create")
    (warning,) = made["warnings"]
    assert warning["code"] == "missing_package_file"
    (row,) = instance.backups("list")
    assert row["warning_count"] == 1
    with tarfile.open(made["archive"]) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        assert json.load(manifest)["missing_files"] == [f"packages/{package.name}"]
    assert instance.backups("verify", made["id"])["warning_count"] == 1


def create_held(instance: Instance, *arguments: str) -> subprocess.Popen[str]:
    """A create that holds at its first file, for as long as `Hold` says: so that it can be met
    while it runs, however quick or slow the machine is."""
    return instance.start("backups", "create", "--json", *arguments, app=HELD)


def wait_for_step(instance: Instance, step: str, process: subprocess.Popen[str]) -> str:
    """The id of the operation that has begun a step."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        for log in (instance.depot / "operations").glob("*.jsonl"):
            text = log.read_text()
            if f'"step": "{step}", "state": "running"' in text and '"result"' not in text:
                return log.stem
    raise AssertionError(f"{step} never began")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, database: NewDatabase) -> Instance:
    instance = Instance(tmp_path_factory.mktemp("small"), database())
    instance.seed(packages=4, releases=2)
    return instance


def test_of_two_that_begin_at_once_one_is_refused_and_told_of_the_other(small: Instance) -> None:
    with Hold(small.path):
        first = create_held(small, "--as", "ada")
        operation = wait_for_step(small, "copy_packages", first)
        error = small.refused("create")
    assert error["code"] == "busy"
    assert f"create {operation} by ada" in error["message"]
    output, _ = first.communicate(timeout=120)
    assert json.loads(output)["id"] == operation


@pytest.mark.parametrize(
    ("number", "state", "reason"),
    [
        (signal.SIGINT, "cancelled", "Ctrl-C"),
        (signal.SIGTERM, "interrupted", "server stopped"),
        (signal.SIGKILL, "interrupted", "stopped unexpectedly"),
    ],
)
def test_a_create_that_is_stopped_leaves_no_archive_and_says_why(
    small: Instance, number: signal.Signals, state: str, reason: str
) -> None:
    before = {row["id"] for row in small.backups("list")}
    with Hold(small.path):
        process = create_held(small)
        operation = wait_for_step(small, "copy_packages", process)
        os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    (row,) = (row for row in small.backups("list") if row["id"] not in before)
    assert (row["id"], row["state"]) == (operation, state)
    assert reason in row["reason"]
    assert not Path(row["archive"]).exists()
    assert small.leftovers() == []
    (last,) = [e for e in small.backups("log", operation) if e["type"] == "result"]
    assert last["state"] == state
    assert small.backups("create")["state"] == "completed"


def test_a_create_is_told_step_by_step_and_kept(filled: Instance) -> None:
    operation = filled.backups("create")["id"]
    events = filled.backups("log", operation)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    steps = [event["step"] for event in events if event["type"] == "step"]
    assert list(dict.fromkeys(steps)) == [
        "check_space",
        "export_users",
        "export_packages",
        "export_releases",
        "export_owners",
        "copy_packages",
        "copy_docs",
        "write_manifest",
        "verify",
        "publish",
    ]
    percents = [event["percent"] for event in events if event["type"] == "progress"]
    assert percents == sorted(percents)
    assert percents[-1] == 100.0
    assert events[0]["type"] == "state"
    assert events[-1]["type"] == "result"
    assert events[-1]["state"] == "completed"
