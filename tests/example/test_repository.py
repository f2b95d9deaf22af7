"""What a Hex client reads of the repository: signed lists, files, and what a key opens."""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from examples.host_app import create_app, repository_key
from examples.host_app.models import Package, Release, User, db, now
from examples.host_app.seed import ADMIN, seeded_key
from tests.support.commands import cli
from tests.support.registry import Fields, fields, get, packed, payload

KEY = seeded_key(ADMIN)
#: Public, private, and one that is cached, of the seeded ones.
PUBLIC, PRIVATE, CACHED = "auth_gate", "billing_core", "jason"
REQUIRING = "feature_flags"


def stored(app: Flask, name: str, version: str, folder: str = "packages") -> Path:
    return Path(app.instance_path, "storage/hosted", folder, name, f"{name}-{version}.tar.gz")


def releases(client: FlaskClient, name: str, key: str = "") -> dict[str, Fields]:
    """The releases of a package by version."""
    each = map(fields, fields(payload(client, f"packages/{name}", key))[1])
    return {release[1][0].decode(): release for release in each}


def listed(client: FlaskClient, which: str, key: str = "") -> dict[str, Fields]:
    """The packages of `names` or `versions`."""
    each = map(fields, fields(payload(client, which, key))[1])
    return {package[1][0].decode(): package for package in each}


def retire(app: Flask, retired: object) -> None:
    """Retire the first release of the public package."""
    with app.app_context():
        release = db.session.scalars(
            select(Release)
            .join(Release.package)
            .where(Package.name == PUBLIC)
            .order_by(Release.inserted_at)
        ).first()
        assert release is not None
        release.retired = retired
        db.session.commit()


def test_a_package_has_its_releases_with_the_checksums_of_their_files(
    seeded: Flask, client: FlaskClient
) -> None:
    message = fields(payload(client, f"packages/{PUBLIC}"))
    assert (message[2], message[3]) == ([PUBLIC.encode()], [b"acme"])
    found = releases(client, PUBLIC)
    assert list(found) == ["1.0.0-rc.1", "1.0.0"]
    for version, release in found.items():
        file = stored(seeded, PUBLIC, version).read_bytes()
        assert release[5] == [hashlib.sha256(file).digest()]
        # The member CHECKSUM is the second one, after a block of VERSION and its header.
        assert release[2] == [bytes.fromhex(file[1536 : 1536 + 64].decode())]
        assert get(client, f"tarballs/{PUBLIC}-{version}.tar").data == file
    seconds = fields(found["1.0.0-rc.1"][7][0])[1][0]
    assert seconds == 1742544000  # 2025-03-21 08:00 UTC


def test_a_dependency_has_the_repository_that_the_package_file_names(client: FlaskClient) -> None:
    dependencies = [fields(each) for each in releases(client, REQUIRING)["1.0.0"][3]]
    assert [(each[1], each[2], each[5]) for each in dependencies] == [
        ([name], [b"~> 1.0"], [b"hexpm"]) for name in (b"decimal", b"jason", b"plug")
    ]


@pytest.mark.parametrize(
    ("retired", "reason", "message"),
    [
        (True, 0, None),
        ({"reason": "security", "message": "CVE"}, 2, [b"CVE"]),
        ({"reason": "renamed"}, 4, None),
        ({"reason": "of our own", "message": None}, 0, None),
    ],
)
def test_a_retirement_is_told_with_its_reason(
    seeded: Flask, client: FlaskClient, retired: object, reason: int, message: object
) -> None:
    retire(seeded, retired)
    found = [fields(each[4][0]) for each in releases(client, PUBLIC).values() if 4 in each]
    assert [(each[1], each.get(2)) for each in found] == [([reason], message)]
    assert list(packed(listed(client, "versions")[PUBLIC][3][0])) == [0]


def test_names_and_versions_list_what_was_published_here(client: FlaskClient) -> None:
    for which in ("names", "versions"):
        assert fields(payload(client, which))[2] == [b"acme"]
        public, all_ = listed(client, which), listed(client, which, KEY)
        assert list(all_) == sorted(all_)
        assert set(all_) - set(public) == {PRIVATE}
        assert CACHED not in all_
    assert listed(client, "versions")[PUBLIC][2] == [b"1.0.0-rc.1", b"1.0.0"]


