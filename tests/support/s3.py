"""Servers of S3 on 127.0.0.1, and one between that fails where a test wants it to."""

from __future__ import annotations

import http.client
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

from hexhub_backup import S3Destination, S3Storage
from tests.support.patience import PATIENCE

KEYS: dict[str, Any] = {"access_key": "tests", "secret_key": "tests-and-no-secret"}
_number = itertools.count(1)


@cache
def _client(endpoint: str, _process: int) -> Any:
    """One for each server, as it takes long to make; of each process, as a line is of one."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEYS["access_key"],
        aws_secret_access_key=KEYS["secret_key"],
        region_name="us-east-1",
        config=Config(request_checksum_calculation="when_required"),
    )


@dataclass
class S3Server:
    """One that runs, and makes buckets."""

    endpoint: str
    process: subprocess.Popen[bytes] | None = None

    def client(self) -> Any:
        return _client(self.endpoint, os.getpid())

    def bucket(self, *, lock: bool = False, versions: bool = False) -> str:
        """The name of a new one."""
        name = f"bucket-{next(_number)}-{time.time_ns()}"
        options = {"ObjectLockEnabledForBucket": True} if lock else {}
        client = self.client()
        client.create_bucket(Bucket=name, **options)
        if versions:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def tags(self, bucket: str, prefix: str) -> dict[str, str]:
        """The objects below a prefix, with their ETags."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {
            each["Key"].removeprefix(prefix): each["ETag"]
            for page in pages
            for each in page.get("Contents", ())
        }

    def destination(self, bucket: str, name: str = "offsite", **options: Any) -> S3Destination:
        return S3Destination(
            name, bucket=bucket, prefix="backups", endpoint=self.endpoint, **KEYS, **options
        )

    def storage(self, bucket: str, **options: Any) -> S3Storage:
        return S3Storage(bucket, "files", endpoint=self.endpoint, **{**KEYS, **options})


@contextmanager
def _process(*command: str) -> Iterator[S3Server]:
    """A server that is started with `--port`."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            if _answers(port, process):
                yield S3Server(f"http://127.0.0.1:{port}", process)
                return
        finally:
            process.kill()
            process.wait()


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    """False where the process has ended: somebody else took the port."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
            return True
        assert time.monotonic() < until, "the server never answered"
        time.sleep(0.02)
    return False


@contextmanager
def moto() -> Iterator[S3Server]:
    """It knows versions and locks."""
    with _process("moto.server", "--host", "127.0.0.1") as server:
        yield server


@contextmanager
def slow_moto() -> Iterator[S3Server]:
    """With latency to each answer; see there."""
    with _process("tests.support.slow_moto") as server:
        yield server


@contextmanager
def localbucket(folder: Path) -> Iterator[S3Server]:
    """It keeps a bucket as a folder in `folder`, and lists no uploads."""
    with _process("localbucket", str(folder)) as server:
        yield server


#: An address of `Between`: `from` is a bucket whose folder was copied, with all its times, and `to`
#: the copy.
COPIED = "/-copied"


#: What becomes of a request: `pass`, `hang`, `lost` (it is done, and its answer never comes),
#: `short` (of its answer half comes, or some kilobytes), `twice` (it is done once more, and that is
#: answered), `late` (it is done when nobody waits for it any more), a status, or a status with a
#: code of S3's.
Fate = str | int


@dataclass
class Between:
    """A server that hands requests on to another one, unless a test has something else in mind.

    `fate` is asked for each request, by its number from 1 and by its method and address. `strip`
    are headers that the other server never sees. With `checksums` it lists parts with the checksums
    that these were sent with, as AWS does and moto does not. With `metadata` it keeps what objects
    were made with, as AWS does and localbucket does not.
    """

    behind: str
    fate: Callable[[int, str], Fate] = lambda _number, _request: "pass"
    strip: tuple[str, ...] = ()
    checksums: bool = False
    metadata: bool = False
    kept: dict[str, tuple[dict[str, str], object]] = field(default_factory=dict)
    sent: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    #: Seconds.
    late: float = 2.5

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = 0
        self.over = threading.Event()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """With one more request that is not over."""
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def is_idle(self) -> bool:
        """Whether all that it was asked for is done, also for those who don't wait for it."""
        with self._lock:
            return self._busy == 0

    def copied(self, bucket: str, to: str) -> None:
        """What the objects of a bucket were made with is what those of its copy were made with."""
        with self._lock:
            for path, given in [*self.kept.items()]:
                _, name, key = path.split("/", 2)
                if name == bucket:
                    self.kept[f"/{to}/{key}"] = given

    def keep(self, path: str, given: tuple[dict[str, str], object]) -> None:
        """Remember what an object was made with. Several requests do so at the same time."""
        with self._lock:
            self.kept[path] = given

    def add_part(self, part: str, checksum: str) -> None:
        """Remember the checksum of a part."""
        with self._lock:
            self.sent[part] = checksum

    def parts(self) -> list[tuple[str, str]]:
        with self._lock:
            return [*self.sent.items()]

    def take(self, path: str) -> dict[str, str]:
        """What was remembered of an upload, which is over."""
        with self._lock:
            given, _ = self.kept.pop(path, ({}, None))
        return given

    def decide(self, request: str) -> Fate:
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        # Not under the lock: one that is held up holds up no other.
        return self.fate(number, request)


