"""What the command line says, to people and to programs."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import User, db, now
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import backups_of
from tests.support.commands import cli, created, refused
from tests.support.directory import depot_of
from tests.support.instance import DATA, FLASK, ROOT, Instance
from tests.support.patience import PATIENCE

SMALL = DATA / "hexhub-small.tar"
ESCAPE = "\x1b[2J"
SHOWN = r"\x1b[2J"


def add_user(name: str, **values: Any) -> None:
    user = User(username=name, email=f"{name}@example.org", password_hash="!", **values)
    db.session.add(user)
    db.session.commit()


def change(name: str, **values: Any) -> None:
    db.session.execute(sa.update(User).where(User.username == name).values(values))
    db.session.commit()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Instance:
    made = Instance(tmp_path_factory.mktemp("cli") / "host")
    made.seed(users=2, packages=1, releases=1, file_size=0)
    return made


# names from elsewhere


def test_no_control_character_of_a_name_reaches_the_terminal(host: Flask) -> None:
    add_user(f"eve{ESCAPE}")
    backup = created(host)
    change(f"eve{ESCAPE}", email="other@example.org")
    assert cli(host, "create", "--as", f"mallory{ESCAPE}").exit_code == 0
    runs = [
        cli(host, "restore", backup),
        cli(host, "list"),
        cli(host, "operations"),
        cli(host, "show", ESCAPE),
        cli(host, "verify", f"/nowhere/{ESCAPE}.tar"),
        cli(host, "list", "--json"),
    ]
    for done in runs:
        assert "\x1b" not in done.output
    assert f"user eve{SHOWN}: differs in email" in runs[0].stdout
    assert f"mallory{SHOWN}" in runs[1].stdout
    assert json.loads(runs[5].stdout)[0]["created_by"] == f"mallory{ESCAPE}"


def test_a_name_that_no_locale_can_show_is_an_escape(shell: Instance) -> None:
    shell.backups("create", "--as", "Łucja")
    done = subprocess.run(
        [*FLASK, "backups", "list"],
        cwd=ROOT,
        env={**shell.environment, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u0141ucja" in done.stdout


def test_bytes_that_are_no_text_are_refused_or_left_out(host: Flask, shell: Instance) -> None:
    for arguments in (["verify", "/tmp/\udcff.tar"], ["show", "\udcff"], ["log", "\udcff"]):
        error = refused(host, *arguments)
        assert error["code"] == "not_found"
        assert "rename the file" in error["message"]
    done = shell.run("backups", "verify", "/tmp/\udcff.tar")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert r"/tmp/\udcff.tar can't be used" in done.stderr
    shell.backups("create", "--as", "ad\udcffa")
    assert shell.backups("list")[0]["created_by"] == "ad?a"


def test_a_user_id_without_a_name_acts_under_its_number(
    host: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_123)
    assert cli(host, "create").exit_code == 0
    assert "cli:uid 4000123" in cli(host, "list").stdout


# questions


def test_a_program_is_never_asked(host: Flask) -> None:
    backup = created(host)
    before = len(backups_of(host).history.operations())
    for verb in ("restore", "delete"):
        error = refused(host, verb, backup)
        assert error["code"] == "cancelled"
        assert error["message"].endswith("add --yes.")
    assert len(backups_of(host).history.operations()) == before
    assert backups_of(host).history.backup(backup).state == "completed"


@pytest.mark.parametrize("verb", ["restore", "delete"])
def test_a_question_without_an_answer_is_no(host: Flask, verb: str) -> None:
    backup = created(host)
    done = cli(host, verb, backup)
    assert done.exit_code == 1
    assert "because the question had no answer: add --yes." in done.stderr
    assert "Aborted" not in done.output
    assert backups_of(host).history.backup(backup).state == "completed"


def test_at_a_terminal_json_comes_after_plan_and_question(shell: Instance) -> None:
    backup = shell.backups("create")["id"]
    mine, theirs = pty.openpty()
    with subprocess.Popen(
        [*FLASK, "backups", "restore", backup, "--json"],
        cwd=ROOT,
        env=shell.environment,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.write(mine, b"y\n")
        stdout, stderr = process.communicate(timeout=PATIENCE)
    os.close(mine)
    os.close(theirs)
    assert json.loads(stdout)["state"] == "completed"
    assert "users:    2 unchanged" in stderr
    assert "Restore this with the strategy skip?" in stderr


# output that fails


def archives(shell: Instance) -> set[Path]:
    return set(shell.depot.glob("hexhub-backup-*.tar"))


def into(shell: Instance, stdout: int, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [*FLASK, "backups", *arguments],
        cwd=ROOT,
        env=shell.environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
    )
    os.close(stdout)
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", [["list", "--json"], ["create"]])
def test_who_stops_reading_stops_nothing(shell: Instance, arguments: Sequence[str]) -> None:
    before = archives(shell)
    reader, writer = os.pipe()
    os.close(reader)
    assert into(shell, writer, *arguments) == (0, "")
    assert len(archives(shell) - before) == (arguments == ["create"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_can_not_be_written_is_told_apart_from_the_work(shell: Instance) -> None:
    before = archives(shell)
    code, stderr = into(shell, os.open("/dev/full", os.O_WRONLY), "create")
    assert code == 1
    assert "Standard output could not be written (No space left on device)" in stderr
    assert "Nothing was changed" not in stderr
    assert len(archives(shell) - before) == 1


# what nobody expected


BROKEN = """
from examples.host_app import create_app as host

