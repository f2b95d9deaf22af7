"""What mix asks of the API, request by request: publish, docs, retire, owners, keys, info."""

from __future__ import annotations

import hashlib
import io
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from examples.host_app import erlang_terms, hex_files
from examples.host_app.models import ApiKey, AuditEvent, Package, Release, User, db, now
from examples.host_app.seed import ADMIN, seeded_key
from tests.support.hex import package_file
from tests.support.patience import PATIENCE
from tests.support.registry import fields, payload
from tests.support.serving import process

TERM = "application/vnd.hex+erlang"
#: Of the seeded accounts every third one has a key; of the packages the first is the admin's.
OTHER = "ingrid"
PUBLIC, PRIVATE, CACHED = "auth_gate", "billing_core", "jason"

Ask = Callable[..., TestResponse]


def docs_file() -> bytes:
    file = io.BytesIO()
    hex_files.write_docs(file, {"index.html": b"<h1>own</h1>"})
    return file.getvalue()


@pytest.fixture
def ask(client: FlaskClient) -> Ask:
    """Asks as mix does: with the bare key, for terms, and with terms or bytes."""

    def asked(method: str, path: str, given: Any = None, key: str = ADMIN) -> TestResponse:
        headers = {"Accept": TERM}
        if key:
            headers["Authorization"] = seeded_key(key)
        if given is None:
            data = None
        elif isinstance(given, bytes):
            data, headers["Content-Type"] = given, "application/octet-stream"
        else:
            data, headers["Content-Type"] = erlang_terms.encode(given), TERM
        return client.open(f"/api/{path}", method=method, headers=headers, data=data)

    return asked


def said(answer: TestResponse, status: int = 200) -> Any:
    assert answer.mimetype == TERM, answer.text
    found = erlang_terms.decode(answer.data)
    assert answer.status_code == status, found
    return found


def done(answer: TestResponse) -> None:
    assert (answer.status_code, answer.data) == (204, b""), answer.text


def refused(answer: TestResponse, field: str, reason: str) -> None:
    found = said(answer, 422)
    assert found["message"] == "The request was refused, and nothing was changed."
    assert list(found["errors"]) == [field]
    assert reason in found["errors"][field]


def publish(ask: Ask, name: str = "own", version: str = "0.1.0", **metadata: Any) -> Any:
    file = package_file(name, version, **metadata)
    return said(ask("POST", f"packages/{name}/releases?replace=false", file), 201)


def published_long_ago(app: Flask) -> None:
    with app.app_context():
        db.session.execute(update(Release).values(inserted_at=now() - timedelta(hours=2)))
        db.session.commit()


def stored(app: Flask, name: str, version: str, folder: str = "packages") -> Path:
    return Path(app.instance_path, "storage/hosted", folder, name, f"{name}-{version}.tar.gz")


def events(app: Flask) -> list[tuple[str, str | None]]:
    """What was written to the audit log since the seed."""
    with app.app_context():
        query = select(AuditEvent).where(AuditEvent.address == "127.0.0.1").order_by(AuditEvent.id)
        return [(each.event, each.actor) for each in db.session.scalars(query)]


def test_a_package_is_published_and_offered_to_clients(
    seeded: Flask, client: FlaskClient, ask: Ask
) -> None:
    file = package_file()
    answer = ask("POST", "packages/own/releases?replace=false", file)
    found = said(answer, 201)
    assert found["html_url"].endswith("/packages/own/releases/0.1.0")
    assert answer.headers["Location"] == found["url"]
    assert found["checksum"] == hashlib.sha256(file).hexdigest()
    assert stored(seeded, "own", "0.1.0").read_bytes() == file
    (release,) = map(fields, fields(payload(client, "packages/own"))[1])
    assert (release[1], release[5]) == ([b"0.1.0"], [hashlib.sha256(file).digest()])
    assert fields(release[3][0])[1] == [b"jason"]
    page = client.get("/packages/own").text
    assert "Of our own" in page
    assert ADMIN in page
    assert events(seeded) == [("release.published", ADMIN)]


