"""Copies are encrypted while they leave, and nothing of ours is needed to open them."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from hexhub_backup import DirectoryDestination, verbs
from hexhub_backup.destinations.encryption import Recipients, fingerprint
from hexhub_backup.errors import ArchiveError, SettingError, WrongKeyError
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.sidecar import Sidecar, archive_file, page_file, sidecar_file
from hexhub_backup.verbs.base import Context, Order
from tests.support.age import Key, age_key, ssh_fingerprint, ssh_key
from tests.support.directory import depot_of
from tests.support.encrypted import Zeros, content, copied, use
from tests.support.hosts import ADA, make_app

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return age_key(tmp_path / "key.txt")


def test_debians_age_opens_a_copy_and_tar_reads_it(
    app: Flask, backups: Backups, key: Key, tmp_path: Path
) -> None:
    use(backups, key)
    for place, copy in copied(app, backups).items():
        name = archive_file(copy.backup_id, encrypted=True)
        assert copy.file == name
        stored = content(backups, place, name)
        (tmp_path / name).write_bytes(stored)
        done = subprocess.run(
            f"age -d -i {key.identity} {tmp_path / name} | tar -t",
            shell=True,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == "manifest.json"
        assert key.open(stored) == depot_of(backups).archive(copy.backup_id).read_bytes()
        names = {each.name for each in backups.destinations[place].list()}
        assert names == {name, page_file(copy.backup_id), sidecar_file(copy.backup_id)}


def test_row_and_sidecar_have_both_hashes_and_the_fingerprints(
    app: Flask, backups: Backups, key: Key, tmp_path: Path
) -> None:
    ssh = ssh_key(tmp_path / "id")
    use(backups, key, ssh)
    for place, copy in copied(app, backups).items():
        stored = content(backups, place, str(copy.file))
        plain = depot_of(backups).archive(copy.backup_id).read_bytes()
        assert copy.size_bytes == len(stored)
        assert copy.sha256 == hashlib.sha256(stored).hexdigest()
        assert copy.archive_sha256 == hashlib.sha256(plain).hexdigest()
        assert copy.recipients == (fingerprint(key.recipient), ssh_fingerprint(ssh))
        beside = content(backups, place, sidecar_file(copy.backup_id))
        sidecar = Sidecar.parse(beside)
        assert (sidecar.file, sidecar.recipients) == (copy.file, copy.recipients)
        assert (sidecar.stored_size, sidecar.stored_sha256) == (len(stored), copy.sha256)
        assert (sidecar.archive_size, sidecar.archive_sha256) == (len(plain), copy.archive_sha256)
        assert key.recipient not in beside.decode()


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_each_of_several_keys_opens_it(
    app: Flask, backups: Backups, key: Key, tmp_path: Path, kind: str
) -> None:
    ssh = ssh_key(tmp_path / "id", kind)
    use(backups, key, ssh)
    copy = copied(app, backups)["nas"]
    stored = content(backups, "nas", str(copy.file))
    plain = depot_of(backups).archive(copy.backup_id).read_bytes()
    assert key.open(stored) == ssh.open(stored) == plain
    with pytest.raises(subprocess.CalledProcessError):
        age_key(tmp_path / "other").open(stored)


def test_a_destination_may_have_recipients_of_its_own_or_none(
    app: Flask, backups: Backups, nas: DirectoryDestination, key: Key, tmp_path: Path
) -> None:
    other = age_key(tmp_path / "other")
    own = DirectoryDestination("nas", nas.path, recipients=[other.recipient])
    use(backups, key)
    backups.destinations = {**backups.destinations, "nas": own}
    found = copied(app, backups)
    assert found["nas"].recipients == (fingerprint(other.recipient),)
    assert found["offsite"].recipients == (fingerprint(key.recipient),)
    own.recipients = ()
    copy = copied(app, backups)["nas"]
    assert (copy.file, copy.recipients) == (archive_file(copy.backup_id), ())


def test_a_copy_is_verified_without_a_key(
    app: Flask, backups: Backups, nas: DirectoryDestination, key: Key
) -> None:
    use(backups, key)
    copy = copied(app, backups)["nas"]
    key.identity.unlink()
    order = verbs.verify.order(backups.history, ADA, copy.backup_id, "nas")
    backups.orders.run(app, order)
    path = nas.path / str(copy.file)
    stored = bytearray(path.read_bytes())
    stored[-1] ^= 1
    path.write_bytes(stored)
    order = verbs.verify.order(backups.history, ADA, copy.backup_id, "nas")
    with pytest.raises(ArchiveError, match="damaged"):
        backups.orders.run(app, order)
    assert [each.intact for each in backups.catalog.copies.of(copy.backup_id)] == [False, None]


def test_what_has_to_read_the_archive_says_who_it_is_encrypted_to(
    app: Flask, backups: Backups, key: Key
) -> None:
    use(backups, key)
    backup = copied(app, backups)["nas"].backup_id
    depot_of(backups).archive(backup).unlink()
    choice = Choice(strategy="skip")
    orders: list[Callable[[], Order]] = [
        lambda: verbs.inspect.order(backups.history, ADA, backup, choice),
        lambda: verbs.bring_back.order(backups.history, ADA, backup),
    ]
    for order in orders:
        with pytest.raises(WrongKeyError, match="--identity") as raised:
            order()
        assert fingerprint(key.recipient) in str(raised.value)
        assert raised.value.code == "wrong_key"
    assert list(backups.depot.path.glob("uploads/*")) == []


def test_a_scan_adopts_encrypted_copies_by_what_lies_beside_them(
    app: Flask, backups: Backups, nas: DirectoryDestination, key: Key
) -> None:
    use(backups, key)
    before = copied(app, backups)["nas"]
    backup = before.backup_id
    contents = backups.history.backup(backup).contents
    depot_of(backups).archive(backup).unlink()
    for place in ("nas", "offsite"):
        backups.catalog.copies.remove(backup, place)
    backups.catalog.delete_backup(backup)
    (nas.path / "hexhub-backup-lonely.tar.age").write_bytes(b"age-encryption.org/v1")
    done = backups.orders.run(app, verbs.scan.order(ADA, ["nas"])).outcome
    assert sorted(done["adopted"]) == sorted([backup, "lonely"])
    assert ["lonely" in each["record"] for each in done["warnings"]] == [True]
    (found,) = backups.catalog.copies.of(backup)
    assert (found.file, found.recipients) == (before.file, before.recipients)
    assert (found.sha256, found.archive_sha256) == (before.sha256, before.archive_sha256)
    assert backups.history.backup(backup).contents == contents
    # It is held against the hash beside it.
    backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup))
    with pytest.raises(WrongKeyError):
        verbs.verify.order(backups.history, ADA, "lonely")


@pytest.mark.parametrize("beside", ["nothing", "no sidecar", "of this archive"])
def test_an_encrypted_file_of_an_attempt_that_died_is_made_again(
    app: Flask, backups: Backups, nas: DirectoryDestination, key: Key, beside: str
) -> None:
    use(backups, key)
    backup = copied(app, backups)["nas"].backup_id
    name = archive_file(backup, encrypted=True)
    if beside != "of this archive":
        nas.delete(sidecar_file(backup))
    if beside == "no sidecar":
        nas.put(sidecar_file(backup), io.BytesIO(b"x"), 1)
    (nas.path / name).write_bytes(b"of another key")
    backups.catalog.copies.remove(backup, "nas")
    verbs.copy.want_copies(_context(app, backups), backup)
    assert [failure for _, failure in backups.copying.run_due(app, ADA)] == [None]
    plain = depot_of(backups).archive(backup).read_bytes()
    assert key.open(content(backups, "nas", name)) == plain


def test_an_encrypted_file_of_another_archive_stays(
    app: Flask, backups: Backups, nas: DirectoryDestination, key: Key
) -> None:
    use(backups, key)
    backup = copied(app, backups)["nas"].backup_id
    beside = nas.path / sidecar_file(backup)
    document = json.loads(beside.read_bytes())
    document["archive"]["sha256"] = "0" * 64
    beside.write_text(json.dumps(document))
    stored = content(backups, "nas", archive_file(backup, encrypted=True))
    backups.catalog.copies.remove(backup, "nas")
    verbs.copy.want_copies(_context(app, backups), backup)
    ((_, failure),) = backups.copying.run_due(app, ADA)
    assert "not this backup" in str(failure)
    assert content(backups, "nas", archive_file(backup, encrypted=True)) == stored


def _context(app: Flask, backups: Backups) -> Context:
    (operation, *_) = backups.history.operations()
    return backups.context(app, backups.catalog.operation(operation.id), "")


def test_all_of_a_copy_is_deleted(app: Flask, backups: Backups, key: Key) -> None:
    use(backups, key)
    copy = copied(app, backups)["nas"]
    backups.history.delete(app, ADA, copy.backup_id, everywhere=True)
    backups.orders.run(app, verbs.delete_copies.order(ADA))
    for destination in backups.destinations.values():
        assert list(destination.list()) == []


def test_memory_stays_flat_and_the_size_is_about_right(key: Key) -> None:
    recipients, size = Recipients([key.recipient], "it"), 64 * 2**20
    tracemalloc.start()
    try:
        with recipients.encrypting(Zeros(size)) as encrypted:
            stored = 0
            while data := encrypted.read(2**18):
                stored += len(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20
    assert size < stored <= recipients.size(size) < stored + 2048


def test_what_the_archive_raises_ends_the_copy_and_nothing_is_there(
    nas: DirectoryDestination, key: Key
) -> None:
    recipients = Recipients([key.recipient], "it")
    error = OSError(5, "Input/output error")
    with (
        pytest.raises(OSError, match="Input/output") as raised,
        recipients.encrypting(Zeros(10**6, error)) as encrypted,
    ):
        nas.put("hexhub-backup-a.tar.age", encrypted, 10**6)
    assert raised.value is error
    assert list(nas.list()) == []
    # Who stops to read ends the thread: it does not wait for ever.
    with recipients.encrypting(Zeros(10**8)) as encrypted:
        encrypted.read(10)


@pytest.mark.parametrize(
    "keys",
    ["age1", ["age1qqqq"], [""], [1], ["ssh-ed25519 AAAA"], ["AGE-SECRET-KEY-1QQQ"], None],
)
def test_what_is_no_recipient_is_refused_and_not_told(keys: object) -> None:
    with pytest.raises(SettingError, match="HEXHUB_BACKUP_AGE_RECIPIENTS") as raised:
        Recipients(keys, "HEXHUB_BACKUP_AGE_RECIPIENTS")
    assert "SECRET" not in str(raised.value)


def test_init_app_refuses_them(app: Flask, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="HEXHUB_BACKUP_AGE_RECIPIENTS"):
        make_app(tmp_path / "other", {"HEXHUB_BACKUP_AGE_RECIPIENTS": ["nobody"]})
    with pytest.raises(SettingError, match="recipients= of the destination nas"):
        DirectoryDestination("nas", tmp_path, recipients=["nobody"])


def test_without_pyrage_it_is_refused_with_what_to_install() -> None:
    """And nothing else needs it."""
    program = """
import sys
sys.modules["pyrage"] = None
import hexhub_backup
hexhub_backup.DirectoryDestination("nas", "/mnt/nas")
try:
    hexhub_backup.DirectoryDestination("nas", "/mnt/nas", recipients=["age1"])
except hexhub_backup.errors.SettingError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "pip install 'hexhub_backup[age]'" in done.stdout
