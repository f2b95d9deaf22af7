"""A destination in a bucket: what it tells the server, and what becomes of its errors."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hexhub_backup import S3Destination
from hexhub_backup.destinations import s3
from hexhub_backup.errors import AwayError, DestinationError, SettingError
from hexhub_backup.s3.uploads import Uploads
from hexhub_backup.testing.destinations.host import ARCHIVE, SIDECAR, Bytes
from tests.support.s3 import KEYS, Fate, S3Server, between

QUICK: dict[str, Any] = {"connect_timeout": 1, "read_timeout": 2}


def uploads(server: S3Server, bucket: str) -> list[str]:
    return [
        each["Key"]
        for each in server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    ]


def test_parts_of_an_upload_that_died_are_dropped_by_the_next(moto: S3Server) -> None:
    bucket = moto.bucket()
    offsite, client = moto.destination(bucket), moto.client()
    for name in (ARCHIVE, SIDECAR):
        begun = client.create_multipart_upload(Bucket=bucket, Key=f"backups/{name}")
        client.upload_part(
            Bucket=bucket,
            Key=f"backups/{name}",
            UploadId=begun["UploadId"],
            PartNumber=1,
            Body=b"of one that died",
        )
    offsite.put(ARCHIVE, Bytes(b"a copy"), 6)
    # The other one may be alive.
    assert uploads(moto, bucket) == [f"backups/{SIDECAR}"]
    offsite.delete(SIDECAR)
    assert uploads(moto, bucket) == []
    assert [each.name for each in offsite.list()] == [ARCHIVE]


def test_an_upload_that_fails_leaves_no_parts(moto: S3Server) -> None:
    bucket = moto.bucket()

    class Ending(Bytes):
        def read(self, size: int, /) -> bytes:
            raise ValueError("it was cancelled")

    with pytest.raises(ValueError, match="cancelled"):
        moto.destination(bucket).put(ARCHIVE, Ending(b""), 6)
    assert uploads(moto, bucket) == []


def test_a_server_is_told_to_refuse_and_asked_once_whether_it_does(localbucket: S3Server) -> None:
    with between(localbucket) as (server, seen):
        offsite = server.destination(server.bucket())
        assert offsite.about().notes == ()
        seen.requests.clear()
        offsite.put(ARCHIVE, Bytes(b"a copy"), 6)
        assert not [each for each in seen.requests if "probe" in each]
        # As if another one came between the question and the end.
        seen.fate = lambda _, request: 404 if request.startswith("HEAD") else "pass"
        with pytest.raises(FileExistsError):
            offsite.put(ARCHIVE, Bytes(b"another"), 7)
        with offsite.open(ARCHIVE) as file:
            assert file.read(100) == b"a copy"


def test_where_a_server_does_not_refuse_it_is_said_and_asked_first(localbucket: S3Server) -> None:
    with between(localbucket, strip=("If-None-Match",)) as (server, _):
        offsite = server.destination(server.bucket())
        (note,) = offsite.about().notes
        assert "asks first" in note
        offsite.put(ARCHIVE, Bytes(b"a copy"), 6)
        with pytest.raises(FileExistsError):
            offsite.put(ARCHIVE, Bytes(b"another"), 7)


def test_a_server_that_does_not_know_conditions_is_not_told_any(localbucket: S3Server) -> None:
    def fate(_: int, request: str) -> Fate:
        return 501 if request.startswith("POST") and "probe?uploadId" in request else "pass"

    with between(localbucket, fate=fate) as (server, _):
        offsite = server.destination(server.bucket())
        assert len(offsite.about().notes) == 1
        offsite.put(ARCHIVE, Bytes(b"a copy"), 6)


def test_a_copy_has_its_class_encryption_and_checksums(moto: S3Server) -> None:
    bucket = moto.bucket()
    offsite = moto.destination(bucket, storage_class="STANDARD_IA", encryption="AES256")
    offsite.put(ARCHIVE, Bytes(b"a copy"), 6)
    head = moto.client().head_object(Bucket=bucket, Key=f"backups/{ARCHIVE}")
    assert (head["StorageClass"], head["ServerSideEncryption"]) == ("STANDARD_IA", "AES256")


def test_a_bucket_that_locks_nothing_gets_no_copy_that_counts(localbucket: S3Server) -> None:
    offsite = localbucket.destination(localbucket.bucket(), lock_days=3)
    offsite.put(ARCHIVE, Bytes(b"a copy"), 6)
    for _ in range(2):
        with pytest.raises(DestinationError, match="lock"):
            offsite.lock(ARCHIVE)


def test_all_bytes_go_in_parts_of_one_size(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """R2 takes no others; the last one is smaller."""
    monkeypatch.setattr(s3, "_PART", 5 * 1024 * 1024)
    content = bytes(range(256)) * 43_000
    with between(moto) as (server, seen):
        offsite = server.destination(server.bucket())
        offsite.put(ARCHIVE, io.BytesIO(content), len(content))
        parts = [each for each in seen.requests if f"{ARCHIVE}?" in each and "partNumber" in each]
        assert len(parts) == 3
        with offsite.open(ARCHIVE) as file:
            assert b"".join(iter(lambda: file.read(2**20), b"")) == content


def test_parts_grow_where_there_would_be_too_many() -> None:
    for size in (1, 140 * 10**9, 10**12, 5 * 10**12):
        part = max(s3._PART, s3._rounded(size))
        assert size / part < 10_000
        assert part % 2**20 == 0


@pytest.mark.parametrize("fate", [500, 503, "hang"])
def test_a_server_that_does_not_answer_is_given_up(localbucket: S3Server, fate: Fate) -> None:
    with between(localbucket) as (server, seen):
        bucket = server.bucket()
        offsite = server.destination(bucket, **QUICK)
        offsite.put(SIDECAR, Bytes(b"another"), 7)
        seen.fate = lambda *_: fate
        for use in (
            offsite.about,
            lambda: offsite.put(ARCHIVE, Bytes(b"a copy"), 6),
            lambda: offsite.open(SIDECAR),
            lambda: list(offsite.list()),
            lambda: offsite.delete(SIDECAR),
        ):
            with pytest.raises(DestinationError) as caught:
                use()
            assert "offsite (s3://" in str(caught.value)
            assert KEYS["secret_key"] not in str(caught.value)
            assert caught.value.__cause__ is None


def test_a_connection_that_ends_while_it_is_read_is_an_error_of_the_destination(
    localbucket: S3Server,
) -> None:
    offsite = localbucket.destination(localbucket.bucket())
    offsite.put(ARCHIVE, Bytes(bytes(2_000_000)), 2_000_000)
    with offsite.open(ARCHIVE) as file:
        assert len(file.read(1000)) == 1000
        # What urllib3 has of the connection.
        file._body._raw_stream._connection.sock.shutdown(2)
        with pytest.raises(DestinationError, match="read from"):
            list(iter(lambda: file.read(2**20), b""))


def test_a_bucket_that_is_not_there_is_named(localbucket: S3Server) -> None:
    offsite = localbucket.destination("no-such-bucket")
    for use in (offsite.init, lambda: list(offsite.list())):
        with pytest.raises(DestinationError, match=r"NoSuchBucket. Make the bucket"):
            use()


def test_without_keys_it_says_so(localbucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    offsite = S3Destination("offsite", bucket="bucket", endpoint=localbucket.endpoint)
    with pytest.raises(DestinationError, match="Look at its keys"):
        offsite.about()


@pytest.mark.parametrize(
    ("options", "why"), [({"lock_days": 0}, "lock_days="), ({"bucket": ""}, "bucket=")]
)
def test_arguments_that_can_not_work_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingError, match=why):
        S3Destination("offsite", **{"bucket": "bucket", **options})


def test_without_boto3_it_is_refused_with_what_to_install() -> None:
    """And nothing else needs it."""
    program = """