def test_info_has_what_mix_shows(ask: Ask) -> None:
    publish(ask)
    publish(ask, version="0.2.0-rc.1")
    found = said(ask("GET", "packages/own", key=""))
    assert found["configs"]["mix.exs"] == '{:own, "~> 0.1.0", repo: "acme"}'
    assert (found["latest_version"], found["latest_stable_version"]) == ("0.2.0-rc.1", "0.1.0")
    assert [each["version"] for each in found["releases"]] == ["0.2.0-rc.1", "0.1.0"]
    assert found["meta"]["links"] == {"Source": "https://git.example.com/own"}
    assert found["owners"] == [{"username": ADMIN, "level": "full"}]
    release = said(ask("GET", "packages/own/releases/0.1.0", key=""))
    rule = {"requirement": "~> 1.0", "app": "jason", "optional": True}
    assert release["requirements"] == {"jason": rule}
    assert release["meta"] == {"app": "own", "build_tools": ["mix"], "elixir": "~> 1.14"}


def test_a_release_that_has_no_version_of_ours_is_told_with_the_others(
    seeded: Flask, ask: Ask
) -> None:
    """As HexHub may have it, and a restore of its archives."""
    with seeded.app_context():
        name = Package.name == PUBLIC
        package = db.session.scalars(select(Package).where(name)).one()
        db.session.add(Release(package=package, version="2.0"))
        db.session.commit()
    found = said(ask("GET", f"packages/{PUBLIC}"))
    assert {each["version"] for each in found["releases"]} == {"1.0.0-rc.1", "1.0.0", "2.0"}
    assert (found["latest_version"], found["latest_stable_version"]) == ("1.0.0", "1.0.0")


def test_others_get_json(client: FlaskClient) -> None:
    answer = client.get(f"/api/packages/{PUBLIC}", headers={"Accept": "application/json, */*"})
    assert answer.get_json()["name"] == PUBLIC
    missing = client.get("/api/packages/nowhere")
    assert missing.get_json() == {
        "status": 404,
        "message": "There is no package nowhere in this registry.",
    }


@pytest.mark.parametrize(
    ("name", "metadata", "field", "reason"),
    [
        ("own", {"name": "other"}, "name", "The package file is one of other"),
        ("Own", {"name": "Own"}, "name", "It has small letters, digits and _"),
        ("own", {"version": "1.0"}, "version", "Semantic Versioning"),
        ("own", {"version": "1.0.0\n"}, "version", "Semantic Versioning"),
        ("own", {"version": "01.0.0"}, "version", "Semantic Versioning"),
        ("own", {"app": ""}, "app", "missing"),
        ("own", {"description": ""}, "description", "missing"),
        ("own", {"build_tools": []}, "build_tools", "missing"),
        ("own", {"licenses": [["MIT"]]}, "licenses", "another form"),
        (CACHED, {"name": CACHED}, "name", "a package of another registry"),
    ],
)
def test_what_does_not_fit_is_refused(
    seeded: Flask, ask: Ask, name: str, metadata: dict[str, Any], field: str, reason: str
) -> None:
    refused(ask("POST", f"packages/{name}/releases", package_file(**metadata)), field, reason)
    assert not stored(seeded, name, "0.1.0").exists()
    assert events(seeded) == []


def test_a_file_whose_checksum_does_not_fit_is_refused(ask: Ask) -> None:
    file = bytearray(package_file())
    # The time in the gzip of its contents.
    file[file.index(b"\x1f\x8b") + 4] ^= 1
    refused(ask("POST", "packages/own/releases", bytes(file)), "tar", "do not fit its CHECKSUM")
    refused(ask("POST", "packages/own/releases", b"no tar"), "tar", "It is no tar")


def test_a_release_is_replaced_for_an_hour(seeded: Flask, ask: Ask) -> None:
    publish(ask)
    again = package_file(description="Another")
    refused(ask("POST", "packages/own/releases?replace=false", again), "inserted_at", "replace it")
    said(ask("POST", "packages/own/releases?replace=true", again))
    assert stored(seeded, "own", "0.1.0").read_bytes() == again
    assert said(ask("GET", "packages/own"))["meta"]["description"] == "Another"
    published_long_ago(seeded)
    late = package_file(description="Late")
    refused(ask("POST", "packages/own/releases?replace=true", late), "inserted_at", "1 hour")
    refused(ask("DELETE", "packages/own/releases/0.1.0"), "inserted_at", "1 hour")
    assert stored(seeded, "own", "0.1.0").read_bytes() == again


