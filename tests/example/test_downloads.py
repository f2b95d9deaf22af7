"""What everybody can find and download, and what needs an account."""

from __future__ import annotations

import gzip
from pathlib import Path

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from examples.host_app.models import Package, Release, db
from tests.support.people import sign_in, username


def release_of(app: Flask, *conditions: object) -> tuple[str, str]:
    with app.app_context():
        row = db.session.execute(
            select(Package.name, Release.version).join(Release.package).where(*conditions)  # type: ignore[arg-type]
        ).first()
        assert row is not None
        return row[0], row[1]


def test_a_public_package_file_comes_byte_for_byte_and_in_parts(
    seeded: Flask, client: FlaskClient
) -> None:
    name, version = release_of(
        seeded, ~Package.private, Package.source == "local", Release.version.contains("-")
    )
    stored = Path(seeded.instance_path, "storage/hosted/packages", name, f"{name}-{version}.tar.gz")
    address = f"/packages/{name}/releases/{version}/package"
    answer = client.get(address, buffered=True)
    assert answer.data == stored.read_bytes()
    assert answer.headers["Content-Disposition"] == f"attachment; filename={name}-{version}.tar"
    part = client.get(address, headers={"Range": "bytes=512-1023"}, buffered=True)
    assert (part.status_code, part.data) == (206, answer.data[512:1024])


def test_docs_are_found_by_release_and_by_package(seeded: Flask, client: FlaskClient) -> None:
    name, version = release_of(seeded, ~Package.private, Release.has_docs)
    answer = client.get(f"/packages/{name}/releases/{version}/docs", buffered=True)
    assert b"index.html" in gzip.decompress(answer.data)
    assert "Content-Encoding" not in answer.headers
    newest = client.get(f"/packages/{name}/docs", follow_redirects=True, buffered=True)
    assert newest.status_code == 200


def test_every_address_that_a_row_stores_is_served(seeded: Flask, client: FlaskClient) -> None:
    sign_in(client, username(seeded, is_admin=True))
    with seeded.app_context():
        releases = db.session.scalars(select(Release)).all()
        addresses = {
            address
            for release in releases
            for address in (release.url, release.html_url, release.package_url)
        } | {release.package.html_url for release in releases}
        addresses |= {release.docs_html_url for release in releases if release.has_docs}
    for address in addresses:
        assert address is not None
        assert client.get(address, buffered=True).status_code == 200, address


def test_private_packages_need_an_account(seeded: Flask, client: FlaskClient) -> None:
    name, version = release_of(seeded, Package.private, Release.has_docs)
    base = f"/packages/{name}"
    addresses = [base, *(f"{base}/releases/{version}{end}" for end in ("", "/package", "/docs"))]
    assert name not in client.get("/").text
    for address in addresses:
        answer = client.get(address, buffered=True)
        assert answer.status_code == 302
        assert answer.location.startswith("/login?next=/packages/")
    sign_in(client, username(seeded, is_admin=False, totp_enabled=False))
    assert name in client.get("/").text
    for address in addresses:
        assert client.get(address, buffered=True).status_code == 200


def test_cached_packages_are_served_from_a_place_of_their_own(
    seeded: Flask, client: FlaskClient
) -> None:
    name, version = release_of(seeded, Package.source == "cached")
    assert (
        client.get(f"/packages/{name}/releases/{version}/package", buffered=True).status_code == 200
    )
    storage = Path(seeded.instance_path, "storage")
    assert (storage / "cached" / "packages" / name).is_dir()
    assert not (storage / "hosted" / "packages" / name).exists()


def test_what_is_not_there_is_named(seeded: Flask, client: FlaskClient) -> None:
    name, version = release_of(seeded, ~Package.private, ~Release.has_docs)
    for address, message in (
        ("/packages/nothing", "no package nothing"),
        (f"/packages/{name}/releases/99.0.0", f"no release {name} 99.0.0"),
        (f"/packages/{name}/releases/{version}/docs", f"no docs file of {name}-{version}"),
        ("/packages/nothing/docs", "no docs of a package nothing"),
    ):
        answer = client.get(address, buffered=True)
        assert answer.status_code == 404
        assert message in answer.text


def test_a_package_is_found_by_a_part_of_its_name(seeded: Flask, client: FlaskClient) -> None:
    assert "feature_flags" in client.get("/?q=Feature").text
    assert "has “100%” in its name" in client.get("/?q=100%25").text


def test_a_name_never_leads_out_of_the_storage(empty: Flask) -> None:
    hosted = Path(empty.instance_path, "storage", "hosted")
    (hosted / "packages").mkdir(parents=True)
    (hosted / "..-1.tar.gz").write_text("not a package")
    with empty.app_context():
        db.session.add(Package(name="..", releases=[Release(version="1")]))
        db.session.commit()
    answer = empty.test_client().get("/packages/%2E%2E/releases/1/package")
    assert answer.status_code == 404
    assert "no package file of ..-1" in answer.text
