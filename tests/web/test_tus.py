"""Resumable uploads: what the protocol of tus asks, request by request."""

from __future__ import annotations

import base64
import hashlib
import os
import resource
import time
from collections.abc import Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from examples.host_app.seed import ADMIN
from hexhub_backup import extras
from hexhub_backup.coordination.lock import exclusive
from hexhub_backup.depot.directory import DirectoryDepot
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.web import tus
from tests.support.age import age_key
from tests.support.directory import coordinator_of, depot_of
from tests.support.hosts import make_app
from tests.support.patience import wait_for
from tests.support.people import username
from tests.support.serving import (
    PREFIX,
    Visitor,
    is_idle,
    make_backup,
    set_user,
    threaded,
    visitor,
)
from tests.support.tus import TAR, NeverRead, Tus, begun, metadata

MIB = 1024 * 1024
DATA = TAR + b"x" * 3000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    config = {"MAX_CONTENT_LENGTH": 2 * MIB}
    return make_app(tmp_path_factory.mktemp("tus") / "host", config)


@pytest.fixture(scope="module")
def admin(served: Flask) -> Visitor:
    return visitor(served, ADMIN)


@pytest.fixture
def client(served: Flask, admin: Visitor) -> Iterator[Tus]:
    wait_for(lambda: is_idle(served))
    yield Tus(served, admin)
    wait_for(lambda: is_idle(served))
    for path in files(served):
        path.unlink()


def files(app: Flask) -> list[Path]:
    return sorted((backups_of(app).depot.path / "uploads").iterdir())


def path_of(app: Flask, upload: str) -> Path:
    return depot_of(backups_of(app)).upload(upload.rpartition("/")[2])


def checksum(data: bytes, algorithm: str = "sha1") -> str:
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


# the core protocol


@pytest.mark.parametrize("path", ["/uploads", "/uploads/any"])
def test_the_server_says_what_it_can(client: Tus, path: str) -> None:
    answer = client.request("OPTIONS", f"{PREFIX}{path}", Tus_Resumable=None)
    assert (answer.status_code, answer.data) == (204, b"")
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert answer.headers["Tus-Extension"] == "creation,expiration,termination,checksum"
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256"
    assert int(answer.headers["Tus-Max-Size"]) > 10**12


def test_an_upload_comes_in_pieces_and_is_looked_at_in_between(served: Flask, client: Tus) -> None:
    upload = client.create(len(DATA), "ada/mine ü.tar")
    assert upload.startswith(f"{PREFIX}/uploads/")
    for start, end in ((0, 100), (100, 700), (700, 700), (700, len(DATA))):
        answer = client.request("HEAD", upload)
        assert answer.headers["Upload-Offset"] == str(start)
        assert answer.headers["Upload-Length"] == str(len(DATA))
        assert answer.headers["Upload-Metadata"] == metadata("ada/mine ü.tar")
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Tus-Resumable"] == "1.0.0"
        answer = client.patch(upload, start, DATA[start:end])
        assert (answer.status_code, answer.data) == (204, b""), answer.text
        assert answer.headers["Upload-Offset"] == str(end)
        assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert client.offset(upload) == len(DATA)
    assert path_of(served, upload).read_bytes() == DATA
    assert path_of(served, upload).stat().st_mode & 0o777 == 0o600
    # It is there already: nothing more comes, as often as it is asked.
    assert client.patch(upload, len(DATA), b"").status_code == 204


@pytest.mark.parametrize("version", [None, "0.2.2", "2.0.0"])
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
def test_another_version_of_the_protocol_is_refused(
    client: Tus, method: str, version: str | None
) -> None:
    path = "/uploads" if method == "POST" else "/uploads/any"
    answer = client.request(method, f"{PREFIX}{path}", Tus_Resumable=version, Upload_Length=1)
    assert answer.status_code == 412
    assert answer.headers["Tus-Version"] == "1.0.0"