def test_a_private_release_may_be_replaced_and_reverted_at_any_time(
    seeded: Flask, ask: Ask
) -> None:
    publish(ask)
    published_long_ago(seeded)
    with seeded.app_context():
        db.session.execute(update(Package).where(Package.name == "own").values(private=True))
        db.session.commit()
    said(ask("POST", "packages/own/releases?replace=true", package_file()))
    done(ask("DELETE", "packages/own/releases/0.1.0"))


def test_a_release_is_reverted_and_its_package_with_the_last_one(seeded: Flask, ask: Ask) -> None:
    publish(ask)
    publish(ask, version="0.2.0")
    said(ask("POST", "packages/own/releases/0.2.0/docs", docs_file()), 201)
    done(ask("DELETE", "packages/own/releases/0.2.0"))
    assert not stored(seeded, "own", "0.2.0").exists()
    assert not stored(seeded, "own", "0.2.0", "docs").exists()
    said(ask("GET", "packages/own/releases/0.2.0"), 404)
    done(ask("DELETE", "packages/own/releases/0.1.0"))
    said(ask("GET", "packages/own"), 404)
    # The name is free again.
    publish(ask, version="1.0.0")


def test_docs_are_published_and_reverted(seeded: Flask, ask: Ask) -> None:
    publish(ask)
    answer = ask("POST", "packages/own/releases/0.1.0/docs", docs_file())
    assert said(answer, 201)["has_docs"] is True
    assert answer.headers["Location"].endswith("/packages/own/releases/0.1.0/docs")
    assert stored(seeded, "own", "0.1.0", "docs").read_bytes() == docs_file()
    for bad in (b"no gzip", docs_file()[:-30], b""):
        refused(ask("POST", "packages/own/releases/0.1.0/docs", bad), "tar", "gzipped tar")
    assert stored(seeded, "own", "0.1.0", "docs").read_bytes() == docs_file()
    done(ask("DELETE", "packages/own/releases/0.1.0/docs"))
    assert said(ask("GET", "packages/own/releases/0.1.0"))["has_docs"] is False
    assert not stored(seeded, "own", "0.1.0", "docs").exists()


def test_a_release_is_retired_and_taken_back(client: FlaskClient, ask: Ask) -> None:
    publish(ask)
    path = "packages/own/releases/0.1.0/retire"
    refused(ask("POST", path, {"reason": "mood", "message": "x"}), "reason", "one of other")
    refused(ask("POST", path, {"reason": "other", "message": "x" * 141}), "message", "140")
    refused(ask("POST", path, {"reason": "other", "message": "a\0b"}), "message", "can't be kept")
    done(ask("POST", path, {"reason": "security", "message": "CVE"}))
    retired = {"reason": "security", "message": "CVE"}
    assert said(ask("GET", "packages/own"))["retirements"] == {"0.1.0": retired}
    (release,) = map(fields, fields(payload(client, "packages/own"))[1])
    assert fields(release[4][0]) == {1: [2], 2: [b"CVE"]}
    done(ask("DELETE", path))
    assert said(ask("GET", "packages/own/releases/0.1.0"))["retirement"] is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"description": "a\0b"},
        {"links": {"a\0b": "https://example.com"}},
        {"extra": {"a": "b\0"}},
        {"app": "a\0b"},
        {"requirements": [{"name": "jason", "app": "a\0b", "optional": False,
                           "requirement": "~> 1.0", "repository": "hexpm"}]},
    ],
)  # fmt: skip
def test_what_no_backup_could_hold_is_not_published(ask: Ask, metadata: dict[str, Any]) -> None:
    """Any account could keep every backup from being made."""
    refused(ask("POST", "packages/own/releases", package_file(**metadata)), "tar", "can't be kept")
    assert ask("GET", "packages/own").status_code == 404


