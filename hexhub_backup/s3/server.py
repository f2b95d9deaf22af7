"""A server of S3, asked by boto3, which only this file imports: its clients and its errors."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from hexhub_backup.errors import BackupError, SettingError
from hexhub_backup.extras import require
from hexhub_backup.marking import marked

#: Of each request: a server that hangs is given up after so many times its timeout, as whoever
#: cancels waits for that. Between two of them boto3 waits for a random time, which gets longer.
_ATTEMPTS = 2
#: Seconds, where the answer hardly matters.
_BRIEF = 5.0
_TAKEN = ("PreconditionFailed", "412")
#: Somebody else writes the same object at the moment.
_RACED = "ConditionalRequestConflict"
_GONE = ("404", "NoSuchKey", "NotFound", "NoSuchUpload")
#: How a server says that it does not know a call or a header, and a boto3 that is older than it.
_UNKNOWN = ("NotImplemented", "MethodNotAllowed", "501", "405", "ParamValidationError")
_REFUSED = ("AccessDenied", "403")
_WRONG_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
#: What a server says that would refuse everything, as 5xx and no answer at all do. `AccessDenied`
#: may be of one object.
_AWAY = (
    "NoSuchBucket",
    "PermanentRedirect",
    "RequestTimeTooSkewed",
    *_WRONG_KEYS,
)
#: What a call needs, where that is called otherwise.
_PERMISSIONS = {
    "ListObjectsV2": "ListBucket",
    "HeadObject": "GetObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListParts": "ListMultipartUploadParts",
}
_SLOWER = ("SlowDown", "Throttling", "TooManyRequests", "429")
_NO_KEYS = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError")


class UnknownError(Exception):
    """The server does not know a call, or a header of it. Each kind of errors has one of these."""


class TakenError(Exception):
    """A condition of what was asked does not hold: the object is there already, or is another."""


class RacedError(Exception):
    """Somebody else writes the object at the same time: nothing was done, and nothing is known."""


class Errors(NamedTuple):
    """What the errors of a server become: what it refuses, that it is `away` and would answer
    nothing else either, and what is `unknown` to it (an UnknownError too)."""

    refused: type[BackupError]
    away: type[BackupError]
    unknown: type[BackupError]


class S3Server:
    """How a server is reached: by one client for each process, as connections don't outlive a
    fork. `called` is what its errors begin with, `errors` what they are. So many `connections` are
    kept open."""

    def __init__(
        self,
        called: str,
        errors: Errors,
        *,
        endpoint: str | None,
        region: str | None,
        keys: tuple[str | None, str | None],
        timeouts: tuple[float, float],
        connections: int = 10,
        attempts: int | None = None,
    ) -> None:
        self.errors = errors
        self._called = called
        self._connections = connections
        self._attempts = attempts
        self._endpoint = endpoint
        self._region = region
        self._keys = keys
        self._timeouts = timeouts
        self._clients: dict[tuple[int, bool], Any] = {}

    def client(self, *, brief: bool = False) -> Any:
        """boto3's; a `brief` one tries once, for some seconds. Raises what is refused for a profile
        or an address that can't be one."""
        own = os.getpid(), brief
        if own not in self._clients:
            boto3, config, _ = _import()
            connect_timeout, read_timeout = self._timeouts
            if brief:
                connect_timeout, read_timeout = (
                    min(connect_timeout, _BRIEF),
                    min(read_timeout, _BRIEF),
                )
            options: dict[str, Any] = {
                "connect_timeout": connect_timeout,
                "read_timeout": read_timeout,
                "max_pool_connections": self._connections,
                # An address that is signed for others would get the older one of the two.
                "signature_version": "s3v4",
                "retries": {
                    "total_max_attempts": 1 if brief else self._attempts or _ATTEMPTS,
                    "mode": "standard",
                },
            }
            if self._endpoint is not None:
                # Checksums that nobody asked for are refused, or stored with the bytes, by servers
                # of others (boto3#4392, #4435).
                options["request_checksum_calculation"] = "when_required"
                options["response_checksum_validation"] = "when_required"
            with self.asked(marked("reached")):
                session = boto3.session.Session(
                    *self._keys, region_name=self._region, botocore_session=_session()
                )
                # A server of one's own has no region to find out.
                region = session.region_name or (self._endpoint and "us-east-1")
                self._clients[own] = session.client(
                    "s3", endpoint_url=self._endpoint, region_name=region, config=config(**options)
                )
        return self._clients[own]

    @contextmanager
    def asked(self, what: str, name: str | None = None) -> Iterator[None]:
        """Let errors of boto3 be ours: it could not be `what`. Raises FileNotFoundError, which
        names `name`, for what is not there, TakenError, RacedError, and what `errors` has for all
        else."""
        _, _, errors = _import()
        try:
            yield
        except errors as error:
            answer = getattr(error, "response", None) or {}
            code = str(answer.get("Error", {}).get("Code", "")) or type(error).__name__
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
            # None of them is chained: their messages may quote a request.
            if code in _TAKEN:
                raise TakenError from None
            if code == _RACED:
                raise RacedError from None
            if code in _GONE:
                raise FileNotFoundError(errno.ENOENT, "There is none", name) from None
            known = code if status is None else f"HTTP {status} {code}"
            kind = self.errors.refused
            if code in _UNKNOWN or status == 501:
                kind = self.errors.unknown
            elif status is None or status >= 500 or code in _AWAY:
                kind = self.errors.away
            call = str(getattr(error, "operation_name", ""))
            advice = _advice(code, call)
            raise kind(marked(f"{self._called} could not be {what}: {known}. {advice}")) from None


