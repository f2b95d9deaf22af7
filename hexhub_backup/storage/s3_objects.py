"""The objects of one bucket below a prefix: asked for, written, copied, listed and deleted."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from hexhub_backup.errors import BackupError
from hexhub_backup.s3.server import RacedError, S3Server, TakenError, UnknownError
from hexhub_backup.s3.uploads import Uploads
from hexhub_backup.storage.many import for_each

#: The metadata by which an object that we wrote is known: its tag.
MARK = "hexhub-backup"
_TAG = re.compile(r"[A-Za-z0-9._-]{1,200}")
#: What is said of an object, beside its metadata, and goes with it.
_HEADERS = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
)
#: So often a body is read whose connection ends before it does.
_READS = 4
#: So often something is tried that others got in the way of.
_TRIES = 5
#: An object of fewer bytes is written at once. Of larger ones so many are written at a time, in
#: parts of so many bytes, which are in memory: S3 takes no smaller ones.
_SMALL = 1024 * 1024
_LARGE_AT_ONCE = 3
_PART = 5 * 1024 * 1024


class Found(NamedTuple):
    """An object as it is now. `version` is None in a bucket without versions."""

    size: int
    etag: str
    tag: str
    version: str | None
    headers: Mapping[str, Any]
    metadata: Mapping[str, str]


class Objects:
    """What can be done with the objects of a bucket; `prefix` is part of no key here.

    Raises what `server` has for errors, FileNotFoundError, and TakenError and RacedError where a
    condition does not hold.
    """

    def __init__(
        self, server: S3Server, bucket: str, prefix: str, uploads: Uploads, connections: int
    ) -> None:
        self._server = server
        self._bucket = bucket
        self._prefix = prefix
        self._uploads = uploads
        self._connections = connections
        self._large = threading.Semaphore(_LARGE_AT_ONCE)

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}{key}"}

    # asked for

    def head(self, key: str) -> Found | None:
        try:
            with self._server.asked(f"asked for {key}", key):
                return _found(self._server.client().head_object(**self._place(key)))
        except FileNotFoundError:
            return None

    def read(
        self, key: str, start: int, length: int, etag: str | None = None
    ) -> tuple[Found, bytes]:
        """A part of an object, which has `etag`, and the whole object's size."""
        part: dict[str, Any] = {"Range": f"bytes={start}-{start + length - 1}"}
        if etag is not None:
            part["IfMatch"] = etag
        for attempt in range(1, _READS + 1):
            with self._server.asked(f"asked for {key}", key):
                try:
                    answer = self._server.client().get_object(**self._place(key), **part)
                except Exception as error:
                    if not _is_empty(error):
                        raise
                    # No range of an empty object is one.
                    answer = self._server.client().get_object(**self._place(key))
            whole = answer.get("ContentRange", "").rpartition("/")[2]
            found = _found(answer)._replace(size=int(whole or answer["ContentLength"]))
            try:
                with self._server.asked(f"read at {key}", key), answer["Body"] as body:
                    return found, body.read()
            except BackupError:
                # boto3 tries requests again, and no bodies.
                if attempt == _READS:
                    raise
                pause(attempt)
        raise AssertionError

    def page(self, after: str) -> tuple[dict[str, int], bool]:
        """The keys and sizes of the objects that follow a key, some hundred of them, and whether
        there are more after these."""
        with self._server.asked(f"listed after {after}"):
            answer = self._server.client().list_objects_v2(
                Bucket=self._bucket, Prefix=self._prefix, StartAfter=f"{self._prefix}{after}"
            )
        found = {self._of(each["Key"]): int(each["Size"]) for each in answer.get("Contents", ())}
        return found, bool(answer.get("IsTruncated"))

    def list(self, folder: str) -> Iterator[str]:
        """The keys below a folder, which ends with a slash."""
        for page in self._pages("list_objects_v2", folder):
            yield from (self._of(each["Key"]) for each in page.get("Contents", ()))

    def folders(self, folder: str) -> Iterator[str]:
        """The names of the folders in a folder."""
        for page in self._pages("list_objects_v2", folder, Delimiter="/"):
            for each in page.get("CommonPrefixes", ()):
                yield self._of(each["Prefix"])[len(folder) : -1]

    def _pages(self, call: str, folder: str, **options: Any) -> Iterator[Mapping[str, Any]]:
        pages = (
            self._server.client()
            .get_paginator(call)
            .paginate(Bucket=self._bucket, Prefix=f"{self._prefix}{folder}", **options)
        )
        iterator = iter(pages)
        while True:
            with self._server.asked(f"listed at {folder}"):
                page = next(iterator, None)
            if page is None:
                return
            yield page

    def _of(self, key: str) -> str:
        return key[len(self._prefix) :]

    # written

    def write(
        self,
        key: str,
        chunks: Iterable[bytes],
        tag: str,
        *,
        new: bool,
        headers: Mapping[str, Any],
        begun: Callable[[str], None],
    ) -> None:
        """Write an object from its bytes, and mark it with its tag. Where it is to be `new`, none
        is replaced: raises TakenError. The id of the upload of one that has parts is told to
        `begun` before they are sent."""
        source = _Source(chunks)
        first = source.read(_SMALL)
        if len(first) < _SMALL:

            def put() -> None:
                self.put(key, first, tag, new=new, headers=headers)

            self.make(key, tag, put)
            return
        with self._large:
            source.again(first)
            try:
                self._uploads.upload(
                    f"{self._prefix}{key}",
                    source,
                    _PART,
                    refuses=new,
                    headers={**headers, "Metadata": {**headers.get("Metadata", {}), MARK: tag}},
                    begun=begun,
                )
            except (TakenError, RacedError, BackupError):
                found = self.head(key)
                if found is None or found.tag != tag:
                    raise
                # It was complete, and the answer was lost.

    def make(self, key: str, tag: str, do: Callable[[], None]) -> None:
        """Do what makes a new object of this tag. Raises TakenError where there is another."""
        for attempt in range(1, _TRIES + 1):
            try:
                do()
            except (TakenError, RacedError):
                found = self.head(key)
                if found is None and attempt < _TRIES:
                    # Somebody else has removed it, or was about to write it.
                    pause(attempt)
                    continue
                # boto3 asks again where an answer was lost: by then it is there.
                if found is None or found.tag != tag:
                    raise TakenError from None
            return

    def put(
        self,
        key: str,
        data: bytes,
        tag: str,
        *,
        new: bool,
        headers: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Write a small object at once. Returns what the server answers."""
        options: dict[str, Any] = {**self._uploads.kind, **(headers or {})}
        options["Metadata"] = {**options.get("Metadata", {}), MARK: tag}
        if new:
            options["IfNoneMatch"] = "*"
        sha256 = base64.b64encode(hashlib.sha256(data).digest()).decode()
        with self._server.asked(f"told to write {key}", key):
            answer: Mapping[str, Any] = self._server.client().put_object(
                **self._place(key), Body=data, ChecksumSHA256=sha256, **options
            )
            return answer

    def copy(
        self,
        source: str,
        found: Found,
        key: str,
        *,
        condition: Mapping[str, str] | None = None,
        marked: str | None = None,
    ) -> None:
        """Copy an object inside the server as it was found, with all that is said of it; `marked`
        with another tag, if that is wanted. `condition` is one of the object that it becomes."""
        options: dict[str, Any] = {**self._uploads.kind, **(condition or {})}
        if marked is not None:
            options |= {
                **found.headers,
                "Metadata": {**found.metadata, MARK: marked},
                "MetadataDirective": "REPLACE",
            }
        version = {} if found.version is None else {"VersionId": found.version}
        with self._server.asked(f"told to copy {source} to {key}", source):
            self._server.client().copy_object(
                **self._place(key),
                CopySource={**self._place(source), **version},
                CopySourceIfMatch=found.etag,
                **options,
            )

    # deleted

    def delete(self, key: str, found: Found | None = None, *, version: bool = False) -> bool:
        """Delete an object, as it was found: not another one that came since. Of a bucket with
        `version`s that one alone goes, and what was before is there again. Returns whether the
        bucket keeps it behind a marker. Idempotent."""
        options = {}
        if found is not None:
            options = {"IfMatch": found.etag}
            if version and found.version is not None:
                options = {"VersionId": found.version}
        try:
            with self._server.asked(f"told to delete {key}", key):
                answer: Mapping[str, Any] = self._server.client().delete_object(
                    **self._place(key), **options
                )
        except FileNotFoundError:
            return False
        except UnknownError:
            if "IfMatch" not in options:
                raise
            # It deletes without a condition only.
            return self.delete(key)
        return bool(answer.get("DeleteMarker"))

    def remove(self, folder: str) -> None:
        """Delete all objects below a folder that is ours, with their versions where these may be
        deleted; a rule of the bucket's may do that too."""
        kept = []

        def delete(key: str) -> None:
            if self.delete(key):
                kept.append(key)

        for_each(delete, self.list(folder), self._connections)
        if kept:
            with suppress(BackupError):
                for_each(self._delete_version, self._versions(folder), self._connections)

    def _versions(self, folder: str) -> Iterator[dict[str, str]]:
        for page in self._pages("list_object_versions", folder):
            for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                yield {"Key": each["Key"], "VersionId": each["VersionId"]}

    def _delete_version(self, version: Mapping[str, str]) -> None:
        with self._server.asked(f"told to delete a version of {version['Key']}"):
            self._server.client().delete_object(Bucket=self._bucket, **version)

    def abort(self, key: str, upload: str) -> None:
        """Drop the parts of an upload that died. Idempotent."""
        self._uploads.abort(f"{self._prefix}{key}", upload)


def pause(attempt: int) -> None:
    """Wait before the next attempt, for a random time that gets longer: others wait too."""
    time.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311 (no secret)


def _found(answer: Mapping[str, Any]) -> Found:
    version, metadata = answer.get("VersionId"), dict(answer.get("Metadata", {}))
    tag, version = metadata.pop(MARK, ""), None if version == "null" else version
    if not _TAG.fullmatch(tag):
        # Of the host's. A version has an id that no other one has. Without one, there is what the
        # server says, where times are told in seconds, and what the host says of it.
        told = json.dumps(
            [answer["ETag"], str(answer.get("LastModified")), sorted(metadata.items()), version]
        )
        tag = hashlib.sha256(told.encode()).hexdigest()[:32]
    return Found(
        int(answer["ContentLength"]),
        answer["ETag"],
        tag,
        version,
        {name: answer[name] for name in _HEADERS if name in answer},
        metadata,
    )


def _is_empty(error: Exception) -> bool:
    answer = getattr(error, "response", None) or {}
    return bool(answer.get("ResponseMetadata", {}).get("HTTPStatusCode") == 416)


class _Source:
    """Chunks, as bytes that are read once."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """As many bytes, fewer only at the end."""
        parts, missing = [], size
        while missing:
            if not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._rest = chunk
                continue
            part, self._rest = self._rest[:missing], self._rest[missing:]
            parts.append(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def again(self, data: bytes) -> None:
        """Read these first."""
        self._rest = data + self._rest