def test_owners_are_added_listed_and_removed(seeded: Flask, ask: Ask) -> None:
    publish(ask)
    mail = "ingrid.ødegård@example.org"
    more = package_file(version="0.2.0")
    assert ask("POST", "packages/own/releases", more, key=OTHER).status_code == 403
    done(ask("PUT", f"packages/own/owners/{mail}", {"level": "maintainer", "transfer": False}))
    said(ask("POST", "packages/own/releases", more, key=OTHER), 201)
    # A maintainer publishes, and no more.
    said(ask("DELETE", f"packages/own/owners/{ADMIN}", key=OTHER), 403)
    found = said(ask("GET", "packages/own/owners"))
    assert [(each["username"], each["level"]) for each in found] == [
        (ADMIN, "full"),
        (OTHER, "maintainer"),
    ]
    assert found[1]["email"] == mail
    assert all("email" not in each for each in said(ask("GET", "packages/own/owners", key="")))
    assert said(ask("GET", f"packages/own/owners/{mail}"))["username"] == OTHER
    # Who has no key does not learn whose an address is, or that there is one.
    for who in (mail, "nobody@example.org"):
        answer = said(ask("GET", f"packages/own/owners/{who}", key=""), 404)
        assert answer["message"] == f"{who} is no owner of own."
    done(ask("DELETE", f"packages/own/owners/{mail}"))
    said(ask("GET", f"packages/own/owners/{mail}"), 404)
    assert [event for event, _ in events(seeded)] == [
        "release.published",
        "owner.added",
        "release.published",
        "owner.removed",
    ]


def test_a_package_is_transferred_and_never_without_an_owner(ask: Ask) -> None:
    publish(ask)
    last = f"packages/own/owners/{ADMIN}"
    refused(ask("DELETE", last), "email", "no owner who may do everything")
    refused(ask("PUT", last, {"level": "maintainer"}), "email", "no owner who may do everything")
    refused(ask("PUT", last, {"level": "half"}), "level", "full, maintainer")
    done(ask("PUT", f"packages/own/owners/{OTHER}", {"level": "full", "transfer": True}))
    found = said(ask("GET", "packages/own/owners"))
    assert [each["username"] for each in found] == [OTHER]
    said(ask("DELETE", "packages/own/releases/0.1.0"), 403)
    done(ask("DELETE", "packages/own/releases/0.1.0", key=OTHER))


def test_who_asks_is_told_who_they_are(seeded: Flask, ask: Ask, client: FlaskClient) -> None:
    found = said(ask("GET", "users/me"))
    assert (found["username"], found["email"]) == (ADMIN, f"{ADMIN}@example.org")
    answer = ask("GET", "users/me", key="")
    assert "needs an API key" in said(answer, 401)["message"]
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="hex"'
    wrong = client.get("/api/users/me", headers={"Authorization": "wrong", "Accept": TERM})
    assert "not known here" in said(wrong, 401)["message"]
    for query, status in (
        ("domain=api", 204),
        (f"domain=package&resource={PUBLIC}", 204),
        ("domain=moon", 422),
    ):
        assert ask("GET", f"auth?{query}").status_code == status
    assert ask("GET", f"auth?domain=package&resource={PUBLIC}", key=OTHER).status_code == 403
    with seeded.app_context():
        db.session.execute(update(User).where(User.username == ADMIN).values(deactivated_at=now()))
        db.session.commit()
    assert "deactivated" in said(ask("GET", "users/me"), 403)["message"]


def test_a_cookie_opens_nothing(client: FlaskClient) -> None:
    token = client.get("/login").text.partition('name="csrf_token" value="')[2].partition('"')[0]
    form = {"username": ADMIN, "password": "hexhub-demo", "csrf_token": token}
    client.post("/login", data=form)
    assert client.get("/api/users/me").status_code == 401
    assert client.post("/api/packages/own/releases", data=package_file()).status_code == 401


