"""The restore form: streamed to its place, and nothing of it read for strangers."""

from __future__ import annotations

import io
import json
import os
import resource
import socket
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.test import EnvironBuilder, run_wsgi_app

from examples.host_app.models import Package, db
from examples.host_app.seed import ADMIN
from hexhub_backup import verbs
from hexhub_backup.coordination.lock import exclusive
from hexhub_backup.depot.directory import DirectoryDepot
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.operations.choice import Choice
from tests.support.directory import coordinator_of, depot_of
from tests.support.hosts import make_app
from tests.support.patience import PATIENCE, wait_for
from tests.support.processes import peak_memory, workers
from tests.support.serving import (
    ADA,
    PREFIX,
    Address,
    Visitor,
    is_idle,
    make_backup,
    process,
    visitor,
)
from tests.support.tus import TAR, NeverRead

MIB = 1024 * 1024
#: The full size is for an evening; the flat line is as flat here.
SIZE = int(os.environ.get("HEXHUB_BACKUP_TEST_UPLOAD_MIB", "300")) * MIB
BOUNDARY = "----a-boundary"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    return make_app(tmp_path_factory.mktemp("uploads") / "host", {"MAX_CONTENT_LENGTH": 1000})


@pytest.fixture(autouse=True)
def no_upload(served: Flask) -> None:
    """The host is idle, and has none."""
    wait_for(lambda: is_idle(served))
    for path in uploads(served):
        path.unlink()


@pytest.fixture(scope="module")
def admin(served: Flask) -> Visitor:
    return visitor(served, ADMIN)


def uploads(app: Flask) -> list[Path]:
    return sorted((backups_of(app).depot.path / "uploads").iterdir())