import sys
sys.modules["boto3"] = None
import hexhub_backup
hexhub_backup.DirectoryDestination("nas", "/mnt/nas")
try:
    hexhub_backup.S3Destination("offsite", bucket="bucket")
except hexhub_backup.errors.SettingError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "pip install 'hexhub_backup[s3]'" in done.stdout


def test_boto3_is_imported_when_a_bucket_is_named() -> None:
    program = "import sys, hexhub_backup; print('boto3' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_who_asks_while_a_server_is_tried_is_not_told_that_it_replaces(
    localbucket: S3Server,
) -> None:
    known: list[object] = []
    asked: list[S3Destination] = []

    def fate(_: int, __: str) -> Fate:
        known.extend(each._refuses for each in asked)
        return "pass"

    with between(localbucket, fate=fate) as (server, _):
        asked.append(server.destination(localbucket.bucket()))
        asked[0].about()
    assert set(known) == {None}


def test_a_server_that_hangs_holds_nobody_for_minutes() -> None:
    """Whoever cancels a copy waits for the end of a request."""
    server = S3Destination("offsite", bucket="bucket", endpoint="http://127.0.0.1:1")._server
    patient, brief = (server.client(brief=each).meta.config for each in (False, True))
    assert patient.read_timeout * patient.retries["total_max_attempts"] <= 60
    assert patient.connect_timeout * patient.retries["total_max_attempts"] <= 20
    assert max(brief.read_timeout, brief.connect_timeout) <= 5
    assert brief.retries["total_max_attempts"] == 1