def test_keys_are_made_shown_once_and_deleted(seeded: Flask, client: FlaskClient, ask: Ask) -> None:
    made = said(ask("POST", "keys", {"name": "laptop", "permissions": [{"domain": "api"}]}), 201)
    key = made["secret"]
    with seeded.app_context():
        hashes = list(db.session.scalars(select(ApiKey.key_sha256)))
    assert hashlib.sha256(key.encode()).hexdigest() in hashes
    headers = {"Authorization": key}
    listed = client.get("/api/keys", headers=headers).get_json()
    assert [each["name"] for each in listed] == ["ci", "laptop"]
    assert all("secret" not in each for each in listed)
    assert said(ask("GET", "keys/laptop"))["name"] == "laptop"
    refused(ask("POST", "keys", {"name": "laptop"}), "name", "a key laptop already")
    refused(ask("POST", "keys", {}), "name", "missing")
    refused(ask("POST", "keys", {"name": ""}), "name", "1 to 255")
    # One that may do less is not made into one that may do all.
    less = {"name": "less", "permissions": [{"domain": "repository", "resource": "acme"}]}
    refused(ask("POST", "keys", less), "permissions", "may do everything")
    done(ask("DELETE", "keys/laptop"))
    assert client.get("/api/keys", headers=headers).status_code == 401
    done(ask("DELETE", "keys"))
    said(ask("GET", "keys"), 401)
    said(ask("GET", "users/me", key=OTHER))


def test_private_packages_are_for_those_with_a_key(ask: Ask) -> None:
    for path in (f"packages/{PRIVATE}", f"packages/{PRIVATE}/releases/1.0.0"):
        said(ask("GET", path, key=""), 401)
        said(ask("GET", path, key=OTHER))
    for key, is_there in (("", False), (OTHER, True)):
        found = said(ask("GET", "packages", key=key))
        names = [each["name"] for each in found]
        assert (PRIVATE in names) is is_there
        assert names == sorted(names)
        assert CACHED not in names


def test_packages_are_searched_and_sorted(ask: Ask) -> None:
    assert [each["name"] for each in said(ask("GET", "packages?search=GATE"))] == [PUBLIC]
    found = said(ask("GET", "packages?sort=total_downloads"))
    counts = [each["downloads"]["all"] for each in found]
    assert counts == sorted(counts, reverse=True)
    assert "sorted by one of" in said(ask("GET", "packages?sort=mood"), 400)["message"]
    said(ask("GET", "packages?page=99"), 404)


@pytest.mark.parametrize(
    ("path", "method"),
    [("", "GET"), ("nothing", "GET"), ("repos/other/packages/own/releases", "POST")],
)
def test_what_is_not_there_is_said_in_a_term(ask: Ask, path: str, method: str) -> None:
    assert said(ask(method, path), 404)["status"] == 404


def test_a_request_that_can_not_be_read_is_refused(client: FlaskClient, ask: Ask) -> None:
    publish(ask)
    headers = {"Authorization": seeded_key(ADMIN), "Content-Type": TERM, "Accept": TERM}
    for body, status in (
        (b"\x83P", 400),
        (erlang_terms.encode(["no map"]), 400),
        (erlang_terms.encode({"reason": "x" * 70_000}), 413),
    ):
        path = "/api/packages/own/releases/0.1.0/retire"
        said(client.post(path, headers=headers, data=body), status)
    headers["Content-Type"] = "application/json"
    path = "/api/packages/own/releases/0.1.0/retire"
    said(client.post(path, headers=headers, data=b"[" * 60_000), 400)


@pytest.mark.parametrize(
    "command",
    [
        ("flask", "--app=examples.host_app", "run", "--port={port}"),
        ("gunicorn", "--bind=127.0.0.1:{port}", "--threads=2", "examples.host_app:create_app()"),
    ],
    ids=["the development server", "gunicorn"],
)
def test_a_client_that_waits_to_go_on_is_told_to(seeded: Flask, command: tuple[str, ...]) -> None:
    file = package_file()
    head = "\r\n".join(
        [
            "POST /api/packages/own/releases?replace=false HTTP/1.1",
            "host: registry",
            f"authorization: {seeded_key(ADMIN)}",
            f"accept: {TERM}",
            "content-type: application/octet-stream",
            f"content-length: {len(file)}",
            "expect: 100-continue",
            "connection: close",
            "",
            "",
        ]
    )
    with process(Path(seeded.instance_path), *command) as server:
        port = server.address.port
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as line:
            line.sendall(head.encode())
            with line.makefile("rb") as answer:
                go_on = b"HTTP/1.1 100 Continue\r\n", b"\r\n"
                assert (answer.readline(), answer.readline()) == go_on
                line.sendall(file)
                # The development server may say so twice.
                first = next(said for said in answer if said not in go_on)
                assert first.startswith(b"HTTP/1.1 201 ")