@pytest.mark.parametrize(
    ("headers", "status", "says"),
    [
        ({"Upload_Offset": "5"}, 409, "0 bytes of this upload are here"),
        ({"Upload_Offset": None}, 400, "Upload-Offset"),
        ({"Upload_Offset": "-1"}, 400, "Upload-Offset"),
        ({"Upload_Offset": "x"}, 400, "Upload-Offset"),
        ({"Content_Type": "application/x-tar"}, 415, "application/offset+octet-stream"),
        ({"Content_Type": "multipart/form-data; boundary=x"}, 415, "offset+octet-stream"),
        ({"Upload_Checksum": "md5 AAAA"}, 400, "sha1 or sha256"),
        ({"Upload_Checksum": "sha1"}, 460, "none was kept"),
        ({"Upload_Checksum": "sha1 no*base64"}, 400, "Base64"),
        ({"Upload_Checksum": checksum(b"others")}, 460, "none was kept"),
        ({"Upload_Checksum": checksum(b"others", "sha256")}, 460, "none was kept"),
    ],
)
def test_a_piece_that_does_not_fit_changes_nothing(
    served: Flask, client: Tus, headers: dict[str, str], status: int, says: str
) -> None:
    upload = client.create(len(DATA))
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = client.patch(upload, 0, DATA, **given)
    assert answer.status_code == status, answer.text
    assert answer.json is not None
    assert says in answer.json["error"]["message"]
    assert client.offset(upload) == 0
    assert path_of(served, upload).with_suffix(".part").read_bytes() == b""


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_piece_with_its_checksum_is_kept(client: Tus, algorithm: str) -> None:
    upload = client.create(len(DATA))
    assert client.patch(upload, 0, DATA[:99]).status_code == 204
    given = {"Upload-Checksum": checksum(DATA[99:], algorithm)}
    assert client.patch(upload, 99, DATA[99:-1], **given).status_code == 460
    assert client.offset(upload) == 99
    assert client.patch(upload, 99, DATA[99:], **given).status_code == 204
    assert client.offset(upload) == len(DATA)


def test_a_piece_with_a_checksum_is_of_a_size_that_memory_holds(
    client: Tus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tus, "_CHECKED", 1000)
    upload = client.create(len(DATA))
    answer = client.patch(upload, 0, DATA, **{"Upload-Checksum": checksum(DATA)})
    assert answer.status_code == 413
    assert client.offset(upload) == 0


def test_no_more_comes_than_was_announced(client: Tus) -> None:
    upload = client.create(len(DATA))
    assert client.patch(upload, 0, DATA + b"x").status_code == 413
    assert client.offset(upload) == 0
    assert client.patch(upload, 0, DATA).status_code == 204
    assert client.patch(upload, len(DATA), b"x").status_code == 413


def test_the_hosts_limit_is_one_of_each_request(client: Tus) -> None:
    data = TAR + bytes(5 * MIB)
    upload = client.create(len(data))
    assert client.patch(upload, 0, data[: 2 * MIB + 1]).status_code == 413
    for start in range(0, len(data), 2 * MIB):
        assert client.patch(upload, start, data[start : start + 2 * MIB]).status_code == 204
    assert client.offset(upload) == len(data)


def test_a_method_that_a_proxy_forbids_is_named_in_a_header(client: Tus) -> None:
    upload = client.create(len(DATA))
    given = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    override = "X-HTTP-Method-Override"
    answer = client.request("POST", upload, DATA, **{**given, override: "PATCH"})
    assert answer.status_code == 204
    assert client.offset(upload) == len(DATA)
    assert client.request("POST", upload, **{override: "TRACE"}).status_code == 405
    assert client.request("POST", upload).status_code == 405
    assert client.request("POST", upload, **{override: "DELETE"}).status_code == 204
    assert client.request("HEAD", upload).status_code == 404


# creation


@pytest.mark.parametrize(
    ("headers", "status", "says"),
    [
        ({}, 400, "Upload-Length"),
        ({"Upload_Length": "-1"}, 400, "Upload-Length"),
        ({"Upload_Length": "1e3"}, 400, "Upload-Length"),
        ({"Upload_Defer_Length": "1"}, 400, "Upload-Length"),
        ({"Upload_Length": 5 * 1024**4 + 1}, 413, "at most 5 TiB"),
        ({"Upload_Length": 5 * 1024**4}, 507, "is free in"),
        ({"Upload_Length": "9" * 30}, 400, "Upload-Length"),
        ({"Upload_Length": 9, "Upload_Metadata": "filename no*base64"}, 400, "Base64"),
        ({"Upload_Length": 9, "Upload_Metadata": "x" * 5000}, 400, "4 KiB"),
        ({"Upload_Length": 0}, 422, "the file is empty"),
    ],
)
def test_an_upload_that_can_not_be_meant_is_not_begun(
    served: Flask, client: Tus, headers: dict[str, Any], status: int, says: str
) -> None:
    answer = client.request("POST", f"{PREFIX}/uploads", **headers)
    assert answer.status_code == status, answer.text
    assert answer.json is not None
    assert says in answer.json["error"]["message"]
    assert files(served) == []


