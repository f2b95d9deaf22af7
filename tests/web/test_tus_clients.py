"""Clients of tus that others have written, against gunicorn; and servers that die meanwhile."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from tusclient.client import TusClient

from examples.host_app.seed import ADMIN
from hexhub_backup.jobs.backups import backups_of
from tests.support.directory import depot_of
from tests.support.hosts import make_app
from tests.support.patience import wait_for
from tests.support.processes import peak_memory, workers
from tests.support.serving import PREFIX, Process, Visitor, is_idle, make_backup, process, visitor
from tests.support.tus import TAR, begun, sent

MIB = 1024 * 1024
#: The full size is for an evening; the flat line is as flat here.
SIZE = int(os.environ.get("HEXHUB_BACKUP_TEST_UPLOAD_MIB", "300")) * MIB
LIMITED = "examples.host_app:create_app(None, {'MAX_CONTENT_LENGTH': 16777216})"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clients") / "host"


@pytest.fixture(scope="module")
def served(folder: Path) -> Flask:
    return make_app(folder, file_size=1 << 20)


@pytest.fixture(scope="module")
def admin(served: Flask) -> Visitor:
    return visitor(served, ADMIN)


@pytest.fixture(scope="module")
def archive(served: Flask) -> Path:
    return depot_of(backups_of(served)).archive(make_backup(served))


def serve(folder: Path, *options: str, module: str = "gunicorn", **environment: str) -> Any:
    """gunicorn with one worker, and the host's limit of 16 MiB."""
    return process(
        folder,
        module,
        "--threads=4",
        "--bind=127.0.0.1:{port}",
        *options,
        LIMITED,
        asked=True,
        **environment,
    )


@pytest.fixture
def server(folder: Path, served: Flask) -> Iterator[Process]:
    with serve(folder) as server:
        yield server
    wait_for(lambda: is_idle(served))
    for path in uploads(served):
        path.unlink()


def uploads(app: Flask) -> list[Path]:
    return sorted((backups_of(app).depot.path / "uploads").iterdir())


def kill(server: Process) -> None:
    """As an end of the machine would: nothing is tidied up."""
    children = workers(server.popen.pid)
    for each in (server.popen.pid, *children):
        os.kill(each, signal.SIGKILL)
    server.popen.wait()


def planned(app: Flask, location: str) -> Any:
    """The inspection at an address, when it has ended."""
    operation = location.strip().rpartition("/")[2]

    def look() -> Any:
        with app.app_context():
            found = backups_of(app).catalog.operation(operation)
        return found if found.ended else None

    return wait_for(look)


def restore(server: Process, who: Visitor, upload: str) -> str:
    """Send the form for an upload; gives the address that it leads to."""
    body = f'--x\r\nContent-Disposition: form-data; name="upload"\r\n\r\n{upload}\r\n--x--\r\n'
    status, headers, said = server.address.request(
        "POST",
        f"{PREFIX}/restore",
        who,
        body.encode(),
        Content_Type="multipart/form-data; boundary=x",
        X_CSRFToken=who.token,
    )
    assert status == 303, said
    return headers["Location"]


