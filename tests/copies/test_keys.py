"""Somebody proves that a private key opens the copies; until then everybody is told."""

from __future__ import annotations

import json
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from examples.host_app.models import db
from hexhub_backup import DirectoryDestination, signals
from hexhub_backup.destinations.directory import MARKER
from hexhub_backup.destinations.encryption import fingerprint
from hexhub_backup.history.keys import ProvedKey, ProvedKeys
from hexhub_backup.history.store import utc_now
from hexhub_backup.history.tables import metadata
from hexhub_backup.jobs.backups import Backups
from tests.support.age import Key, age_key, ssh_fingerprint, ssh_key
from tests.support.commands import cli, created, refused
from tests.support.encrypted import copied, use
from tests.support.pages import page

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(params=["age", "ed25519", "rsa"])
def key(tmp_path: Any, request: pytest.FixtureRequest) -> Key:
    kind = request.param
    return age_key(tmp_path / "key.txt") if kind == "age" else ssh_key(tmp_path / "id", kind)


def name_of(key: Key) -> str:
    return fingerprint(key.recipient)


def shown(client: FlaskClient, path: str) -> str:
    return unescape(page(client, path))


def check(app: Flask, key: Key, *, exits: int = 0) -> dict[str, dict[str, Any]]:
    """What the command says of each place."""
    result = cli(app, "keys", "check", "--identity", str(key.identity), "--as", "ada", "--json")
    assert result.exit_code == exits, result.stdout + result.stderr
    return {each["place"]: each for each in json.loads(result.stdout)["places"]}


def problems(backups: Backups) -> dict[str, str]:
    return {each.code: each.text for each in backups.status(utc_now()).problems}


def test_a_key_is_proved_and_a_new_one_is_not(
    app: Flask, backups: Backups, client: FlaskClient, key: Key, tmp_path: Any
) -> None:
    created(app)
    assert "key_not_proved" not in problems(backups)
    use(backups, key)
    said = problems(backups)["key_not_proved"]
    assert said == "Nobody has proved yet that the copies in nas and offsite can be opened."
    assert "Nobody has proved yet" in page(client, "/")
    protection = shown(client, "/protection")
    assert f"{name_of(key)} offsite and nas Nobody has proved yet" in protection
    assert "flask backups keys check --identity" in protection

    found = check(app, key)
    assert {place: (each["proved"], each["backup"]) for place, each in found.items()} == {
        "nas": ([name_of(key)], None),
        "offsite": ([name_of(key)], None),
    }
    assert "key_not_proved" not in problems(backups)
    assert f"{name_of(key)} offsite and nas Proved just now by ada." in shown(client, "/protection")

    other = age_key(tmp_path / "other")
    use(backups, key, other)
    assert "key_not_proved" not in problems(backups)
    assert f"{name_of(other)} offsite and nas Nobody has proved" in shown(client, "/protection")
    use(backups, other)
    assert "key_not_proved" in problems(backups)


def test_the_newest_copy_is_opened_too(
    app: Flask, backups: Backups, nas: DirectoryDestination, key: Key, tmp_path: Any
) -> None:
    use(backups, key)
    copy = copied(app, backups)["nas"]
    found = check(app, key)
    for place in ("nas", "offsite"):
        assert (found[place]["backup"], found[place]["opened"]) == (copy.backup_id, True)

    path = nas.path / str(copy.file)
    content = path.read_bytes()
    path.write_bytes(content[:1000] + bytes(1000) + content[2000:])
    found = check(app, key, exits=1)
    assert (found["nas"]["opened"], found["offsite"]["opened"]) == (False, True)
    assert "damaged" in found["nas"]["reason"]

    # One that says of itself that it is encrypted to a key, and is not.
    other = age_key(tmp_path / "other")
    use(backups, other)
    newer = copied(app, backups)["offsite"]
    backups.catalog.copies.update(newer.backup_id, "offsite", recipients=[name_of(key)])
    use(backups, key)
    found = check(app, key, exits=1)
    assert (found["offsite"]["opened"], found["nas"]["opened"]) == (False, None)
    assert name_of(other) in found["nas"]["reason"]

    (nas.path / MARKER).unlink()
    backups.catalog.copies.update(newer.backup_id, "nas", recipients=[name_of(key)])
    found = check(app, key, exits=1)
    assert found["nas"]["opened"] is None
    assert "mount its disk" in found["nas"]["reason"]