def test_while_an_operation_runs_none_is_begun(served: Flask, client: Tus) -> None:
    upload = client.create(len(DATA))
    with exclusive(coordinator_of(backups_of(served)).lock) as lock:
        lock.name({"operation": "42", "verb": "create", "actor": "ada", "started_at": "today"})
        answer = client.request("POST", f"{PREFIX}/uploads", Upload_Length=9)
        assert answer.status_code == 409
        assert answer.json is not None
        assert answer.json["error"]["code"] == "busy"
        # One that has begun comes in meanwhile.
        assert client.patch(upload, 0, DATA).status_code == 204


# what is no archive, and what there is no room for


@pytest.mark.parametrize("first", [512, 100, 2000])
def test_what_is_no_tar_is_refused_by_its_first_bytes(
    served: Flask, client: Tus, first: int
) -> None:
    data = b"PK\x03\x04" + bytes(5000)
    upload = client.create(len(data), "ada/my notes.zip")
    sent, answer = 0, None
    while answer is None or answer.status_code == 204:
        assert sent <= 512
        answer = client.patch(upload, sent, data[sent : sent + first])
        sent += first
    assert answer.status_code == 422
    assert answer.json is not None
    assert answer.json["error"]["code"] == "bad_archive"
    message = answer.json["error"]["message"]
    assert message.startswith("my notes.zip can't be used: the file is compressed with zip")
    assert files(served) == []
    assert client.request("HEAD", upload).status_code == 404


def test_a_file_that_is_too_small_is_refused_when_all_of_it_is_there(
    served: Flask, client: Tus
) -> None:
    upload = client.create(3)
    assert client.patch(upload, 0, b"ab").status_code == 204
    assert client.patch(upload, 2, b"c").status_code == 422
    assert files(served) == []