def curl(server: Process, who: Visitor, method: str, path: str, *options: str) -> dict[str, str]:
    """The headers of an answer, with its `status`."""
    given = {**who.headers, "X-CSRFToken": who.token, "Tus-Resumable": "1.0.0"}
    done = subprocess.run(
        [
            *("curl", "--silent", "--show-error", "--output", "/dev/null", "--dump-header", "-"),
            *("--request", method, *(["--head"] if method == "HEAD" else [])),
            *(word for name, value in given.items() for word in ("--header", f"{name}: {value}")),
            *options,
            f"{server.address.origin}{path}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    # Of what asked to go on there is an answer before the answer.
    lines = done.stdout.strip().split("\n\n")[-1].splitlines()
    pairs = (line.partition(": ") for line in lines[1:])
    return {"status": lines[0].split()[1], **{name.lower(): value for name, _, value in pairs}}


def test_curl_uploads(
    server: Process, served: Flask, admin: Visitor, archive: Path, tmp_path: Path
) -> None:
    size = archive.stat().st_size
    made = curl(
        server, admin, "POST", f"{PREFIX}/uploads",
        "--header", f"Upload-Length: {size}",
        "--header", "Upload-Metadata: filename bWluZS50YXI=",
    )  # fmt: skip
    assert made["status"] == "201"
    upload = made["location"]
    first, rest = tmp_path / "first", tmp_path / "rest"
    first.write_bytes(archive.read_bytes()[:1_000_000])
    rest.write_bytes(archive.read_bytes()[1_000_000:])
    for part, offset in ((first, 0), (rest, 1_000_000)):
        found = curl(server, admin, "HEAD", upload)
        assert (found["status"], found["upload-offset"]) == ("200", str(offset))
        answer = curl(
            server, admin, "PATCH", upload,
            "--header", "Content-Type: application/offset+octet-stream",
            "--header", f"Upload-Offset: {offset}",
            "--data-binary", f"@{part}",
        )  # fmt: skip
        assert answer["status"] == "204"
    form = [f"csrf_token={admin.token}", f"upload={upload.rpartition('/')[2]}"]
    answer = curl(
        server, admin, "POST", f"{PREFIX}/restore",
        *(word for each in form for word in ("--form", each)),
    )  # fmt: skip
    assert answer["status"] == "303"
    operation = planned(served, answer["location"])
    assert operation.state == "completed"
    assert operation.options["file_name"] == "mine.tar"


def test_tuspy_uploads_with_checksums_and_resumes_after_the_server_was_killed(
    folder: Path, server: Process, served: Flask, admin: Visitor, archive: Path
) -> None:
    def client(to: Process) -> TusClient:
        headers = {**admin.headers, "X-CSRFToken": admin.token}
        return TusClient(f"{to.address.origin}{PREFIX}/uploads", headers=headers)

    options = {"chunk_size": MIB, "metadata": {"filename": "mine.tar"}, "upload_checksum": True}
    with archive.open("rb") as file:
        before = client(server).uploader(file_stream=file, **options)
        before.upload(stop_at=3 * MIB)
        assert before.url is not None
        path = before.url.rpartition("/")[2]
    kill(server)
    with serve(folder) as another, archive.open("rb") as file:
        url = f"{another.address.origin}{PREFIX}/uploads/{path}"
        after = client(another).uploader(file_stream=file, url=url, **options)
        assert after.offset == 3 * MIB
        after.upload()
        (state, there) = uploads(served)
        assert there.read_bytes() == archive.read_bytes()
        assert planned(served, restore(another, admin, path)).state == "completed"
        assert not state.exists()


def test_what_had_come_when_the_server_was_killed_is_not_sent_again(
    folder: Path, server: Process, served: Flask, admin: Visitor
) -> None:
    """In the middle of a request, whose lock goes with the process."""
    length, arrived = 8 * MIB, 4 * MIB
    data = TAR + os.urandom(length - len(TAR))
    made = curl(server, admin, "POST", f"{PREFIX}/uploads", "--header", f"Upload-Length: {length}")
    upload = made["location"]
    (_, partial) = uploads(served)
    with closing(begun(server.address, admin, upload, 0, data[:arrived], of=length)):
        wait_for(lambda: partial.stat().st_size > arrived - 2 * 65536)
        assert curl(server, admin, "DELETE", upload)["status"] == "423"
        kill(server)
    with serve(folder) as another:
        here = int(curl(another, admin, "HEAD", upload)["upload-offset"])
        assert arrived - 2 * 65536 < here <= arrived
        assert sent(another.address, admin, upload, here, data[here:]) == 204
        assert partial.with_suffix(".tar").read_bytes() == data
        assert curl(another, admin, "DELETE", upload)["status"] == "204"
    assert uploads(served) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_upload_costs_its_size_on_the_disk_and_nothing_else(tmp_path: Path) -> None:
    app = make_app(tmp_path / "host")
    admin = visitor(app, ADMIN)
    small, files = tmp_path / "tmp", tmp_path / "files"
    small.mkdir()
    block = os.urandom(8 * MIB - 4) + b"\r\n--"

    def created(server: Process, length: int) -> str:
        option = ("--header", f"Upload-Length: {length}")
        return curl(server, admin, "POST", f"{PREFIX}/uploads", *option)["location"]

    traced = {"TMPDIR": str(small), "TRACED_TEMPORARY_FILES": str(files)}
    with serve(
        tmp_path / "host", "--worker-tmp-dir=/dev/shm", module="tests.web.traced_gunicorn", **traced
    ) as server:
        (worker,) = workers(server.popen.pid)
        first = created(server, 16 * MIB)
        assert sent(server.address, admin, first, 0, TAR + block[len(TAR) :]) == 204
        before, free = peak_memory(worker), disk(app)
        upload = created(server, SIZE)
        for offset in range(0, SIZE, 8 * MIB):
            piece = block[: SIZE - offset] if offset else TAR + block[len(TAR) :]
            assert sent(server.address, admin, upload, offset, piece) == 204
        grown, taken = peak_memory(worker) - before, disk(app) - free
        for each in (first, upload):
            assert curl(server, admin, "DELETE", each)["status"] == "204"
    print(json.dumps({"uploaded": SIZE, "memory_grown": grown, "disk_taken": taken}))
    assert grown < 32 * MIB
    assert SIZE <= taken < SIZE + MIB
    assert not files.exists(), files.read_text()
    assert uploads(app) == []


def disk(app: Flask) -> int:
    """Bytes of the disk that the host's folder takes."""
    done = subprocess.run(
        ["du", "--summarize", "--block-size=1", app.instance_path],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.match(r"\d+", done.stdout)
    assert found is not None
    return int(found[0])