def _advice(code: str, call: str) -> str:
    if code in _REFUSED:
        permission = _PERMISSIONS.get(call, call)
        return marked(
            f"Look at its keys and at the bucket's policy, which have to allow s3:{permission}."
        )
    if code in (*_WRONG_KEYS, *_NO_KEYS):
        return marked("Look at its keys and at the bucket's policy.")
    if code == "RequestTimeTooSkewed":
        return marked(
            "The clock of this machine and the server's differ too much: set them by NTP."
        )
    if code == "NoSuchBucket":
        return marked("Make the bucket, or correct its name.")
    if code in _SLOWER:
        return marked("It wants fewer requests at a time: lower connections=, or try again later.")
    return marked("Look at its address and its server, and try again.")


def _import() -> tuple[Any, Any, tuple[type[Any], ...]]:
    """boto3, its Config, and what it raises. Not before it is used: most apps have no bucket."""
    import boto3  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
    from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
    from urllib3.exceptions import HTTPError

    return boto3, Config, (ClientError, BotoCoreError, ResponseParserError, HTTPError)


def _session() -> Any:
    """A session of botocore, with what this process has read of S3's description: that takes longer
    than all else that makes a client."""
    from botocore.session import get_session  # type: ignore[import-untyped]

    session = get_session()
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    return session


@cache
def _loader(path: str | None) -> Any:
    from botocore.loaders import create_loader  # type: ignore[import-untyped]

    return create_loader(path)


def check_server(called: str, bucket: object, endpoint: object) -> None:
    """Raises SettingError for a bucket or an address that is none, without quoting what may hold a
    secret, and where boto3 is missing. `called` is whose arguments they are."""
    if not isinstance(bucket, str) or not bucket:
        raise SettingError(f"bucket= of {called} has to name a bucket.")
    require("s3", "An S3 bucket")
    if endpoint is None:
        return
    try:
        parts = urlsplit(endpoint if isinstance(endpoint, str) else "")
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_address = False
    if not is_address or "@" in parts.netloc:
        raise SettingError(
            f"endpoint= of {called} has to be an address such as 'https://minio.example:9000', "
            "without a user or a password: give access_key= and secret_key= for these."
        )


def place_of(bucket: str, prefix: str, endpoint: str | None) -> tuple[str, str]:
    """What all keys begin with, and the address of that for people."""
    prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
    at = "" if endpoint is None else f" at {endpoint}"
    return prefix, f"s3://{bucket}/{prefix}{at}"
