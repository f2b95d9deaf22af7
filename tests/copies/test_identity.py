"""A private key opens encrypted copies and files, and is kept nowhere."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from flask import Flask

from examples.host_app.models import db
from hexhub_backup import DirectoryDestination, verbs
from hexhub_backup.destinations.encryption import MAX_IDENTITY, Identities, Recipients, fingerprint
from hexhub_backup.errors import ArchiveError, WrongKeyError
from hexhub_backup.history.models import Copy
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.sidecar import archive_file
from tests.support.age import Key, age_key, ssh_key
from tests.support.commands import cli, refused
from tests.support.directory import depot_of
from tests.support.encrypted import Zeros, copied, use
from tests.support.hosts import ADA, change_something, dump
from tests.support.kept import kept, told_by_signals

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(params=["age", "ssh"])
def key(tmp_path: Path, request: pytest.FixtureRequest) -> Key:
    return age_key(tmp_path / "key.txt") if request.param == "age" else ssh_key(tmp_path / "id")


@pytest.fixture
def copy(app: Flask, backups: Backups, key: Key) -> Copy:
    """A copy of a backup whose file is lost."""
    use(backups, key)
    found = copied(app, backups)["nas"]
    depot_of(backups).archive(found.backup_id).unlink()
    return found


def done(app: Flask, *arguments: str) -> dict[str, object]:
    """What a command prints that has to succeed."""
    result = cli(app, *arguments, "--json")
    assert result.exit_code == 0, result.stdout + result.stderr
    found: dict[str, object] = json.loads(result.stdout)
    return found


def left(backups: Backups) -> list[Path]:
    """What no command may leave behind it: the plain archive."""
    return [*backups.depot.path.glob("uploads/*"), *backups.depot.path.glob("plans/*")]


def test_a_registry_is_restored_from_an_encrypted_copy(
    app: Flask, backups: Backups, copy: Copy, key: Key
) -> None:
    before = dump(app)
    change_something()
    db.session.remove()
    identity = ("--identity", str(key.identity))
    plan = done(app, "inspect", copy.backup_id, "--strategy", "overwrite", *identity)
    assert plan["archive"] == f"{copy.backup_id} in nas"
    assert left(backups) == []
    arguments = ("restore", copy.backup_id, "--strategy", "overwrite", "--yes", *identity)
    assert done(app, *arguments, "--grant-protected")["state"] == "completed"
    assert dump(app) == before
    assert left(backups) == []


def test_a_copy_is_opened_and_checked_and_brought_back(
    app: Flask, backups: Backups, copy: Copy, key: Key
) -> None:
    identity = ("--identity", str(key.identity))
    done(app, "verify", copy.backup_id, "--from", "offsite", *identity)
    intact = {each.place: each.intact for each in backups.catalog.copies.of(copy.backup_id)}
    assert intact == {"nas": None, "offsite": True}
    done(app, "bring-back", copy.backup_id, "--from", "nas", *identity)
    archive = depot_of(backups).archive(copy.backup_id)
    assert archive.stat().st_mode & 0o777 == 0o600
    assert not backups.history.backup(copy.backup_id).file_missing
    done(app, "verify", copy.backup_id)
    assert left(backups) == []


def test_a_file_that_is_encrypted_is_opened(
    app: Flask, backups: Backups, nas: DirectoryDestination, copy: Copy, key: Key
) -> None:
    path = str(nas.path / str(copy.file))
    for command in ("verify", "inspect"):
        error = refused(app, command, path)
        assert error["code"] == "wrong_key"
        assert "--identity" in error["message"]
        assert done(app, command, path, "--identity", str(key.identity))["archive"] == path
    assert left(backups) == []


def test_the_copy_that_a_key_opens_is_chosen(
    app: Flask, backups: Backups, nas: DirectoryDestination, key: Key, tmp_path: Path
) -> None:
    other = age_key(tmp_path / "other")
    own = DirectoryDestination("nas", nas.path, recipients=[other.recipient])
    use(backups, key)
    backups.destinations = {**backups.destinations, "nas": own}
    backup = copied(app, backups)["nas"].backup_id
    identity = ("--identity", str(key.identity))
    # Also where the archive is on this server.
    assert done(app, "inspect", backup, "--from", "offsite", *identity)["archive"] == (
        f"{backup} in offsite"
    )
    depot_of(backups).archive(backup).unlink()
    for command in ("inspect", "restore"):
        yes = ["--yes"] if command == "restore" else []
        assert refused(app, command, backup, *yes, *identity)["code"] == "wrong_key"
        assert refused(app, command, backup, "--from", "offsite", *yes)["code"] == "wrong_key"
        found = done(app, command, backup, "--from", "offsite", *yes, *identity)
        assert found["archive"] == f"{backup} in offsite"
    assert refused(app, "inspect", backup, "--from", "nowhere")["code"] == "not_found"
    assert left(backups) == []


@pytest.mark.parametrize("what", ["copy", "file"])
def test_a_wrong_key_is_one_clear_error_that_names_the_recipients(
    app: Flask,
    backups: Backups,
    nas: DirectoryDestination,
    copy: Copy,
    key: Key,
    tmp_path: Path,
    what: str,
) -> None:
    name = copy.backup_id if what == "copy" else str(nas.path / str(copy.file))
    for wrong in (age_key(tmp_path / "other"), ssh_key(tmp_path / "another")):
        for command in ("inspect", "verify"):
            error = refused(app, command, name, "--identity", str(wrong.identity))
            assert error["code"] == "wrong_key"
            assert fingerprint(key.recipient) in error["message"]
    assert left(backups) == []
    assert backups.history.backup(copy.backup_id).copies[0].intact is None
    if what == "file":
        Path(name).with_suffix("").with_suffix(".json").unlink()
        error = refused(app, "inspect", name, "--identity", str(wrong.identity))
        assert error["code"] == "wrong_key"
        assert "SHA256" not in error["message"]


@pytest.mark.parametrize(
    "content", [b"", b"# nothing\n", b"AGE-SECRET-KEY-1XYZ", b"\xff", b"-----BEGIN X"]
)
def test_what_is_no_key_is_refused_and_not_told(
    app: Flask, copy: Copy, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "no key"
    path.write_bytes(content)
    error = refused(app, "inspect", copy.backup_id, "--identity", str(path))
    assert error["code"] == "wrong_key"
    assert "XYZ" not in error["message"]


def test_a_key_of_any_size_is_not_read(key: Key) -> None:
    content = key.identity.read_bytes()
    Identities(content)
    with pytest.raises(WrongKeyError):
        Identities(content + b"\n" * MAX_IDENTITY)


def test_a_damaged_copy_is_found_while_it_is_opened(
    app: Flask, backups: Backups, nas: DirectoryDestination, copy: Copy, key: Key
) -> None:
    path = nas.path / str(copy.file)
    stored = bytearray(path.read_bytes())
    stored[-20] ^= 1
    path.write_bytes(stored)
    identity = ("--identity", str(key.identity))
    assert refused(app, "bring-back", copy.backup_id, "--from", "nas", *identity)["code"] == (
        "bad_archive"
    )
    intact = {each.place: each.intact for each in backups.catalog.copies.of(copy.backup_id)}
    assert intact == {"nas": False, "offsite": None}
    assert left(backups) == []


def test_another_archive_for_the_same_key_is_no_copy(
    app: Flask, backups: Backups, copy: Copy, key: Key
) -> None:
    backups.catalog.copies.update(copy.backup_id, "nas", archive_sha256="0" * 64)
    identity = ("--identity", str(key.identity))
    error = refused(app, "verify", copy.backup_id, "--from", "nas", *identity)
    assert "another archive" in error["message"]
    assert left(backups) == []


@pytest.mark.parametrize("size", [0, 1, 65536, 200_000, 10**6])
def test_any_end_that_is_missing_or_too_many_is_damage(key: Key, size: int) -> None:
    with Recipients([key.recipient], "it").encrypting(Zeros(size)) as encrypted:
        stored = b"".join(iter(lambda: encrypted.read(2**18), b""))
    identities = Identities(key.identity.read_bytes())

    def opened(content: bytes) -> bytes:
        plain = io.BytesIO()
        with identities.decrypting(plain) as write:
            for at in range(0, len(content), 50_000):
                write(content[at : at + 50_000])
        return plain.getvalue()

    assert opened(stored) == bytes(size)
    for wrong in (stored[:-1], stored + b"x", stored + bytes(10**6), stored[:30], b"", b"x" * 500):
        with pytest.raises(ArchiveError):
            opened(wrong)


def test_what_can_not_be_written_is_told(key: Key) -> None:
    class Full:
        def write(self, data: bytes, /) -> int:
            raise OSError(28, "No space left on device")

    with Recipients([key.recipient], "it").encrypting(Zeros(10**6)) as encrypted:
        stored = b"".join(iter(lambda: encrypted.read(2**18), b""))
    identities = Identities(key.identity.read_bytes())
    with pytest.raises(OSError, match="No space"), identities.decrypting(Full()) as write:
        write(stored)


def test_an_order_without_the_process_that_has_the_key_ends(
    app: Flask, backups: Backups, copy: Copy
) -> None:
    order = verbs.decrypt.order(backups.history, ADA, copy.backup_id)
    assert order is not None
    assert Path(order.options["archive"]).stat().st_mode & 0o777 == 0o600
    with pytest.raises(WrongKeyError, match="start again"):
        backups.orders.run(app, order)
    assert left(backups) == []


def test_the_key_is_in_no_row_option_log_event_or_file(
    app: Flask,
    backups: Backups,
    copy: Copy,
    key: Key,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    told = told_by_signals()
    wrong = age_key(tmp_path / "other")
    secrets = [*key.secrets, *wrong.secrets]
    assert len(secrets) > 1
    found = ""
    for identity in (wrong.identity, key.identity):
        for command in ("inspect", "verify", "bring-back"):
            result = cli(app, command, copy.backup_id, "--identity", str(identity))
            found += result.stdout + result.stderr
    found += caplog.text + repr(told)
    found += kept(app, Path(app.instance_path), backups.depot.path, *tmp_path.glob("nas"))
    assert "wrong_key" in found
    assert archive_file(copy.backup_id, encrypted=True) in found
    assert [secret for secret in secrets if secret in found] == []