def post(app: Flask, who: Visitor, form: dict[str, Any], **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.test_client(use_cookies=False).post(
        f"{PREFIX}/restore",
        headers={**who.headers, **named},
        data=form,
        content_type="multipart/form-data",
    )


def archive(app: Flask) -> bytes:
    return depot_of(backups_of(app)).archive(make_backup(app)).read_bytes()


def outcome(app: Flask, answer: Any) -> dict[str, Any]:
    """The result of the operation that an answer leads to."""
    assert answer.status_code == 303, answer.text
    operation = answer.location.rsplit("/", 1)[1]

    def result() -> Any:
        with app.app_context():
            events = list(backups_of(app).orders.events(operation))
        return events[-1] if events and events[-1]["type"] == "result" else None

    def is_recorded() -> bool:
        with app.app_context():
            return backups_of(app).catalog.operation(operation).ended

    found: dict[str, Any] = wait_for(result)
    wait_for(lambda: is_recorded() and is_idle(app))
    return found


def apply(app: Flask, who: Visitor, answer: Any, **form: str) -> dict[str, Any]:
    """Wait for the plan that an answer leads to, and restore it; gives the restore's result."""
    assert outcome(app, answer)["state"] == "completed"
    form = {"csrf_token": who.token, "do": "restore", **form}
    client = app.test_client(use_cookies=False)
    return outcome(app, client.post(answer.location, headers=who.headers, data=form))


def test_an_uploaded_archive_is_restored(app: Flask, admin: Visitor) -> None:
    data = archive(app)
    with app.app_context():
        package = db.session.query(Package).filter_by(source="local").first()
        assert package is not None
        package.meta, before = {"changed": True}, package.meta
        db.session.commit()
    form = {
        "csrf_token": admin.token,
        "conflict_strategy": "overwrite",
        "file": (io.BytesIO(data), "../../anything.tar"),
    }
    answer = post(app, admin, form)
    assert answer.location.startswith(f"{PREFIX}/plans/")
    result = apply(app, admin, answer, replaces="1")
    assert result["state"] == "completed", result
    assert result["outcome"]["records"]["packages"]["overwritten"] == 1
    with app.app_context():
        assert db.session.query(Package).filter_by(meta={"changed": True}).count() == 0
        assert before == {} or before
    (upload,) = uploads(app)
    assert upload.read_bytes() == data
    assert upload.stat().st_mode & 0o777 == 0o600


def test_a_backup_of_the_history_is_restored_without_a_file(app: Flask, admin: Visitor) -> None:
    backup = make_backup(app)
    # As a browser sends a form in which no file was chosen.
    form = {"csrf_token": admin.token, "backup": backup, "file": (io.BytesIO(), "")}
    result = apply(app, admin, post(app, admin, form))
    assert result["state"] == "completed", result
    assert uploads(app) == []


def test_protected_columns_come_in_only_when_the_box_is_ticked(app: Flask, admin: Visitor) -> None:
    data = archive(app)
    for ticked in ({}, {"grant_protected": "0"}, {"grant_protected": "on"}):
        form = {"csrf_token": admin.token, **ticked, "file": (io.BytesIO(data), "a.tar")}
        assert apply(app, admin, post(app, admin, form))["state"] == "completed"
        with app.app_context():
            latest = backups_of(app).history.operations()[0]
        assert latest.verb == "restore"
        assert latest.options["choice"]["protected"] is (ticked.get("grant_protected") == "on")


def test_the_token_has_to_come_before_the_file(app: Flask, admin: Visitor) -> None:
    data = archive(app)
    late = form_of(("file", data), ("csrf_token", admin.token.encode()))
    wrong = form_of(("csrf_token", b"wrong"), ("file", data))
    for body in (late, wrong):
        answer = app.test_client(use_cookies=False).post(
            f"{PREFIX}/restore", headers=admin.headers, data=body, content_type=CONTENT_TYPE
        )
        assert answer.status_code == 400
    assert uploads(app) == []
    header = {"file": (io.BytesIO(data), "a.tar"), "conflict_strategy": "fail"}
    assert post(app, admin, header, X_CSRFToken=admin.token).status_code == 303


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        ({}, 400, "choose a file or a backup"),
        ({"backup": "none"}, 404, "There is no backup none"),
        ({"conflict_strategy": "mix", "file": (b"x", "a.tar")}, 400, "There is no strategy"),
        ({"backup": "none", "file": (b"x", "a.tar")}, 400, "not both"),
        ({"file": (b"x", "a.tar"), "more": (b"y", "b.tar")}, 400, "One file at a time"),
        ({"more": "x" * 70_000}, 413, "too long"),
        ({f"field{number}": "x" for number in range(30)}, 413, ""),
    ],
)
def test_a_form_that_can_not_be_meant_leaves_nothing_behind(
    app: Flask, admin: Visitor, form: dict[str, Any], status: int, says: str
) -> None:
    fresh = {
        name: (io.BytesIO(value[0]), value[1]) if isinstance(value, tuple) else value
        for name, value in form.items()
    }
    answer = post(app, admin, {"csrf_token": admin.token, **fresh}, Accept="application/json")
    assert answer.status_code == status, answer.text
    assert says in answer.json["error"]["message"]
    assert uploads(app) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"x", "too small to be a tar"),
        (b"x" * 2000, "not a tar"),
        (b"PK\x03\x04" + bytes(2000), "compressed with zip"),
        (bytes(10_000), "not a tar"),
    ],
)
def test_what_is_no_tar_is_refused_by_its_first_bytes_and_its_name(
    app: Flask, admin: Visitor, content: bytes, says: str
) -> None:
    file = (io.BytesIO(content), "ada/my notes.zip")
    form = {"csrf_token": admin.token, "file": file}
    answer = post(app, admin, form, Accept="application/json")
    assert answer.status_code == 422, answer.text
    assert answer.json["error"]["code"] == "bad_archive"
    message = answer.json["error"]["message"]
    assert message.startswith("my notes.zip can't be used: ")
    assert says in message
    assert uploads(app) == []


