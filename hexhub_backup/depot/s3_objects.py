"""The objects of a depot's bucket below its prefix: asked for, written, copied, listed, deleted."""

from __future__ import annotations

import base64
import hashlib
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from hexhub_backup.errors import StorageError
from hexhub_backup.s3.server import RacedError, S3Server, TakenError, UnknownError

#: So often a body is read whose connection ends before it does.
_READS = 4
#: So many bytes are copied by one request.
_COPIED = 1 << 30


class DepotError(StorageError, OSError):
    """The storage could not be read or written."""


class UnknownDepotError(UnknownError, DepotError):
    """The storage could not be read or written.

    Of a server that does not know the call, or a header of it.
    """


class Stored(NamedTuple):
    """An object as it is now. `version` is None in a bucket without versions."""

    size: int
    etag: str
    version: str | None
    modified: datetime


class Objects:
    """What can be done with the objects of a bucket; `prefix` is part of no key here. `kind` are
    the headers by which each is made.

    Raises DepotError, FileNotFoundError, and TakenError and RacedError where a condition does not
    hold.
    """

    def __init__(self, server: S3Server, bucket: str, prefix: str, kind: Mapping[str, Any]) -> None:
        self.server = server
        self.bucket = bucket
        self.prefix = prefix
        self.kind = kind

    def place(self, key: str) -> dict[str, str]:
        """What names an object in a request."""
        return {"Bucket": self.bucket, "Key": f"{self.prefix}{key}"}

    # asked for

    def head(self, key: str) -> Stored | None:
        try:
            with self.server.asked(f"asked for {key}", key):
                found = self.server.client().head_object(**self.place(key))
        except FileNotFoundError:
            return None
        version = found.get("VersionId")
        return Stored(
            int(found["ContentLength"]),
            found["ETag"],
            None if version == "null" else version,
            found["LastModified"],
        )

    def read(self, key: str, found: Stored, start: int, length: int) -> bytes:
        """So many bytes of an object as it was found, which has them. Raises TakenError where it is
        another one by now."""
        version = {} if found.version is None else {"VersionId": found.version}
        for attempt in range(1, _READS + 1):
            try:
                with self.server.asked(f"read at {key}", key):
                    answer = self.server.client().get_object(
                        **self.place(key),
                        **version,
                        IfMatch=found.etag,
                        Range=f"bytes={start}-{start + length - 1}",
                    )
                    with answer["Body"] as body:
                        data: bytes = body.read()
            except DepotError:
                # boto3 tries requests again, and no bodies.
                if attempt == _READS:
                    raise
            else:
                if len(data) == length:
                    return data
            pause(attempt)
        raise DepotError(f"{key} in {self.bucket} gives fewer bytes than it has: try again.")

    def address(self, key: str, file: str, seconds: int) -> str:
        """Where an object can be read by whoever has the address, which is signed for so many
        seconds and says how it is answered: as an attachment called `file`, and kept nowhere."""
        with self.server.asked("told of an address"):
            address: str = self.server.client().generate_presigned_url(
                "get_object",
                Params={
                    **self.place(key),
                    "ResponseContentDisposition": f'attachment; filename="{file}"',
                    "ResponseCacheControl": "no-store",
                    "ResponseContentType": "application/x-tar",
                },
                ExpiresIn=seconds,
            )
            return address

    def look(self) -> None:
        """See whether the bucket can be read."""
        with self.server.asked("read"):
            self.server.client().list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)

    def list(self, folder: str = "", *, deep: bool = True) -> Iterator[tuple[str, datetime]]:
        """The keys below a folder, which ends with a slash, and when each was written; only those
        in the folder itself where it is not to be `deep`."""
        options = {} if deep else {"Delimiter": "/"}
        for page in self._pages("list_objects_v2", folder, **options):
            for each in page.get("Contents", ()):
                yield each["Key"][len(self.prefix) :], each["LastModified"]

    def uploads(self, folder: str) -> Iterator[tuple[str, str, datetime]]:
        """The uploads that have not ended, by their keys' beginning: the key, the upload's id, and
        when it began. A server that does not know them has none."""
        with suppress(UnknownError):
            for page in self._pages("list_multipart_uploads", folder):
                for each in page.get("Uploads", ()):
                    key = each["Key"]
                    if key.startswith(f"{self.prefix}{folder}"):
                        yield key[len(self.prefix) :], each["UploadId"], each["Initiated"]

    def _pages(self, call: str, folder: str, **options: Any) -> Iterator[Mapping[str, Any]]:
        with self.server.asked(f"listed at {folder}"):
            pages = self.server.client().get_paginator(call)
            iterator = iter(
                pages.paginate(Bucket=self.bucket, Prefix=f"{self.prefix}{folder}", **options)
            )
        while True:
            with self.server.asked(f"listed at {folder}"):
                page = next(iterator, None)
            if page is None:
                return
            yield page

    # written

    def put(self, key: str, data: bytes | bytearray, *, new: bool = False) -> None:
        """Write a small object at once. Where it is to be `new`, none is replaced."""
        condition = {"IfNoneMatch": "*"} if new else {}
        with self.server.asked(f"told to write {key}", key):
            self.server.client().put_object(
                **self.place(key),
                Body=data,
                ChecksumSHA256=sha256_of(data),
                **self.kind,
                **condition,
            )

    def begin(self, key: str) -> str:
        """Begin an upload in parts. Returns its id."""
        with self.server.asked(f"told to begin {key}", key):
            begun = self.server.client().create_multipart_upload(
                **self.place(key), ChecksumAlgorithm="SHA256", **self.kind
            )
        return str(begun["UploadId"])

    def part(self, key: str, upload: str, number: int, data: bytes | bytearray) -> dict[str, Any]:
        """Send a part. Returns what `complete` has to say of it."""
        sha256 = sha256_of(data)
        try:
            with self.server.asked(f"sent a part of {key}", key):
                sent = self.server.client().upload_part(
                    **self.place(key),
                    UploadId=upload,
                    PartNumber=number,
                    Body=data,
                    ChecksumSHA256=sha256,
                )
        except FileNotFoundError:
            raise self._dropped(key) from None
        return {"PartNumber": number, "ETag": sent["ETag"], "ChecksumSHA256": sha256}

    def _dropped(self, key: str) -> DepotError:
        return DepotError(
            f"The upload of {key} to {self.bucket} was dropped meanwhile: start again."
        )

    def complete(
        self, key: str, upload: str, parts: Sequence[Mapping[str, Any]], size: int, *, new: bool
    ) -> None:
        """Make an object of the parts of an upload, of so many bytes together. Where it is to be
        `new`, none is replaced: raises TakenError."""
        condition = {"IfNoneMatch": "*"} if new else {}
        try:
            with self.server.asked(f"told that {key} is complete", key):
                self.server.client().complete_multipart_upload(
                    **self.place(key),
                    UploadId=upload,
                    MultipartUpload={"Parts": [*parts]},
                    **condition,
                )
        except (FileNotFoundError, TakenError) as error:
            # boto3 asks again where the answer was lost: by then it is there, and nothing else has
            # this name.
            found = self.head(key)
            if found is not None and found.size == size:
                return
            if isinstance(error, TakenError):
                raise
            raise self._dropped(key) from None

    def abort(self, key: str, upload: str) -> None:
        """Drop the parts of an upload. Idempotent."""
        with suppress(FileNotFoundError), self.server.asked(f"told to drop the parts of {key}"):
            self.server.client().abort_multipart_upload(**self.place(key), UploadId=upload)

    def copy(self, source: str, found: Stored, key: str) -> None:
        """Copy an object inside the server, as it was found, to a key that has none. Raises
        TakenError. It is an upload whose parts are copied: not all servers, and not all releases of
        boto3, hold a plain copy to a condition."""
        version = {} if found.version is None else {"VersionId": found.version}
        of: dict[str, Any] = {
            "CopySource": {**self.place(source), **version},
            "CopySourceIfMatch": found.etag,
        }
        upload = self.begin(key)
        try:
            parts = [
                self._copy_part(key, upload, number, of, (start, min(start + _COPIED, found.size)))
                for number, start in enumerate(range(0, found.size, _COPIED), start=1)
            ]
            self.complete(key, upload, parts, found.size, new=True)
        except BaseException:
            with suppress(DepotError):
                self.abort(key, upload)
            raise

    def _copy_part(
        self, key: str, upload: str, number: int, of: Mapping[str, Any], part: tuple[int, int]
    ) -> dict[str, Any]:
        try:
            with self.server.asked(f"told to copy to {key}", key):
                answer = self.server.client().upload_part_copy(
                    **self.place(key),
                    **of,
                    UploadId=upload,
                    PartNumber=number,
                    CopySourceRange=f"bytes={part[0]}-{part[1] - 1}",
                )
        except FileNotFoundError:
            raise self._dropped(key) from None
        copied = answer["CopyPartResult"]
        kept = {name: copied[name] for name in ("ETag", "ChecksumSHA256") if name in copied}
        return {"PartNumber": number, **kept}

    # deleted

    def delete(self, key: str) -> None:
        """Delete an object, with all its versions: they hold what it held. Idempotent."""
        found = self.head(key)
        if found is None:
            return
        if found.version is None:
            with suppress(FileNotFoundError), self.server.asked(f"told to delete {key}", key):
                self.server.client().delete_object(**self.place(key))
            return
        for page in self._pages("list_object_versions", key):
            for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                if each["Key"] == f"{self.prefix}{key}":
                    with self.server.asked(f"told to delete a version of {key}", key):
                        self.server.client().delete_object(
                            **self.place(key), VersionId=each["VersionId"]
                        )

    def refuses_to_replace(self, probe: str) -> bool:
        """Whether the server holds what is written to a condition: a small object is written
        twice."""
        try:
            for _ in range(2):
                self.put(probe, b"", new=True)
        except (TakenError, RacedError):
            return True
        except UnknownError:
            pass
        return False


def sha256_of(data: bytes | bytearray) -> str:
    """As S3 takes it."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def pause(attempt: int) -> None:
    """Wait before the next attempt, for a random time that gets longer: others wait too."""
    time.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311 (no secret)
