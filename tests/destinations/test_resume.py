"""An upload to a bucket whose process was killed is gone on with by the next, where its bytes are
the same: what is there of them is not sent again."""

from __future__ import annotations

import io
import os
import signal
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from hexhub_backup import S3Destination
from hexhub_backup.destinations import s3
from hexhub_backup.errors import AwayError, CancelledError, InterruptedOperationError
from hexhub_backup.history.store import utc_now
from hexhub_backup.testing.destinations.host import ARCHIVE
from tests.support.s3 import Between, S3Server, between

PART = 5 * 1024 * 1024
#: Four parts, of which the last is shorter.
CONTENT = bytes(range(251)) * (3 * PART // 251 + 4000)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PART", PART)


@pytest.fixture
def front(moto: S3Server) -> Iterator[tuple[S3Server, Between]]:
    """A server that says which checksum each part has."""
    with between(moto, checksums=True) as found:
        yield found


class Ends(io.BytesIO):
    """Ends in the middle of the third part."""

    def __init__(self, content: bytes, how: BaseException | None) -> None:
        super().__init__(content)
        self._how = how

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 2.5 * PART:
            if self._how is None:
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                raise self._how
        return super().read(min(size or PART, 100_000))


def killed(offsite: S3Destination, content: bytes = CONTENT) -> None:
    """Let a process die that uploads this."""
    with warnings.catch_warnings():
        # It uses nothing that another thread may hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            offsite.put(ARCHIVE, Ends(content, None), len(content))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def requests(seen: Between) -> dict[str, int]:
    """How many uploads and parts were begun, sent and dropped."""
    about = [each for each in seen.requests if ARCHIVE in each]
    return {
        "begun": sum(each.startswith("POST") and "?uploads" in each for each in about),
        "parts": sum("partNumber=" in each for each in about),
        "dropped": sum(each.startswith("DELETE") for each in about),
    }


def uploads(server: S3Server, bucket: str) -> int:
    return len(server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", []))


def written(offsite: S3Destination) -> bytes:
    with offsite.open(ARCHIVE) as file:
        return b"".join(iter(lambda: file.read(2**20), b""))


def put(offsite: S3Destination, seen: Between, content: bytes = CONTENT) -> dict[str, int]:
    """Upload it to the end. Gives the requests of that."""
    seen.requests.clear()
    offsite.put(ARCHIVE, io.BytesIO(content), len(content))
    assert written(offsite) == content
    return requests(seen)


def test_what_a_killed_process_has_sent_is_not_sent_again(
    front: tuple[S3Server, Between],
) -> None:
    server, seen = front
    bucket = server.bucket()
    offsite = server.destination(bucket)
    offsite.about()
    killed(offsite)
    assert requests(seen) == {"begun": 1, "parts": 2, "dropped": 0}
    assert list(offsite.list()) == []
    # And once more: in the same place.
    killed(offsite)
    assert put(offsite, seen) == {"begun": 0, "parts": 2, "dropped": 0}
    assert uploads(server, bucket) == 0


@pytest.mark.parametrize(
    ("error", "left"),
    [(InterruptedOperationError("server stopped"), 1), (CancelledError("It was cancelled."), 0)],
)
def test_a_server_that_is_stopped_leaves_its_parts_and_who_cancels_does_not(
    front: tuple[S3Server, Between], error: Exception, left: int
) -> None:
    server, seen = front
    bucket = server.bucket()
    offsite = server.destination(bucket)
    offsite.about()
    with pytest.raises(type(error)):
        offsite.put(ARCHIVE, Ends(CONTENT, error), len(CONTENT))
    assert uploads(server, bucket) == left
    assert put(offsite, seen) == {"begun": 1 - left, "parts": 4 - 2 * left, "dropped": 0}


def test_a_place_that_went_away_is_gone_on_with(front: tuple[S3Server, Between]) -> None:
    server, seen = front
    offsite = server.destination(server.bucket())
    offsite.about()
    seen.fate = lambda _, request: 500 if "partNumber=3" in request else "pass"
    with pytest.raises(AwayError):
        offsite.put(ARCHIVE, io.BytesIO(CONTENT), len(CONTENT))
    seen.fate = lambda *_: "pass"
    assert put(offsite, seen) == {"begun": 0, "parts": 2, "dropped": 0}


def test_other_bytes_are_sent_whatever_is_there(front: tuple[S3Server, Between]) -> None:
    server, seen = front
    bucket = server.bucket()
    offsite = server.destination(bucket)
    offsite.about()
    killed(offsite)
    # Of the same size, and other from the second part on.
    other = bytearray(CONTENT)
    other[PART + 1] ^= 1
    assert put(offsite, seen, bytes(other)) == {"begun": 0, "parts": 3, "dropped": 0}
    offsite.delete(ARCHIVE)
    killed(offsite)
    # What is encrypted anew differs from its first byte on.
    other[0] ^= 1
    assert put(offsite, seen, bytes(other)) == {"begun": 1, "parts": 4, "dropped": 1}
    assert uploads(server, bucket) == 0


@pytest.mark.parametrize("options", [{"storage_class": "STANDARD_IA"}, {"encryption": "AES256"}])
def test_an_upload_that_may_be_of_another_kind_is_not_gone_on_with(
    front: tuple[S3Server, Between], options: dict[str, Any]
) -> None:
    server, seen = front
    bucket = server.bucket()
    server.destination(bucket).about()
    killed(server.destination(bucket))
    offsite = server.destination(bucket, **options)
    offsite.about()
    assert put(offsite, seen) == {"begun": 1, "parts": 4, "dropped": 1}


def test_it_is_gone_on_with_where_copies_are_locked_when_they_are_complete(
    front: tuple[S3Server, Between],
) -> None:
    server, seen = front
    offsite = server.destination(server.bucket(lock=True), lock_days=3)
    offsite.about()
    killed(offsite)
    assert put(offsite, seen) == {"begun": 0, "parts": 2, "dropped": 0}
    until = offsite.lock(ARCHIVE)
    assert until is not None
    assert until > utc_now() + timedelta(days=2)


@pytest.mark.parametrize("fate", ["pass", 403, 501], ids=["no checksums", "refused", "unknown"])
def test_where_a_server_does_not_say_what_it_has_all_is_sent_again(
    moto: S3Server, fate: str | int
) -> None:
    with between(moto) as (server, seen):
        bucket = server.bucket()
        offsite = server.destination(bucket)
        offsite.about()
        killed(offsite)
        seen.fate = lambda _, request: (
            fate if request.startswith("GET") and "uploadId=" in request else "pass"
        )
        assert put(offsite, seen) == {"begun": 1, "parts": 4, "dropped": 1}
        assert uploads(moto, bucket) == 0