def test_a_file_is_named_wherever_its_restore_is_shown(app: Flask, admin: Visitor) -> None:
    file = (io.BytesIO(archive(app)), "before <b>.tar")
    answer = post(app, admin, {"csrf_token": admin.token, "file": file})
    assert outcome(app, answer)["state"] == "completed"
    client = app.test_client(use_cookies=False)
    plan = answer.location
    again = {"csrf_token": admin.token, "do": "plan", "conflict_strategy": "overwrite"}
    planned = client.post(plan, headers=admin.headers, data=again)
    assert outcome(app, planned)["state"] == "completed"
    for address in (plan, planned.location, f"{PREFIX}/"):
        assert "before &lt;b&gt;.tar" in client.get(address, headers=admin.headers).text, address


def test_a_field_behind_the_file_counts_as_well(app: Flask, admin: Visitor) -> None:
    body = form_of(("file", b"x"), ("conflict_strategy", b"mix"))
    answer = app.test_client(use_cookies=False).post(
        f"{PREFIX}/restore",
        headers={**admin.headers, "X-CSRFToken": admin.token},
        data=body,
        content_type=CONTENT_TYPE,
    )
    assert answer.status_code == 400
    assert uploads(app) == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", CONTENT_TYPE),
        (b"nothing that has parts", CONTENT_TYPE),
        (b"x" * 2 * MIB, CONTENT_TYPE),
        (f"--{BOUNDARY}\r\nContent-Type: text/plain\r\n\r\n".encode(), CONTENT_TYPE),
        (f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx".encode(), CONTENT_TYPE),
        (f"--{BOUNDARY}\r\n\xff\xfe: x\r\n\r\n".encode("latin-1"), CONTENT_TYPE),
        (b"x" * 100, "multipart/form-data"),
        (b"x" * 100, f"multipart/form-data; boundary={'x' * 300}"),
        (b"csrf_token=x", "application/x-www-form-urlencoded"),
        (b"x" * 100, "application/octet-stream"),
    ],
)
def test_what_is_no_form_is_refused(
    app: Flask, admin: Visitor, body: bytes, content_type: str
) -> None:
    answer = app.test_client(use_cookies=False).post(
        f"{PREFIX}/restore",
        headers={**admin.headers, "X-CSRFToken": admin.token},
        data=body,
        content_type=content_type,
    )
    assert answer.status_code in (400, 413), answer.text
    assert uploads(app) == []


def test_an_upload_that_breaks_off_leaves_nothing_behind(app: Flask, admin: Visitor) -> None:
    body = multipart_head(admin.token) + b"half of an archive"
    answer = app.test_client(use_cookies=False).post(
        f"{PREFIX}/restore", headers=admin.headers, data=body, content_type=CONTENT_TYPE
    )
    assert answer.status_code == 400
    assert uploads(app) == []


def test_more_than_the_disk_holds_is_refused_by_its_announcement(
    app: Flask, admin: Visitor
) -> None:
    answer = app.test_client(use_cookies=False).post(
        f"{PREFIX}/restore",
        headers={**admin.headers, "Accept": "application/json"},
        input_stream=NeverRead(1 << 60),
        content_type=CONTENT_TYPE,
    )
    assert answer.status_code == 507
    assert json.loads(answer.text)["error"]["code"] == "no_space"


def test_a_disk_that_becomes_full_on_the_way_keeps_nothing(app: Flask, admin: Visitor) -> None:
    """A length that was not announced, or room that went to others meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    body = form_of(("csrf_token", admin.token.encode()), ("file", TAR + b"x" * 5 * MIB))
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MIB, before[1]))
    try:
        answer = app.test_client(use_cookies=False).post(
            f"{PREFIX}/restore",
            headers={**admin.headers, "Accept": "application/json"},
            data=body,
            content_type=CONTENT_TYPE,
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert answer.status_code == 507, answer.text
    assert "make room" in answer.text
    assert uploads(app) == []


class Endless(io.RawIOBase):
    """The body of a form whose file doesn't end."""

    def __init__(self, head: bytes) -> None:
        super().__init__()
        self._left, self.sent = head, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._left[: len(buffer)] or b"x" * len(buffer)
        self._left = self._left[len(data) :]
        self.sent += len(data)
        assert self.sent < 400 * MIB, "it fills the disk"
        buffer[: len(data)] = data
        return len(data)