@contextmanager
def between(server: S3Server, **options: Any) -> Iterator[tuple[S3Server, Between]]:
    found = Between(server.endpoint, **options)

    class Handler(_Handler):
        the = found

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving.daemon_threads = True
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    try:
        yield S3Server(f"http://127.0.0.1:{serving.server_address[1]}"), found
    finally:
        found.over.set()
        serving.shutdown()
        serving.server_close()
        thread.join()


def _identity(found: http.client.HTTPResponse) -> object:
    """What tells an object from one that is written over it by its path."""
    return found.headers["ETag"], found.headers["Last-Modified"]


class _Handler(BaseHTTPRequestHandler):
    the: Between
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        with self.the.busy():
            self._answer()

    def _answer(self) -> None:
        self.close_connection = True
        address = urlsplit(self.path)
        if address.path == COPIED:
            asked = parse_qs(address.query)
            self.the.copied(asked["from"][0], asked["to"][0])
            self.send_response(204)
            self.end_headers()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fate = self.the.decide(f"{self.command} {self.path}")
        if fate == "hang":
            self.the.over.wait(PATIENCE)
        elif fate == "late":
            self.the.over.wait(self.the.late)
            with suppress(ConnectionError, http.client.HTTPException):
                self._hand_on(body, "lost")
        elif isinstance(fate, int) or " " in fate:
            status, _, code = str(fate).partition(" ")
            content = f"<Error><Code>{code}</Code></Error>".encode() if code else b""
            self.send_response(int(status))
            self.send_header("Connection", "close")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        else:
            # Where the other one is dead, this one has no answer either.
            with suppress(ConnectionError, http.client.HTTPException):
                if fate == "twice":
                    self._hand_on(body, "lost")
                self._hand_on(body, fate)

    def _hand_on(self, body: bytes, fate: Fate) -> None:
        left_out = {"expect", "connection", *(each.lower() for each in self.the.strip)}
        headers = {
            name: text for name, text in self.headers.items() if name.lower() not in left_out
        }
        connection = http.client.HTTPConnection(urlsplit(self.the.behind).netloc, timeout=PATIENCE)
        try:
            connection.request(self.command, self.path, body, headers)
            found = connection.getresponse()
            content = found.read()
            if self.the.checksums:
                before, content = content, self._with_checksums(content)
                if content != before:
                    # It is worked out anew.
                    del found.headers["Content-Length"]
            if fate != "lost":
                self.send_response(found.status)
                self.send_header("Connection", "close")
                for name, text in (*found.getheaders(), *self._kept(connection, found)):
                    if name.lower() not in ("connection", "transfer-encoding", "server", "date"):
                        self.send_header(name, text)
                if "Content-Length" not in found.headers:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(
                    content[: min(5000, (len(content) + 1) // 2)] if fate == "short" else content
                )
        finally:
            connection.close()

    def _kept(
        self, connection: http.client.HTTPConnection, found: http.client.HTTPResponse
    ) -> Iterator[tuple[str, str]]:
        """Remember the metadata of an object that is made, or give that of one that is asked for,
        unless its file was written since."""
        if not self.the.metadata or found.status not in (200, 206):
            return
        kept, (path, _, query) = self.the.kept, self.path.partition("?")
        upload = parse_qs(query).get("uploadId", [""])[0]
        given = {
            name.lower(): text
            for name, text in self.headers.items()
            if name.lower().startswith("x-amz-meta-")
        }
        if self.command in ("GET", "HEAD"):
            metadata, identity = kept.get(path, ({}, None))
            if identity == _identity(found):
                yield from metadata.items()
            return
        if self.command == "POST" and query.startswith("uploads"):
            # By the place: the tests begin one upload of it at a time.
            self.the.keep(f"{path} begun", (given, None))
            return
        if self.command == "POST" and upload:
            given = self.the.take(f"{path} begun")
        elif self.command != "PUT" or upload:
            return
        source = self.headers.get("x-amz-copy-source", "")
        if source and self.headers.get("x-amz-metadata-directive") != "REPLACE":
            given, _ = kept.get(f"/{source.lstrip('/')}", ({}, None))
        connection.request("HEAD", path)
        written = connection.getresponse()
        written.read()
        self.the.keep(path, (given, _identity(written)))

    def _with_checksums(self, content: bytes) -> bytes:
        """Remember that of a part, or put those of the parts into a list of them."""
        asked = parse_qs(urlsplit(self.path).query)
        upload, number = (asked.get(name, [""])[0] for name in ("uploadId", "partNumber"))
        if self.command == "PUT" and number:
            self.the.add_part(f"{upload} {number}", self.headers["x-amz-checksum-sha256"])
        elif self.command == "GET" and upload:
            for part, checksum in self.the.parts():
                tag = f"<PartNumber>{part.removeprefix(f'{upload} ')}</PartNumber>".encode()
                more = f"<ChecksumSHA256>{checksum}</ChecksumSHA256>".encode()
                content = content.replace(tag, tag + more)
        return content

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