def test_docs_come_byte_for_byte(seeded: Flask, client: FlaskClient) -> None:
    answer = get(client, f"docs/{PUBLIC}-1.0.0-rc.1.tar.gz")
    assert answer.data == stored(seeded, PUBLIC, "1.0.0-rc.1", "docs").read_bytes()
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        *("public_key", "names", "versions", f"packages/{PUBLIC}"),
        *(f"tarballs/{PUBLIC}-1.0.0.tar", f"docs/{PUBLIC}-1.0.0-rc.1.tar.gz"),
    ],
)
def test_who_has_the_answer_is_told_that_it_is_the_same(client: FlaskClient, path: str) -> None:
    first = get(client, path)
    again = get(client, path, **{"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    other = get(client, path, **{"If-None-Match": '"of another"'})
    assert (other.status_code, other.data) == (200, first.data)


def test_an_etag_changes_with_what_is_answered(seeded: Flask, client: FlaskClient) -> None:
    tag = get(client, f"packages/{PUBLIC}").headers["ETag"]
    retire(seeded, {"reason": "security", "message": "CVE"})
    assert get(client, f"packages/{PUBLIC}", **{"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        f"packages/{PRIVATE}",
        f"tarballs/{PRIVATE}-1.0.0.tar",
        f"docs/{PRIVATE}-1.0.0.tar.gz",
    ],
)
def test_a_private_package_needs_a_key(seeded: Flask, client: FlaskClient, path: str) -> None:
    answer = get(client, path, KEY)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert "Authorization" in answer.vary
    # A tag opens nothing.
    refused = get(client, path, **{"If-None-Match": answer.headers["ETag"]})
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].lower().startswith("bearer")
    assert refused.text == (
        f"The package {PRIVATE} is private. Give the repository a key to read it.\n"
    )
    with seeded.app_context():
        db.session.scalars(select(User).where(User.username == ADMIN)).one().deactivated_at = now()
        db.session.commit()
    deactivated = get(client, path, KEY)
    assert (deactivated.status_code, deactivated.mimetype) == (403, "text/plain")


def test_a_key_that_is_not_known_opens_nothing_and_is_said_to_be_wrong(client: FlaskClient) -> None:
    for path in ("names", f"packages/{PUBLIC}", f"packages/{PRIVATE}"):
        answer = get(client, path, "no such key")
        assert (answer.status_code, answer.mimetype) == (401, "text/plain")
        assert "no such key" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        *("packages/nothing", f"packages/{CACHED}", "packages/a%00b"),
        *(f"tarballs/{PUBLIC}-9.9.9.tar", "tarballs/nothing.tar", "tarballs/..-1.tar"),
        *(f"tarballs/{CACHED}-1.4.0.tar", f"docs/{PUBLIC}-1.0.0.tar.gz"),
    ],
)
def test_what_is_not_there_is_not_found(client: FlaskClient, path: str) -> None:
    assert get(client, path, KEY).status_code == 404


def test_a_release_whose_file_does_not_fit_its_checksum_is_not_offered(
    seeded: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    file = stored(seeded, PUBLIC, "1.0.0")
    whole = file.read_bytes()
    assert list(releases(client, PUBLIC)) == ["1.0.0-rc.1", "1.0.0"]
    at = whole.index(b"contents.tar.gz") + 600
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert list(releases(client, PUBLIC)) == ["1.0.0-rc.1"]
    assert f"Release {PUBLIC} 1.0.0 is not offered" in caplog.text
    assert "do not fit its CHECKSUM" in caplog.text
    file.unlink()
    assert list(releases(client, PUBLIC)) == ["1.0.0-rc.1"]
    file.write_bytes(whole)
    assert list(releases(client, PUBLIC)) == ["1.0.0-rc.1", "1.0.0"]


def test_the_key_of_the_repository_stays_and_is_nobody_elses(tmp_path: Path) -> None:
    first, again, other = (create_app(tmp_path / name) for name in ("a", "a", "b"))
    pem = get(first.test_client(), "public_key").data
    assert pem.startswith(b"-----BEGIN PUBLIC KEY-----\n")
    assert get(again.test_client(), "public_key").data == pem
    assert get(other.test_client(), "public_key").data != pem
    assert (tmp_path / "a" / repository_key.FILE).stat().st_mode & 0o777 == 0o600
    assert not list((tmp_path / "a").glob(f"{repository_key.FILE}?*"))


def test_the_fingerprint_is_that_of_openssh(seeded: Flask) -> None:
    with seeded.app_context():
        fingerprint = repository_key.fingerprint()
    algorithm, _, digest = fingerprint.partition(":")
    assert (algorithm, len(base64.b64decode(f"{digest}="))) == ("SHA256", 32)


def test_a_key_is_made_on_the_command_line(seeded: Flask, client: FlaskClient) -> None:
    made = seeded.test_cli_runner().invoke(args=["create-key", "alice"])
    assert made.exit_code == 0, made.output
    assert get(client, f"packages/{PRIVATE}", made.stdout.strip()).status_code == 200
    refused = seeded.test_cli_runner().invoke(args=["create-key", "nobody"])
    assert refused.exit_code == 1
    assert "no account nobody" in refused.stderr


def test_a_registry_that_was_wiped_and_restored_answers_the_same(
    seeded: Flask, client: FlaskClient
) -> None:
    """To the byte, also where the clients have the key of before: with the file of the key."""
    retire(seeded, {"reason": "security", "message": "CVE"})
    with seeded.app_context():
        packages = db.session.scalars(select(Package.name).where(Package.source == "local")).all()
    paths = ["names", "versions", *(f"packages/{name}" for name in packages)]
    before = {path: get(client, path, KEY).data for path in paths}
    assert cli(seeded, "create").exit_code == 0
    (archive,) = Path(seeded.config["HEXHUB_BACKUP_PATH"]).glob("*.tar")
    folder = Path(seeded.instance_path).with_name("new")
    folder.mkdir()
    shutil.copy2(Path(seeded.instance_path, repository_key.FILE), folder)
    new = create_app(folder)
    done = cli(new, "restore", str(archive), "--grant-protected", "--yes")
    assert done.exit_code == 0, done.output
    key = new.test_cli_runner().invoke(args=["create-key", ADMIN]).stdout.strip()
    after = {path: get(new.test_client(), path, key).data for path in paths}
    assert after == before
