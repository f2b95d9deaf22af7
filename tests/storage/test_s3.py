"""A storage in a bucket: what it tells the server, what it makes of the answers, and what it
refuses."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from hexhub_backup import S3Storage
from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.errors import ChangedError, SettingError, StorageError
from hexhub_backup.storage import s3, s3_objects
from hexhub_backup.storage.layout import hexhub_layout
from tests.support.patience import PATIENCE
from tests.support.s3 import KEYS, Between, Fate, S3Server, between

JASON, DOCS = ReleaseFile("package", "jason", "1.4.0"), ReleaseFile("docs", "jason", "1.4.0")
OPERATION = "20260131-103000-9f3ac1"
MANY = [ReleaseFile("package", f"p{n:04}", "1.0.0") for n in range(60)]


@pytest.fixture(autouse=True)
def _nothing_is_known_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_servers", {})


@pytest.fixture
def front(moto: S3Server) -> Iterator[tuple[S3Server, Between]]:
    with between(moto) as found:
        yield found


def key_of(file: ReleaseFile) -> str:
    return f"files/{hexhub_layout(file)}"


def put(server: S3Server, bucket: str, file: ReleaseFile, content: bytes, **options: Any) -> None:
    server.client().put_object(Bucket=bucket, Key=key_of(file), Body=content, **options)


def read(storage: S3Storage, file: ReleaseFile) -> bytes:
    with storage.open(file) as stored:
        return b"".join(iter(partial(stored.read, 2**20), b""))


def asked(seen: Between) -> Counter[str]:
    return Counter(request.split()[0] for request in seen.requests)


def keys(server: S3Server, bucket: str) -> list[str]:
    listed = server.client().list_objects_v2(Bucket=bucket)
    return [each["Key"] for each in listed.get("Contents", [])]


# --- what a server has to know ----------------------------------------------------------------


def test_a_server_that_keeps_no_metadata_is_refused(localbucket: S3Server) -> None:
    bucket = localbucket.bucket()
    storage = localbucket.storage(bucket)
    put(localbucket, bucket, JASON, b"old")
    tag = storage.stat(JASON)
    assert tag is not None
    with pytest.raises(StorageError, match=r"x-amz-meta-.* Use a server that keeps it"):
        storage.stage(OPERATION, DOCS, [b"new"], purpose="place")
    # A backup needs nothing of that.
    assert read(storage, JASON) == b"old"
    assert keys(localbucket, bucket) == [key_of(JASON)]


@pytest.mark.parametrize("how", ["ignores", "does not know"])
def test_a_server_that_would_replace_a_file_is_refused(moto: S3Server, how: str) -> None:
    def fate(_: int, request: str) -> Fate:
        return 501 if how == "does not know" and "probe" in request else "pass"

    with between(moto, fate=fate, strip=("If-None-Match",)) as (server, _):
        bucket = server.bucket()
        with pytest.raises(StorageError, match=f"{how} conditions .*conditional writes"):
            server.storage(bucket).stage(OPERATION, DOCS, [b"new"], purpose="place")
        assert keys(moto, bucket) == []


def test_a_server_is_tried_once_and_nothing_of_it_stays(front: tuple[S3Server, Between]) -> None:
    server, seen = front
    bucket = server.bucket(versions=True)
    for _ in range(2):
        storage = server.storage(bucket)
        storage.stage(OPERATION, JASON, [b"new"], purpose="place")
        storage.clear(OPERATION)
    written = [each for each in seen.requests if each.startswith("PUT") and "probe" in each]
    # A boto3 that is older knows no conditions of copies.
    assert len(written) in (3, 4)
    versions = server.client().list_object_versions(Bucket=bucket)
    assert "Versions" not in versions
    assert "DeleteMarkers" not in versions


def test_conditions_of_copies_are_told_where_they_are_held(localbucket: S3Server) -> None:
    """The host stores a file when it was looked at already."""
    with between(localbucket, metadata=True) as (server, seen):
        bucket = server.bucket()
        storage = server.storage(bucket)
        staged = storage.stage(OPERATION, JASON, [b"new"], purpose="put_back")

        def fate(_: int, request: str) -> Fate:
            if request.startswith("PUT") and request.endswith(key_of(JASON)):
                seen.fate = lambda *_: "pass"
                put(localbucket, bucket, JASON, b"of the host")
            return "pass"

        seen.fate = fate
        with pytest.raises(ChangedError):
            storage.place(OPERATION, [(JASON, staged)], lambda _: ())
        assert read(storage, JASON) == b"of the host"


# --- whose a file is ----------------------------------------------------------------------------


@pytest.mark.parametrize("versions", [False, True])
def test_an_equal_file_of_the_host_has_an_equal_etag_and_stays(
    moto: S3Server, versions: bool
) -> None:
    bucket = moto.bucket(versions=versions)
    storage, client = moto.storage(bucket), moto.client()
    placed = [(JASON, storage.stage(OPERATION, JASON, [b"new"], purpose="place"))]
    storage.place(OPERATION, placed, lambda _: [b"new"])
    before = client.head_object(Bucket=bucket, Key=key_of(JASON))
    put(moto, bucket, JASON, b"new")
    after = client.head_object(Bucket=bucket, Key=key_of(JASON))
    assert before["ETag"] == after["ETag"]
    storage.take_back(OPERATION, placed)
    assert read(storage, JASON) == b"new"


def test_what_is_taken_back_of_versions_is_ours_alone(moto: S3Server) -> None:
    """A host that stores the file in the middle of it keeps its own."""
    with between(moto) as (server, seen):
        bucket = server.bucket(versions=True)
        storage = server.storage(bucket)
        placed = [(JASON, storage.stage(OPERATION, JASON, [b"new"], purpose="place"))]
        storage.place(OPERATION, placed, lambda _: [b"new"])

        def fate(_: int, request: str) -> Fate:
            if request.startswith("DELETE"):
                put(moto, bucket, JASON, b"new")
            return "pass"

        seen.fate = fate
        storage.take_back(OPERATION, placed)
        assert read(storage, JASON) == b"new"
    found = moto.client().list_object_versions(Bucket=bucket, Prefix=key_of(JASON))
    assert len(found["Versions"]) == 1
    assert "DeleteMarkers" not in found


def test_a_file_that_was_placed_while_its_answer_was_lost_is_ours(
    front: tuple[S3Server, Between],
) -> None:
    server, seen = front
    storage = server.storage(server.bucket(), read_timeout=5)
    placed = [(JASON, storage.stage(OPERATION, JASON, [b"new"], purpose="place"))]
    seen.requests.clear()
    seen.fate = lambda number, _: "lost" if number == 1 else "pass"
    storage.place(OPERATION, placed, lambda _: [b"new"])
    assert asked(seen) == {"PUT": 2, "HEAD": 1}
    assert read(storage, JASON) == b"new"


def test_a_conflict_of_two_writers_is_tried_again(front: tuple[S3Server, Between]) -> None:
    server, seen = front
    storage = server.storage(server.bucket())
    placed = [(JASON, storage.stage(OPERATION, JASON, [b"new"], purpose="place"))]
    seen.requests.clear()
    seen.fate = lambda number, _: "409 ConditionalRequestConflict" if number == 1 else "pass"
    storage.place(OPERATION, placed, lambda _: [b"new"])
    assert read(storage, JASON) == b"new"


def test_what_is_said_of_a_file_stays_with_its_place(moto: S3Server) -> None:
    """Browsers are told the same of a file that a restore replaces, and an undo brings back."""
    bucket = moto.bucket()
    storage, client = moto.storage(bucket), moto.client()
    about = {"ContentType": "application/x-tar", "CacheControl": "max-age=60"}
    put(moto, bucket, JASON, b"old", Metadata={"stored": "yesterday"}, **about)
    found = storage.stat(JASON)
    assert found is not None
    storage.stage(OPERATION, JASON, [b"new"], purpose="replace")
    kept = storage.keep(OPERATION, JASON, found.tag)
    assert storage.replace(OPERATION, JASON, found.tag)
    head = client.head_object(Bucket=bucket, Key=key_of(JASON))
    assert about.items() <= head.items()
    assert "stored" not in head["Metadata"]
    now = storage.stat(JASON)
    assert now is not None
    assert storage.stage_kept("undo", JASON, OPERATION, kept)
    assert storage.replace("undo", JASON, now.tag)
    head = client.head_object(Bucket=bucket, Key=key_of(JASON))
    assert about.items() <= head.items()
    assert head["Metadata"]["stored"] == "yesterday"
    assert read(storage, JASON) == b"old"


# --- many requests ------------------------------------------------------------------------------


def test_sizes_of_many_come_from_the_listing(front: tuple[S3Server, Between]) -> None:
    server, seen = front
    bucket = server.bucket()
    for file in MANY[::2]:
        put(server, bucket, file, b"content")
    seen.requests.clear()
    storage = server.storage(bucket)
    assert list(storage.sizes(MANY)) == [7 if n % 2 == 0 else None for n in range(len(MANY))]
    assert asked(seen) == {"GET": 1}
    seen.requests.clear()
    stats = list(storage.stats(MANY))
    assert asked(seen) == {"GET": 1, "HEAD": len(MANY) / 2}
    assert [each is not None for each in stats] == [n % 2 == 0 for n in range(len(MANY))]


def test_a_listing_that_tells_of_others_mostly_is_not_gone_through(
    front: tuple[S3Server, Between], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, seen = front
    bucket = server.bucket()
    for file in MANY:
        put(server, bucket, file, b"content")
    page = s3_objects.Objects.page

    def small(self: s3_objects.Objects, after: str) -> tuple[dict[str, int], bool]:
        found, _ = page(self, after)
        return dict(list(found.items())[:10]), len(found) > 10

    monkeypatch.setattr(s3_objects.Objects, "page", small)
    seen.requests.clear()
    assert list(server.storage(bucket).sizes(MANY[::3])) == [7] * 20
    assert asked(seen) == {"GET": 1, "HEAD": 16}


def test_as_many_requests_are_made_at_a_time_as_are_wanted(
    front: tuple[S3Server, Between],
) -> None:
    server, seen = front
    storage = server.storage(server.bucket(), connections=6)
    placed = [(file, storage.stage(OPERATION, file, [b"new"], purpose="place")) for file in MANY]
    lock, now, most = threading.Lock(), [0], [0]
    six = threading.Barrier(6)

    def fate(_: int, request: str) -> Fate:
        if request.startswith("PUT"):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            # All six come together, or this breaks.
            six.wait(PATIENCE)
            with lock:
                now[0] -= 1
        return "pass"

    seen.fate = fate
    storage.place(OPERATION, placed, lambda _: [b"new"])
    assert most == [6]


def test_content_is_asked_for_by_the_thread_that_has_the_archive(moto: S3Server) -> None:
    storage = moto.storage(moto.bucket())
    placed = [(file, storage.stage(OPERATION, file, [b"new"], purpose="place")) for file in MANY]
    threads = set()

    def content(_: ReleaseFile) -> list[bytes]:
        threads.add(threading.get_ident())
        return [b"new"]

    storage.place(OPERATION, placed, content)
    assert threads == {threading.get_ident()}


def test_a_large_file_whose_upload_died_leaves_no_parts(moto: S3Server) -> None:
    bucket = moto.bucket()
    storage = moto.storage(bucket)
    content = bytes(6 * 2**20)

    def dies() -> Iterator[bytes]:
        yield content
        raise SystemExit

    placed = [(JASON, storage.stage(OPERATION, JASON, [], purpose="place"))]
    # As if this process could not drop its parts any more.
    storage._objects._uploads._abort = lambda *_, **__: None  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        storage.place(OPERATION, placed, lambda _: dies())
    client = moto.client()
    assert len(client.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1
    other = moto.storage(bucket)
    other.take_back(OPERATION, placed)
    other.clear(OPERATION)
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert keys(moto, bucket) == []


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", [500, 503, "503 SlowDown", "hang", "short"])
def test_a_request_that_fails_is_made_again(front: tuple[S3Server, Between], fate: Fate) -> None:
    server, seen = front
    bucket = server.bucket()
    put(server, bucket, JASON, b"content")
    storage = server.storage(bucket, read_timeout=5)
    seen.requests.clear()
    seen.fate = lambda number, _: fate if number <= 2 else "pass"
    assert read(storage, JASON) == b"content"
    assert asked(seen) == {"GET": 3}


@pytest.mark.parametrize(
    ("fate", "advice"),
    [
        (500, "Look at its address"),
        ("503 SlowDown", "lower connections="),
        ("403 AccessDenied", "allow s3:GetObject"),
    ],
)
def test_an_error_names_the_key_and_what_it_means(
    front: tuple[S3Server, Between], fate: Fate, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    server, seen = front
    storage = server.storage(server.bucket())
    seen.fate = lambda *_: fate
    with pytest.raises(StorageError) as caught:
        storage.open(JASON)
    message = str(caught.value)
    for part in ("s3://bucket-", hexhub_layout(JASON), str(fate).split()[0], advice):
        assert part in message
    assert KEYS["secret_key"] not in message
    assert caught.value.__cause__ is None


def test_a_bucket_that_is_not_there_is_named(moto: S3Server) -> None:
    with pytest.raises(StorageError, match=r"NoSuchBucket\. Make the bucket"):
        list(moto.storage("no-such-bucket").sizes([JASON]))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"bucket": ""}, "bucket="),
        ({"connections": 0}, "connections="),
        ({"endpoint": "https://ada:s3cret@minio.example"}, "endpoint= of the S3Storage"),
    ],
)
def test_arguments_that_can_not_work_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingError, match=why) as caught:
        S3Storage(**{"bucket": "registry", **options})
    assert "s3cret" not in str(caught.value)


def test_a_path_that_leaves_the_prefix_is_refused() -> None:
    storage = S3Storage("registry", layout=lambda file: f"../{file.package}")
    with pytest.raises(StorageError, match=r"without '\.\.'"):
        storage.open(JASON)
