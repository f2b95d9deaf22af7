"""A destination in a bucket of S3: AWS, MinIO, Ceph, R2, B2."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

from hexhub_backup.destinations.base import About, Listed, Reader, check_name
from hexhub_backup.destinations.encryption import check_recipients
from hexhub_backup.errors import AwayError, DestinationError, LockedError, SettingError
from hexhub_backup.marking import marked
from hexhub_backup.s3.server import (
    Errors,
    RacedError,
    S3Server,
    TakenError,
    UnknownError,
    check_server,
    place_of,
)
from hexhub_backup.s3.uploads import Uploads

_MIB = 1024 * 1024
#: Bytes of a part, which is held in memory. R2 wants all parts but the last of one size, S3 takes
#: at most 10,000: those of a file of more than 70 GB are larger.
_PART = 8 * _MIB
_MOST_PARTS = 9_000
#: An object that is written again and again, to see whether the server lets it.
_PROBE = "hexhub-backup-probe"


class UnknownDestinationError(UnknownError, DestinationError):
    """A destination could not be reached, or refused what was asked of it.

    Of a server that does not know the call, or a header of it.
    """


class S3Destination:
    """Copies in a bucket, below `prefix`.

    `endpoint` is the address of a server that is not AWS's, `region` its region. Who may do that is
    found by boto3's own rules (the environment, a profile, the machine's role), unless `access_key`
    and `secret_key` are given. `lock_days` locks each copy for so many days (Object Lock, in
    compliance mode: nobody can delete it before); the bucket has to have Object Lock on.
    `storage_class` and `encryption` (`AES256` or `aws:kms`, with a `kms_key`) are handed on as they
    are. `connect_timeout` and `read_timeout` are in seconds, for each of two attempts.
    `recipients` are the public keys that copies here are encrypted to, in place of those of
    HEXHUB_BACKUP_AGE_RECIPIENTS; `retention` are the rules by which they stay, in place of
    HEXHUB_BACKUP_RETENTION.

    Nothing is ever replaced: the bucket is asked first, and told to refuse (`If-None-Match`) where
    its server knows that.
    """

    def __init__(
        self,
        name: str,
        *,
        bucket: str,
        prefix: str = "",
        endpoint: str | None = None,
        region: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        lock_days: int | None = None,
        storage_class: str | None = None,
        encryption: str | None = None,
        kms_key: str | None = None,
        connect_timeout: float = 10,
        read_timeout: float = 30,
        recipients: Sequence[str] | None = None,
        retention: Mapping[str, int] | None = None,
    ) -> None:
        """Raises SettingError for an argument that can't work, and where a library is missing."""
        self.name = check_name(name)
        check_server(f"the destination {name}", bucket, endpoint)
        if lock_days is not None and (not isinstance(lock_days, int) or lock_days < 1):
            raise SettingError(
                f"lock_days= of the destination {name} is {lock_days!r}: give a number of days, 1 "
                "or more, or leave it out."
            )
        self.bucket = bucket
        self.prefix, self.location = place_of(bucket, prefix, endpoint)
        self.lock_days = lock_days
        self.recipients = check_recipients(recipients, name)
        self.retention = retention
        self._server = S3Server(
            marked(f"The destination {name} ({self.location})"),
            Errors(DestinationError, AwayError, UnknownDestinationError),
            endpoint=endpoint,
            region=region,
            keys=(access_key, secret_key),
            timeouts=(connect_timeout, read_timeout),
        )
        self._uploads = Uploads(
            self._server,
            bucket,
            storage_class=storage_class,
            encryption=encryption,
            kms_key=kms_key,
        )
        #: Whether the server refuses to replace an object; None as long as it was not asked.
        self._refuses: bool | None = None

    # what is asked of a destination

    def init(self) -> None:
        """Nothing is to be made; raises where the bucket can't be used."""
        self.about()

    def about(self) -> About:
        with self._server.asked("looked at"):
            self._server.client().list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)
            if self._refuses_to_replace():
                return About(None)
        return About(
            None,
            (
                marked(
                    "This server ignores conditions: it would replace an object though it is told "
                    "not to (If-None-Match). Each copy asks first whether there is one."
                ),
            ),
        )

    def put(self, name: str, source: Reader, size: int) -> None:
        key = self._key(name)
        if self._head(key) is not None:
            self._uploads.drop(key)
            raise self._exists(name)
        with self._server.asked("asked whether it refuses to replace an object"):
            refuses = self._refuses_to_replace()
        try:
            died = self._uploads.dead(key)
            part_size = max(_PART, _rounded(size))
            self._uploads.upload(key, source, part_size, refuses=refuses, died=died)
        except TakenError:
            raise self._exists(name) from None
        except RacedError:
            raise DestinationError(
                f"Somebody else wrote {name} in {self.location} at the same time, so that it was "
                "not written: try again."
            ) from None

    def lock(self, name: str) -> datetime | None:
        if self.lock_days is None:
            return None
        key, until = self._key(name), datetime.now(timezone.utc) + timedelta(days=self.lock_days)
        for attempt in range(2):
            # As the bucket says itself: a server may pass over what it is told.
            if (found := self._head(key)) is None:
                raise FileNotFoundError(errno.ENOENT, "There is none", name)
            told: datetime | None = found.get("ObjectLockRetainUntilDate")
            if told is not None:
                return told
            if attempt == 0:
                version = {"VersionId": found["VersionId"]} if "VersionId" in found else {}
                # A server that knows no locks is told of as a bucket without.
                with suppress(UnknownError), self._server.asked("told to lock a copy"):
                    self._server.client().put_object_retention(
                        Bucket=self.bucket,
                        Key=key,
                        Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until},
                        **version,
                    )
        raise DestinationError(
            f"The bucket {self.bucket} does not lock copies: turn its Object Lock on, or leave "
            f"lock_days= of the destination {self.name} out."
        )

    def open(self, name: str, start: int = 0, length: int | None = None) -> _OpenFile:
        part, key = {}, self._key(name)
        if start or length is not None:
            part["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        with self._server.asked(f"asked for {name}", name):
            found = self._server.client().get_object(Bucket=self.bucket, Key=key, **part)
        return _OpenFile(self._server, found)

    def list(self) -> Iterator[Listed]:
        with self._server.asked("listed"):
            pages = self._server.client().get_paginator("list_objects_v2")
            found = pages.paginate(Bucket=self.bucket, Prefix=self.prefix, Delimiter="/")
            for page in found:
                for each in page.get("Contents", ()):
                    name = each["Key"].removeprefix(self.prefix)
                    if name and name != _PROBE:
                        yield Listed(name, each["Size"])

    def delete(self, name: str) -> None:
        key = self._key(name)
        self._uploads.drop(key)
        found = self._head(key)
        if found is None:
            return
        until = found.get("ObjectLockRetainUntilDate")
        if until is not None and until > datetime.now(timezone.utc):
            raise LockedError(
                f"{name} in {self.location} is locked until {until:%Y-%m-%d %H:%M} UTC: nobody can "
                "delete it before.",
                until,
            )
        if found.get("ObjectLockLegalHoldStatus") == "ON":
            raise DestinationError(
                f"{name} in {self.location} has a legal hold: nobody can delete it until that is "
                "lifted there."
            )
        # Of a version: without it, its bytes would stay behind a marker.
        version = {"VersionId": found["VersionId"]} if "VersionId" in found else {}
        with self._server.asked(f"told to delete {name}"):
            self._server.client().delete_object(Bucket=self.bucket, Key=key, **version)

    # how

    def _key(self, name: str) -> str:
        return f"{self.prefix}{name}"

    def _head(self, key: str) -> Mapping[str, Any] | None:
        try:
            with self._server.asked("asked for an object", key):
                client = self._server.client()
                found: Mapping[str, Any] = client.head_object(Bucket=self.bucket, Key=key)
                return found
        except FileNotFoundError:
            return None

    def _refuses_to_replace(self) -> bool:
        """Whether the server completes no upload of an object that is there. It is asked once: two
        copies of one small object, which stays."""
        if self._refuses is None:
            refuses = False
            for _ in range(2):
                try:
                    # What died is left alone: it has no bytes, and another process may ask just
                    # now.
                    self._uploads.upload(self._key(_PROBE), _Nothing(), _PART, refuses=True)
                except (TakenError, RacedError):
                    refuses = True
                    break
                except UnknownError:
                    break
            # Not before it is known: another thread may ask meanwhile.
            self._refuses = refuses
        return self._refuses

    def _exists(self, name: str) -> FileExistsError:
        return FileExistsError(
            errno.EEXIST, "There is such an object already", f"{self.location}{name}"
        )


class _Nothing:
    def read(self, size: int, /) -> bytes:
        return b""


class _OpenFile:
    """A part of an object; see `base.OpenFile`."""

    def __init__(self, server: S3Server, found: Mapping[str, Any]) -> None:
        self._server = server
        self._body = found["Body"]
        whole = found.get("ContentRange", "").rpartition("/")[2]
        self.size = int(whole or found["ContentLength"])

    def read(self, size: int, /) -> bytes:
        with self._server.asked("read from"):
            data: bytes = self._body.read(size)
            return data

    def __enter__(self) -> _OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._body.close()


def _rounded(size: int) -> int:
    """The least size of parts, in whole MiB, of which the most suffice."""
    return -(-size // _MOST_PARTS // _MIB) * _MIB