def test_an_upload_of_no_announced_length_leaves_room_on_the_disk(
    app: Flask, admin: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Transfer-Encoding: chunked`: it would fill the disk of the host's database, too."""
    body = Endless(multipart_head(admin.token) + TAR)
    # A disk of 40 MiB that nobody else writes to: on the machine's own, other tests fill and free
    # gigabytes meanwhile.
    monkeypatch.setattr(DirectoryDepot, "free", lambda _: 40 * MIB - body.sent)
    environ = {
        "REQUEST_METHOD": "POST",
        "HTTP_COOKIE": admin.headers["Cookie"],
        "HTTP_ACCEPT": "application/json",
        "CONTENT_TYPE": CONTENT_TYPE,
        "wsgi.input": body,
        "wsgi.input_terminated": True,
    }
    # Werkzeug's client would ask the body for its length.
    chunks, status, _ = run_wsgi_app(
        app, EnvironBuilder(f"{PREFIX}/restore").get_environ() | environ
    )
    assert status.startswith("507")
    error = json.loads(b"".join(chunks))["error"]
    assert error["code"] == "no_space"
    assert "The upload is more than" in error["message"]
    assert body.sent < 40 * MIB
    assert uploads(app) == []


def test_while_an_operation_runs_nothing_is_uploaded(app: Flask, admin: Visitor) -> None:
    with exclusive(coordinator_of(backups_of(app)).lock) as lock:
        lock.name({"operation": "42", "verb": "create", "actor": "ada", "started_at": "today"})
        answer = app.test_client(use_cookies=False).post(
            f"{PREFIX}/restore",
            headers=admin.headers,
            input_stream=NeverRead(100),
            content_type=CONTENT_TYPE,
        )
    assert answer.status_code == 409


def form_of(*parts: tuple[str, bytes]) -> bytes:
    """A multipart form in this order; `file` is a file."""
    body = b""
    for name, value in parts:
        file = '; filename="a.tar"' if name == "file" else ""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        body += head.encode() + value + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


@pytest.mark.parametrize("who", ["anonymous", "foreign"])
def test_the_body_of_a_stranger_is_not_read(app: Flask, admin: Visitor, who: str) -> None:
    stranger = Visitor() if who == "anonymous" else Visitor({**admin.headers, "Origin": "http://x"})
    answer = app.test_client(use_cookies=False).post(
        f"{PREFIX}/restore",
        headers=stranger.headers,
        input_stream=NeverRead(1000),
        content_type=CONTENT_TYPE,
    )
    assert answer.status_code == (302 if who == "anonymous" else 403)


def test_a_hook_of_the_host_that_reads_forms_gets_none_of_an_upload(tmp_path: Path) -> None:
    app = make_app(tmp_path / "host")

    def reads_forms() -> None:
        request.form.get("anything")

    app.before_request_funcs.setdefault(None, []).insert(0, reads_forms)
    answer = app.test_client().post(
        f"{PREFIX}/restore",
        input_stream=NeverRead(1000),
        content_type=CONTENT_TYPE,
    )
    assert answer.status_code == 413


def test_uploads_and_their_plans_go_after_a_day(app: Flask, admin: Visitor) -> None:
    data = archive(app)
    form = {"csrf_token": admin.token, "file": (io.BytesIO(data), "a.tar")}
    outcome(app, post(app, admin, form))
    (old,) = uploads(app)
    form = {"csrf_token": admin.token, "file": (io.BytesIO(data), "a.tar")}
    outcome(app, post(app, admin, form))
    (new,) = set(uploads(app)) - {old}
    yesterday = (utc_now() - timedelta(days=2)).timestamp()
    os.utime(old, (yesterday, yesterday))
    with app.app_context():
        backups = backups_of(app)
        inspect = verbs.inspect.order(backups.history, ADA, str(old), Choice())
        plan = depot_of(backups).plan(backups.orders.run(app, inspect).operation)
        with depot_of(backups).using(old):
            backups.orders.run(app, verbs.prune.order(ADA))
            assert uploads(app) == sorted([old, new])
        assert plan.exists()
        backups.orders.run(app, verbs.prune.order(ADA))
        assert uploads(app) == [new]
        assert not plan.exists()


# in a server of its own


def multipart_head(token: str) -> bytes:
    return (
        f"--{BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="csrf_token"\r\n\r\n{token}\r\n'
        f"--{BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="file"; filename="a.tar"\r\n'
        "Content-Type: application/x-tar\r\n\r\n"
    ).encode()


TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


def begin(address: Address, who: Visitor, size: int) -> socket.socket:
    """Send a form up to its file of so many bytes."""
    head = multipart_head(who.token)
    lines = [
        f"POST {PREFIX}/restore HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: {CONTENT_TYPE}",
        f"Content-Length: {len(head) + size + len(TAIL)}",
        *(f"{name}: {value}" for name, value in who.headers.items()),
    ]
    connection = socket.create_connection(("127.0.0.1", address.port), timeout=PATIENCE)
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + head)
    return connection


def break_off(address: Address, who: Visitor) -> None:
    """Leave in the middle of an upload."""
    with closing(begin(address, who, 2 * MIB)) as connection:
        connection.sendall(b"x" * MIB)


def send(address: Address, who: Visitor, size: int, begins_with: bytes = TAR) -> tuple[int, int]:
    """Send a form with a file of so many bytes. Gives the answer's status, and how many bytes
    of the file could be sent before it came."""
    # Line breaks and dashes, as in a tar of texts, are the slow path of a decoder.
    block = os.urandom(MIB - 4) + b"\r\n--"
    first = begins_with + block[len(begins_with) :]
    sent = 0
    with closing(begin(address, who, size)) as connection:
        try:
            while sent < size:
                connection.sendall(block if sent else first)
                sent += MIB
            connection.sendall(TAIL)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            status = int(connection.recv(64).split()[1])
        except (ConnectionResetError, IndexError):
            status = 0
    return status, sent


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_upload_costs_no_memory_and_no_temporary_file(tmp_path: Path) -> None:
    app = make_app(tmp_path / "host")
    admin = visitor(app, ADMIN)
    small = tmp_path / "tmp"
    small.mkdir()
    files = f"{tmp_path}/files"
    code = "examples.host_app:create_app(None, {'MAX_CONTENT_LENGTH': 16777216})"
    # What the server writes to the temporary directory has no name: the calls are written down.
    with process(
        tmp_path / "host",
        "tests.web.traced_gunicorn",
        "--threads=4",
        "--worker-tmp-dir=/dev/shm",
        "--bind=127.0.0.1:{port}",
        code,
        TMPDIR=str(small),
        TRACED_TEMPORARY_FILES=files,
    ) as server:
        (worker,) = workers(server.popen.pid)
        assert send(server.address, Visitor(), 200 * MIB)[1] <= 200 * MIB
        assert uploads(app) == []
        break_off(server.address, admin)
        assert wait_for(lambda: uploads(app) == [])
        status, sent = send(server.address, admin, 200 * MIB, b"PK\x03\x04")
        assert status in (422, 0)
        assert sent < 200 * MIB, "the first bytes decide"
        assert uploads(app) == []
        assert send(server.address, admin, MIB)[0] == 303
        wait_for(lambda: is_idle(app))
        before = peak_memory(worker)
        status, sent = send(server.address, admin, SIZE)
        assert (status, sent) == (303, SIZE)
        grown = peak_memory(worker) - before
        # They are no archives, so that they go as soon as they are refused.
        assert wait_for(lambda: uploads(app) == [])
    print(json.dumps({"uploaded_bytes": SIZE, "memory_grown_bytes": grown}))
    assert grown < 32 * MIB
    assert not Path(files).exists(), Path(files).read_text()