def test_a_server_that_hangs_is_not_told_to_drop_parts_and_the_next_does(moto: S3Server) -> None:
    with between(moto) as (server, seen):
        bucket = server.bucket()
        offsite = server.destination(bucket, **QUICK)
        offsite.about()
        seen.fate = lambda _, request: "hang" if "partNumber" in request else "pass"
        with pytest.raises(AwayError):
            offsite.put(ARCHIVE, Bytes(b"a copy"), 6)
        assert "partNumber" in seen.requests[-1]
        assert uploads(moto, bucket) == [f"backups/{ARCHIVE}"]
        seen.fate = lambda *_: "pass"
        offsite.put(ARCHIVE, Bytes(b"a copy"), 6)
        assert uploads(moto, bucket) == []


def test_an_upload_that_is_cancelled_is_dropped_by_one_request(
    moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_PART", 2**20)

    class Ending(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 2**20:
                raise ValueError("it was cancelled")
            return super().read(size)

    with between(moto) as (server, seen):
        offsite = server.destination(server.bucket(), **QUICK)
        offsite.about()
        seen.requests.clear()
        seen.fate = lambda _, request: "hang" if request.startswith("DELETE") else "pass"
        with pytest.raises(ValueError, match="cancelled"):
            offsite.put(ARCHIVE, Ending(bytes(2**21)), 2**21)
        assert len([each for each in seen.requests if each.startswith("DELETE")]) == 1


def test_a_page_in_place_of_an_answer_is_a_server_that_is_away() -> None:
    """Such as the console of MinIO, or the page of a proxy."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b"<!doctype html><title>Console</title><p>Sign in<br>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            offsite = S3Server(f"http://127.0.0.1:{server.server_port}").destination("bucket")
            with pytest.raises(AwayError, match="Look at its address and its server"):
                list(offsite.list())
        finally:
            server.shutdown()
            thread.join()


def test_two_that_ask_at_once_whether_a_server_refuses_disturb_nobody(
    moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = moto.bucket()
    one, other = (moto.destination(bucket) for _ in range(2))
    begin, asks = Uploads._begin, iter([other])

    def begun(self: Uploads, *given: Any) -> str:
        upload = begin(self, *given)
        for each in asks:
            each.about()
        return upload

    monkeypatch.setattr(Uploads, "_begin", begun)
    one.about()
    assert uploads(moto, bucket) == []
