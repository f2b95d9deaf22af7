"""Files of the registry in a bucket of S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from functools import cache
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from flask import request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import NotFound, RequestedRangeNotSatisfiable
from werkzeug.wrappers import Response

_IN_MEMORY = 2**20


class Bucket:
    """See `files.Files`."""

    def __init__(self, bucket: str, prefix: str, endpoint: str | None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._endpoint = endpoint

    @contextmanager
    def new(self, path: str) -> Iterator[BinaryIO]:
        with SpooledTemporaryFile(_IN_MEMORY) as file:
            yield cast(BinaryIO, file)
            file.seek(0)
            # By the time a backup knows a file that is stored twice with the same bytes.
            stored = {"stored": datetime.now(timezone.utc).isoformat()}
            self._client.put_object(**self._place(path), Body=file, Metadata=stored)

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        with closing(self._ask("get_object", path)["Body"]) as body:
            yield body

    def remove(self, path: str) -> None:
        self._ask("delete_object", path)

    def stamp(self, path: str) -> str:
        found = self._ask("head_object", path)
        return f"{found['ETag']} {found['LastModified'].isoformat()}"

    def send(self, path: str, *, mimetype: str, name: str) -> Response:
        part = {"Range": request.headers["Range"]} if "Range" in request.headers else {}
        found = self._ask("get_object", path, **part)
        headers = Headers({"Content-Length": str(found["ContentLength"]), "ETag": found["ETag"]})
        headers.add("Content-Disposition", "attachment", filename=name)
        if "ContentRange" in found:
            headers["Content-Range"] = found["ContentRange"]
        status = found["ResponseMetadata"]["HTTPStatusCode"]
        answer = Response(
            found["Body"], status, headers, mimetype=mimetype, direct_passthrough=True
        )
        return answer if part else answer.make_conditional(request)

    def _ask(self, method: str, path: str, **options: str) -> Any:
        try:
            return getattr(self._client, method)(**self._place(path), **options)
        except ClientError as error:
            if error.response["Error"]["Code"] == "InvalidRange":
                raise RequestedRangeNotSatisfiable from error
            # A HEAD has no body to name the error in.
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                raise NotFound from error
            raise

    def _place(self, path: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}{path}"}

    @property
    def _client(self) -> Any:
        return _client(self._endpoint, os.getpid())


@cache
def _client(endpoint: str | None, _process: int) -> Any:
    """One for each process: connections don't outlive a fork."""
    # Checksums that nobody asked for are refused by some servers that are not AWS's.
    options = {"request_checksum_calculation": "when_required"} if endpoint else {}
    region = "us-east-1" if endpoint else None
    return boto3.client("s3", endpoint_url=endpoint, region_name=region, config=Config(**options))
