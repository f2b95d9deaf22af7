"""Uploads of objects in parts, to a server of S3: begun, gone on with after a death, dropped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from hexhub_backup.errors import BackupError, InterruptedOperationError
from hexhub_backup.marking import marked
from hexhub_backup.s3.server import S3Server, UnknownError


class Source(Protocol):
    """Bytes that are read once, from the first to the last."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; empty at the end."""


class Uploads:
    """The uploads to one bucket. What they are called is as in S3Destination."""

    def __init__(
        self,
        server: S3Server,
        bucket: str,
        *,
        storage_class: str | None,
        encryption: str | None,
        kms_key: str | None,
    ) -> None:
        self._server = server
        self._bucket = bucket
        self._kind = {
            "StorageClass": storage_class,
            "ServerSideEncryption": encryption,
            "SSEKMSKeyId": kms_key,
        }

    def upload(
        self,
        key: str,
        source: Source,
        part_size: int,
        *,
        refuses: bool,
        died: Sequence[str] = (),
        headers: Mapping[str, Any] | None = None,
        begun: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Write an object in parts: it is there when all of them are. Where an upload that died has
        parts of the same bytes, it is gone on with; the others are dropped. A new one gets
        `headers`, and `begun` its id. Raises TakenError, RacedError."""
        place, uploads = {"Bucket": self._bucket, "Key": key}, [*died]
        there: Mapping[int, Mapping[str, Any]] = {}
        parts: list[dict[str, Any]] = []
        try:
            for data in _pieces(source, part_size):
                number = len(parts) + 1
                sha256 = base64.b64encode(hashlib.sha256(data).digest()).decode()
                same = {"Size": len(data), "ChecksumSHA256": sha256}
                if number == 1:
                    there = self._dead_parts(place, uploads, same)
                    if not uploads:
                        uploads.append(self._begin(place, headers or {}))
                        begun(uploads[0])
                    place["UploadId"] = uploads[0]
                found = there.get(number, {})
                if same.items() <= found.items():
                    etag = found["ETag"]
                else:
                    with self._server.asked("sent a part"):
                        etag = self._server.client().upload_part(
                            **place, PartNumber=number, Body=data, ChecksumSHA256=sha256
                        )["ETag"]
                parts.append({"PartNumber": number, "ETag": etag, "ChecksumSHA256": sha256})
                # Before the next is read: one is held in memory.
                del data
            self._complete(place, parts, refuses=refuses)
        except (self._server.errors.away, InterruptedOperationError):
            # Who does not answer is not asked once more. The next attempt goes on with the parts.
            raise
        except BaseException:
            for upload in uploads:
                with suppress(BackupError):
                    self._abort({**place, "UploadId": upload}, brief=True)
            raise

    def _complete(
        self, place: Mapping[str, str], parts: Sequence[Mapping[str, Any]], *, refuses: bool
    ) -> None:
        condition = {"IfNoneMatch": "*"} if refuses else {}
        try:
            with self._server.asked("told that an upload is complete"):
                self._server.client().complete_multipart_upload(
                    **place, MultipartUpload={"Parts": [*parts]}, **condition
                )
        except FileNotFoundError:
            # boto3 asks again where the answer was lost: by then there is no such upload.
            raise self._server.errors.refused(
                marked(
                    "The server knows nothing of the upload any more, which may be complete: the "
                    "next attempt sees."
                )
            ) from None

    @property
    def kind(self) -> dict[str, Any]:
        """The headers by which each object is made."""
        return {name: it for name, it in self._kind.items() if it is not None}

    def _begin(self, place: Mapping[str, str], headers: Mapping[str, Any]) -> str:
        """Begin an upload. Returns its id."""
        with self._server.asked("told to begin an upload"):
            begun = self._server.client().create_multipart_upload(
                **place, ChecksumAlgorithm="SHA256", **self.kind, **headers
            )
        return str(begun["UploadId"])

    def _dead_parts(
        self, place: Mapping[str, str], uploads: list[str], first: Mapping[str, Any]
    ) -> Mapping[int, Mapping[str, Any]]:
        """Drop `uploads` that died, but for one that has the `first` part, and give the parts of
        that one. What was encrypted anew has another first part. One with
        encryption by the server is not gone on with: nothing says by what it was begun."""
        kept: dict[int, Mapping[str, Any]] = {}
        for upload in [*uploads]:
            parts: dict[int, Mapping[str, Any]] = {}
            if not kept and self._kind["ServerSideEncryption"] is None:
                # A server that does not list parts, or not to these keys.
                with suppress(BackupError, FileNotFoundError):
                    parts = self._parts_of({**place, "UploadId": upload})
            if first.items() <= parts.get(1, {}).items():
                kept = parts
            else:
                self._abort({**place, "UploadId": upload})
                uploads.remove(upload)
        return kept

    def _parts_of(self, place: Mapping[str, str]) -> dict[int, Mapping[str, Any]]:
        """The parts of an upload, by their numbers; none where it was begun for another class."""
        parts: dict[int, Mapping[str, Any]] = {}
        with self._server.asked("asked for the parts of an upload that died"):
            for page in self._server.client().get_paginator("list_parts").paginate(**place):
                if page.get("StorageClass", "STANDARD") != (
                    self._kind["StorageClass"] or "STANDARD"
                ):
                    return {}
                parts |= {part["PartNumber"]: part for part in page.get("Parts", ())}
        return parts

    def abort(self, key: str, upload: str) -> None:
        """Drop the parts of an upload. Idempotent."""
        self._abort({"Bucket": self._bucket, "Key": key, "UploadId": upload})

    def _abort(self, place: Mapping[str, Any], *, brief: bool = False) -> None:
        with suppress(FileNotFoundError), self._server.asked("told to drop a part"):
            self._server.client(brief=brief).abort_multipart_upload(**place)

    def dead(self, key: str) -> list[str]:
        """The uploads of this object that died: nobody else writes it."""
        dead = []
        with suppress(UnknownError), self._server.asked("asked for uploads that died"):
            pages = self._server.client().get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=key):
                dead += [each["UploadId"] for each in page.get("Uploads", ()) if each["Key"] == key]
        return dead

    def drop(self, key: str) -> None:
        """Drop the parts of the uploads of an object that died."""
        for upload in self.dead(key):
            self.abort(key, upload)


def _pieces(source: Source, size: int) -> Iterator[bytearray]:
    """The bytes of a reader, in pieces of one size but for the last, which is not empty unless it
    is the only one."""
    is_first = True
    while True:
        data = bytearray()
        while len(data) < size and (chunk := source.read(size - len(data))):
            data += chunk
        if data or is_first:
            yield data
        if len(data) < size:
            return
        is_first = False