def test_each_place_has_a_proof_of_its_own(
    app: Flask, backups: Backups, nas: DirectoryDestination, key: Key, tmp_path: Any
) -> None:
    other, spare = ssh_key(tmp_path / "other"), age_key(tmp_path / "spare")
    own = DirectoryDestination("nas", nas.path, recipients=[other.recipient, spare.recipient])
    use(backups, key)
    backups.destinations = {**backups.destinations, "nas": own}
    assert check(app, key)["nas"]["proved"] == []
    assert problems(backups)["key_not_proved"].endswith("the copies in nas can be opened.")
    text_of = cli(app, "keys", "check", "--identity", str(key.identity)).stdout
    assert f"nas: not opened. It is encrypted to {ssh_fingerprint(other)}" in text_of
    assert check(app, other)["nas"]["proved"] == [ssh_fingerprint(other)]
    assert "key_not_proved" not in problems(backups)


def test_a_wrong_key_proves_nothing(app: Flask, backups: Backups, key: Key, tmp_path: Any) -> None:
    wrong = age_key(tmp_path / "wrong")
    arguments = ("keys", "check", "--identity", str(wrong.identity))
    assert refused(app, *arguments)["code"] == "not_found"
    use(backups, key)
    error = refused(app, *arguments)
    assert error["code"] == "wrong_key"
    assert name_of(key) in error["message"]
    assert [each.proved for each in backups.keys.all()] == [None]


def test_a_proof_is_remembered_and_the_key_is_not(app: Flask, backups: Backups, key: Key) -> None:
    use(backups, key)
    check(app, key)
    check(app, key)
    with app.app_context(), db.engine.connect() as connection:
        rows = [
            repr(connection.execute(text(f"SELECT * FROM {table.name}")).all())
            for table in metadata.sorted_tables
        ]
    assert any(name_of(key) in each and "ada" in each for each in rows)
    assert not [each for each in rows for line in key.secrets if line in each]


def test_a_backups_page_says_which_key_opens_which_copy(
    app: Flask, backups: Backups, client: FlaskClient, key: Key, tmp_path: Any
) -> None:
    other = age_key(tmp_path / "other")
    use(backups, key, other)
    copy = copied(app, backups)["nas"]
    backups.catalog.copies.update(copy.backup_id, "offsite", recipients=[])
    found = shown(client, f"/{copy.backup_id}")
    assert f"Opens with {name_of(key)} or {name_of(other)}" in found
    assert "Encrypted, and nothing says to which keys" in found
    assert f"opens with {name_of(key)}" in cli(app, "show", copy.backup_id).stdout


@pytest.mark.sample
@pytest.mark.usefixtures("database")
def test_who_proves_a_key_again_is_remembered_in_place_of_who_did(backups: Backups) -> None:
    kept, first = ProvedKeys(backups.catalog.engine), utc_now()
    for who, at in (("ada", first), ("eve", first + timedelta(hours=1))):
        kept.put(ProvedKey(fingerprint="SHA256:x", proved_at=at, proved_by=who))
    kept.put(ProvedKey(fingerprint="SHA256:y", proved_at=first, proved_by="ada"))
    found = kept.all()
    assert {name: each.proved_by for name, each in found.items()} == {
        "SHA256:x": "eve",
        "SHA256:y": "ada",
    }
    assert found["SHA256:x"].proved_at - first == timedelta(hours=1)


def test_it_is_an_alert_until_a_key_was_proved(app: Flask, backups: Backups, key: Key) -> None:
    created(app)
    use(backups, key)
    told: list[tuple[str, str]] = []

    def tell(_: Any, *, alert: dict[str, Any], **extra: Any) -> None:
        told.append((alert["event"], alert["code"]))

    signals.alert_raised.connect(tell, app)
    signals.alert_cleared.connect(tell, app)
    backups.alerts.look(app, utc_now())
    check(app, key)
    backups.alerts.look(app, utc_now())
    assert told == [("raised", "key_not_proved"), ("cleared", "key_not_proved")]