def test_a_disk_that_becomes_full_keeps_what_has_come(
    served: Flask, client: Tus, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = client.create(len(DATA))
    assert client.patch(upload, 0, DATA[:1000]).status_code == 204
    with monkeypatch.context() as patch:
        patch.setattr(DirectoryDepot, "free", lambda _: MIB)
        answer = client.patch(upload, 1000, DATA[1000:])
        assert answer.status_code == 507
        assert client.request("POST", f"{PREFIX}/uploads", Upload_Length=2 * MIB).status_code == 507
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        answer = client.patch(upload, 1000, DATA[1000:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert answer.status_code == 507
    assert "make room" in answer.text
    here = client.offset(upload)
    assert here == 2000
    assert client.patch(upload, here, DATA[here:]).status_code == 204
    assert path_of(served, upload).read_bytes() == DATA


# whose it is


def test_an_upload_is_of_whoever_began_it(served: Flask, client: Tus) -> None:
    other = username(served, is_admin=False)
    set_user(served, other, is_admin=True)
    try:
        theirs = Tus(served, visitor(served, other))
        upload = client.create(len(DATA))
        assert theirs.request("HEAD", upload).status_code == 404
        assert theirs.patch(upload, 0, DATA).status_code == 404
        assert theirs.request("DELETE", upload).status_code == 404
        assert client.patch(upload, 0, DATA).status_code == 204
        assert theirs.restore(upload).status_code == 404
        assert client.offset(upload) == len(DATA)
    finally:
        set_user(served, other, is_admin=False)


@pytest.mark.parametrize("token", [None, "wrong"])
def test_each_change_takes_the_token_in_a_header(client: Tus, token: str | None) -> None:
    upload = client.create(len(DATA))
    given = {"X_CSRFToken": token}
    assert client.patch(upload, 0, DATA, **{"X-CSRFToken": token}).status_code == 400
    assert client.request("DELETE", upload, **given).status_code == 400
    assert client.request("POST", f"{PREFIX}/uploads", Upload_Length=1, **given).status_code == 400
    body = f"csrf_token={client.who.token}".encode()
    form = {"Content-Type": "application/x-www-form-urlencoded", **given}
    assert client.request("DELETE", upload, body, **form).status_code == 400
    assert client.offset(upload) == 0


@pytest.mark.parametrize(("who", "status"), [("anonymous", 401), ("foreign", 403)])
def test_of_a_stranger_nothing_is_read(served: Flask, client: Tus, who: str, status: int) -> None:
    upload = client.create(len(DATA))
    headers = {**client.who.headers, "Origin": "http://elsewhere"} if who == "foreign" else {}
    stranger = Tus(served, Visitor(headers, client.who.token))
    answer = stranger.patch(upload, 0, NeverRead(len(DATA)))
    assert answer.status_code == status
    for method in ("HEAD", "DELETE", "OPTIONS"):
        # A foreign page may look: its browser lets it read no answer.
        expected = {status} if (who, method) != ("foreign", "HEAD") else {200, 403}
        assert stranger.request(method, upload).status_code in expected
    assert client.offset(upload) == 0


# termination, expiration


@pytest.mark.parametrize("sent", [0, 1000, len(DATA)])
def test_of_an_upload_that_is_terminated_nothing_is_left(
    served: Flask, client: Tus, sent: int
) -> None:
    upload = client.create(len(DATA))
    client.patch(upload, 0, DATA[:sent])
    answer = client.request("DELETE", upload)
    assert (answer.status_code, answer.data) == (204, b"")
    assert files(served) == []
    for method in ("HEAD", "PATCH", "DELETE"):
        given = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": 0}
        assert client.request(method, upload, **given).status_code == 404


def test_an_upload_goes_a_day_after_its_last_bytes(served: Flask, client: Tus) -> None:
    depot = depot_of(backups_of(served))
    old, new, done = (client.create(len(DATA)) for _ in range(3))
    answer = client.patch(new, 0, DATA[:1000])
    expires = parsedate_to_datetime(answer.headers["Upload-Expires"]).timestamp()
    assert abs(expires - time.time() - 86400) < 60
    client.patch(done, 0, DATA)
    two_days_ago = time.time() - 2 * 86400
    for each in (old, new, done):
        for path in path_of(served, each).parent.glob(f"{path_of(served, each).stem}.*"):
            os.utime(path, (two_days_ago, two_days_ago))
    for method in ("HEAD", "DELETE"):
        assert client.request(method, old).status_code == 410
    assert client.restore(done).status_code == 410
    # Of one that is written just now nothing goes.
    with depot.resumable(new.rpartition("/")[2], alone=True) as upload:
        upload.write(DATA[1000:1001])
        with served.app_context():
            backups_of(served).remove_day_old()
        upload.keep()
    assert {path.stem for path in files(served)} == {new.rpartition("/")[2]}
    assert client.request("HEAD", old).status_code == 404
    assert client.patch(new, 1001, DATA[1001:]).status_code == 204


def test_an_upload_whose_state_was_lost_with_the_power_is_begun_anew(
    served: Flask, client: Tus
) -> None:
    upload = client.create(len(DATA))
    path_of(served, upload).with_suffix(".json").write_bytes(b"")
    assert client.request("HEAD", upload).status_code == 404
    assert client.patch(upload, 0, DATA).status_code == 404


# one writer at a time, and lines that are lost


def test_a_second_writer_is_locked_out_and_what_the_first_has_sent_stays(
    served: Flask, client: Tus
) -> None:
    data = TAR + bytes(MIB)
    upload = client.create(len(data))
    with threaded(served) as address:
        with closing(begun(address, client.who, upload, 0, data[: MIB // 2], of=len(data))):
            wait_for(lambda: client.offset(upload) > 0)
            answer = client.patch(upload, client.offset(upload), b"x")
            assert answer.status_code == 423
            assert client.request("DELETE", upload).status_code == 423
        here = wait_for(
            lambda: client.patch(upload, 0, b"").status_code == 409 and client.offset(upload)
        )
    assert here > MIB // 2 - 65536
    assert client.patch(upload, here, data[here:]).status_code == 204
    assert path_of(served, upload).read_bytes() == data


def test_a_line_on_which_nothing_comes_lets_go_of_the_upload(
    served: Flask, client: Tus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tus, "_IDLE", 0.3)
    upload = client.create(len(DATA))
    with (
        threaded(served) as address,
        closing(begun(address, client.who, upload, 0, DATA[:600], of=len(DATA))) as connection,
    ):
        assert connection.recv(100).split()[1] == b"400"
    assert client.offset(upload) == 512
    assert client.patch(upload, 512, DATA[512:]).status_code == 204


# what becomes of it


def archive(app: Flask) -> bytes:
    return depot_of(backups_of(app)).archive(make_backup(app)).read_bytes()


def ended(app: Flask, answer: Any) -> Any:
    """The operation that an answer leads to."""
    assert answer.status_code == 303, answer.text
    operation = answer.location.rsplit("/", 1)[1]

    def look() -> Any:
        with app.app_context():
            found = backups_of(app).catalog.operation(operation)
        return found if found.ended else None

    found = wait_for(look)
    wait_for(lambda: is_idle(app))
    return found


def test_a_complete_upload_is_planned_as_the_form_says(served: Flask, client: Tus) -> None:
    data = archive(served)
    upload = client.create(len(data), "ada/before <b>.tar")
    assert client.patch(upload, 0, data[:1000]).status_code == 204
    answer = client.restore(upload)
    assert answer.status_code == 409
    assert "Not all of the file is here" in answer.text
    assert client.patch(upload, 1000, data[1000:]).status_code == 204
    answer = client.restore(upload, conflict_strategy="overwrite", grant_protected="on")
    assert answer.location.startswith(f"{PREFIX}/plans/")
    operation = ended(served, answer)
    assert (operation.verb, operation.state) == ("inspect", "completed")
    assert operation.options["choice"]["strategy"] == "overwrite"
    assert operation.options["choice"]["protected"] is True
    assert operation.options["file_name"] == "before <b>.tar"
    # It is the operation's from now on.
    assert files(served) == [path_of(served, upload)]
    assert client.request("HEAD", upload).status_code == 404
    assert client.restore(upload).status_code == 404


@pytest.mark.parametrize(
    ("more", "status"), [({"backup": "any"}, 400), ({"conflict_strategy": "mix"}, 400)]
)
def test_a_form_that_can_not_be_meant_leaves_the_upload(
    client: Tus, more: dict[str, str], status: int
) -> None:
    upload = client.create(len(DATA))
    client.patch(upload, 0, DATA)
    assert client.restore(upload, **more).status_code == status
    assert client.offset(upload) == len(DATA)
    for other in ("none", "../lock", ".."):
        assert client.restore(f"/{other}").status_code == 404


def test_an_encrypted_archive_waits_for_its_key(served: Flask, client: Tus, tmp_path: Path) -> None:
    key, wrong = age_key(tmp_path / "key.txt"), age_key(tmp_path / "wrong.txt")
    data = key.close(archive(served))
    upload = client.create(len(data), "mine.tar.age")
    assert client.patch(upload, 0, data).status_code == 204
    for form in ({}, {"identity": wrong.identity.read_text()}):
        answer = client.restore(upload, **form)
        assert answer.status_code == 422
        assert answer.json is not None
        assert answer.json["error"]["code"] == "wrong_key"
        # Nothing has to be uploaded again.
        assert client.offset(upload) == len(data)
    opened = ended(served, client.restore(upload, identity=key.identity.read_text()))
    assert (opened.verb, opened.state) == ("decrypt", "completed")
    assert opened.options["file_name"] == "mine.tar.age"


def test_an_encrypted_archive_is_refused_where_nothing_opens_it(
    served: Flask, client: Tus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    data = b"age-encryption.org/v1\n" + bytes(2000)
    upload = client.create(len(data))
    answer = client.patch(upload, 0, data)
    assert answer.json is not None
    assert "pip install 'hexhub_backup[age]'" in answer.json["error"]["message"]
    assert files(served) == []