def create_app():
    app = host()
    app.extensions["hexhub_backup"].storage = None
    return app
"""


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_unexpected_error_ends_in_words(
    shell: Instance, tmp_path: Path, options: Sequence[str]
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(BROKEN)

    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flask", "--app", broken, *flags, "backups", "create", *options],
            cwd=ROOT,
            env=shell.environment,
            capture_output=True,
            text=True,
        )

    done = run()
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(
        r"^Log: the create ended .*: AttributeError in .*, line \d+$", done.stderr, re.M
    )
    if options:
        assert json.loads(done.stdout)["error"]["code"] == "failed"
    else:
        assert "Error: The create ended with an unexpected error" in done.stderr
        assert "Traceback" in run("--debug").stderr


# the plan


@pytest.fixture
def changed(host: Flask) -> tuple[Flask, str]:
    """A registry, and a backup from before it changed."""
    for number in range(23):
        add_user(f"many{number:02}")
    add_user("root", is_admin=True)
    add_user("moved")
    backup = created(host)
    for number in range(23):
        change(f"many{number:02}", email=f"new{number}@example.org")
    change("root", is_admin=False)
    change("moved", username="newcomer")
    file, *_ = (Path(host.config["HOST_APP_STORAGE"]) / "hosted/packages").rglob("*.tar*")
    file.write_bytes(b"other")
    return host, backup


def test_the_plan_is_shown_before_the_question(changed: tuple[Flask, str]) -> None:
    app, backup = changed
    done = cli(app, "restore", backup, "--strategy", "overwrite", "--grant-protected", typed="n\n")
    assert done.exit_code == 1
    assert "25 records will be replaced. Type the number to go on: " in done.stderr
    assert "Error: Nothing was restored, because the number that was typed is " in done.stderr
    assert "Conflicts that are replaced:" in done.stdout
    assert (
        "  user many19: differs in email\n    email: new19@example.org → many19@ex" in done.stdout
    )
    assert "\n  and 4 more\n" in done.stdout
    assert "many20" not in done.stdout
    assert re.search(r"^  user moved: .*newcomer.*email", done.stdout, re.M)
    assert re.search(
        r"^  release .*: its package file is replaced: 5 bytes here, ", done.stdout, re.M
    )
    assert "The rights of 1 account change:\n  user root: is_admin " in done.stdout
    assert list(backups_of(app).depot.path.glob("plans/*")) == []


def test_a_file_that_differs_and_stays_is_shown_too(changed: tuple[Flask, str]) -> None:
    app, backup = changed
    said = cli(app, "restore", backup, typed="n\n").stdout
    assert "Conflicts that stay as they are:" in said
    assert re.search(r"^  release .*: differs in its files$", said, re.M)
    assert re.search(r"^  release .*: its package file stays as it is: 5 bytes here", said, re.M)
    assert "1 account has other rights in the archive:\n  user root" not in said
    assert "The rights of 1 account change" not in said


def test_whose_log_in_changes_is_said_and_granted_also_for_an_undo(host: Flask) -> None:
    add_user("root", is_admin=True)
    add_user("ann")
    backup = created(host)
    change("root", password_hash="new", deactivated_at=now())
    change("ann", email="ann@new.example")
    overwrite = ("restore", backup, "--strategy", "overwrite", "--yes")
    kept = cli(host, *overwrite).stdout
    assert (
        "1 account with administrator rights stays as it is:\n"
        "  user root: it holds a protected right here, and stays"
    ) in kept
    assert "The log-in of 1 account changes:\n  user ann: from the archive: e-m" in kept
    assert "user root: an account that holds a protected right, which stays as it is" in kept
    granted = cli(host, *overwrite, "--grant-protected").stdout
    assert (
        "The log-in of 1 administrator changes:\n"
        "  user root: from the archive: password (the archived one works again), deactivation (it "
        "is active again)"
    ) in granted
    (operation,) = re.findall(r"'flask backups undo (\S+)'", granted)
    error = refused(host, "undo", operation, "--yes")
    assert error["code"] == "not_granted"
    assert [fault["record"] for fault in error["faults"]] == ["user root"]
    assert cli(host, "undo", operation, "--yes", "--grant-protected").exit_code == 0


def test_a_program_gets_the_plan_with_the_outcome(changed: tuple[Flask, str]) -> None:
    app, backup = changed
    options = ["--strategy", "overwrite", "--grant-protected", "--yes", "--json"]
    plan = json.loads(cli(app, "restore", backup, *options).stdout)["plan"]
    assert plan["records"]["users"]["conflict"] == 24
    assert plan["conflicts"]["users"]["count"] == 24
    assert {
        "record": "user many22",
        "fields": ["email"],
        "changes": {"email": ["new22@example.org", "many22@example.org"]},
        "message": "differs in email",
    } in plan["conflicts"]["users"]["first"]
    assert [entry["record"] for entry in plan["blocked"]["users"]["first"]] == ["user moved"]
    assert plan["files"] == {"place": 0, "replace": 1}
    assert plan["notes"]["package_file_differs"]["count"] == 1
    assert plan["notes"]["right_changed"]["first"] == [
        {"record": "user root", "message": "is_admin comes from the archive"}
    ]
    assert plan["replaces"] == 25


# words


def test_each_warning_is_said_once(shell: Instance) -> None:
    done = shell.run("backups", "verify", str(SMALL))
    assert (done.returncode, done.stderr) == (0, "")
    warnings = [line for line in done.stdout.splitlines() if line.startswith("Warning: ")]
    assert len(warnings) == len(set(warnings)) == 6


def test_what_could_not_be_checked_is_not_called_intact(host: Flask) -> None:
    said = cli(host, "verify", str(SMALL)).stdout
    assert f"{SMALL} is readable, but could not be checked: it has no checksums" in said
    assert "intact" not in said
    assert "is intact: 4 users, 3 packages" in cli(host, "verify", created(host)).stdout


def test_a_backup_is_described_for_people(host: Flask) -> None:
    backup = created(host)
    said = cli(host, "show", backup).stdout
    assert re.search(r"^created: +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC by ada$", said, re.M)
    assert re.search(r"^size: +\d+\.\d kB$", said, re.M)
    assert re.search(r"^integrity: +intact \(.* UTC\)$", said, re.M)
    assert "missing" not in said
    (line,) = cli(host, "list").stdout.splitlines()
    assert re.search(r" \d\d:\d\d:\d\d UTC  completed .* until \d{4}-\d\d-\d\d +ada$", line)
    depot_of(backups_of(host)).archive(backup).unlink()
    assert "(the file is missing)" in cli(host, "show", backup).stdout
    assert "file missing" in cli(host, "list").stdout


def test_a_found_archive_is_not_checked_yet(host: Flask) -> None:
    shutil.copy(SMALL, depot_of(backups_of(host)).archive("found"))
    backups_of(host).prepare(host)
    said = cli(host, "show", "found").stdout
    assert "integrity: not verified yet" in said
    assert cli(host, "verify", "found").exit_code == 0
    assert "integrity: readable, but without checksums" in cli(host, "show", "found").stdout


def test_the_list_says_why_a_backup_failed(host: Flask) -> None:
    backup = created(host)
    why = f"the row {ESCAPE} is in the way"
    backups_of(host).catalog.update_backup(backup, state="failed", reason=why)
    said = cli(host, "list").stdout
    assert re.search(r" failed .*\n    the row .* is in the way\n", said)
    assert SHOWN in said


def test_keeping_and_pruning_count_and_date(host: Flask) -> None:
    backup = created(host)
    day = backups_of(host).history.backup(backup).created_at + timedelta(days=30)
    assert cli(host, "keep", backup).stdout == f"Backup {backup} is kept.\n"
    assert "expires:   never (it is kept)" in cli(host, "show", backup).stdout
    said = cli(host, "keep", "--off", backup).stdout
    assert said == f"Backup {backup} expires on {day:%Y-%m-%d}.\n"
    created(host)
    backups_of(host).catalog.update_backup(backup, created_at=utc_now() - timedelta(days=31))
    says, newer, older = cli(host, "prune", "--dry-run").stdout.splitlines()
    assert says == "1 backup would be deleted."
    assert re.fullmatch(r"\S+  [\d: -]+ UTC  kept: days", newer)
    assert re.fullmatch(rf"{backup}  [\d: -]+ UTC  would be deleted", older)
    assert cli(host, "prune").stdout == "1 backup deleted.\n"
    said = cli(host, "prune", "--dry-run").stdout
    assert said == f"0 backups would be deleted.\n{newer}\n"


def test_a_single_fault_is_said_once(host: Flask, tmp_path: Path) -> None:
    path = tmp_path / "no.tar"
    path.write_text("no tar")
    done = cli(host, "verify", str(path))
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1


# monitoring


def test_status_has_the_exit_codes_of_a_monitoring_plugin(host: Flask) -> None:
    run = cli(host, "status")
    assert (run.exit_code, run.stdout) == (2, "There is no good backup. Create one now.\n")
    backup = created(host)
    run = cli(host, "status")
    assert (run.exit_code, run.stdout.splitlines()) == (
        0,
        [
            "The registry is protected.",
            "The latest good backup was made just now, and was verified just now.",
        ],
    )
    backups_of(host).catalog.update_backup(created(host), state="failed", reason="No room.")
    run = cli(host, "status", "--json")
    document = json.loads(run.stdout)
    assert run.exit_code == 1
    assert document["status"] == "warning"
    assert [each["code"] for each in document["problems"]] == ["last_failed"]
    assert document["latest_good_backup"] == backup


def test_a_status_that_cannot_be_told_is_critical(host: Flask) -> None:
    db.session.execute(sa.text("DROP TABLE hexhub_backup_backups"))
    db.session.commit()
    run = cli(host, "status")
    assert run.exit_code == 2
    assert "history could not be read" in run.stderr
