"""Files of the registry in a bucket of S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
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

    def send(self, path: str, *, mimetype: str, name: str) -> Response:
        part = {"Range": request.headers["Range"]} if "Range" in request.headers else {}
        try:
            found = self._client.get_object(**self._place(path), **part)
        except ClientError as error:
            if error.response["Error"]["Code"] == "InvalidRange":
                raise RequestedRangeNotSatisfiable from error
            if error.response["Error"]["Code"] == "NoSuchKey":
                raise NotFound from error
            raise
        headers = Headers({"Content-Length": str(found["ContentLength"]), "ETag": found["ETag"]})
        headers.add("Content-Disposition", "attachment", filename=name)
        if "ContentRange" in found:
            headers["Content-Range"] = found["ContentRange"]
        status = found["ResponseMetadata"]["HTTPStatusCode"]
        return Response(found["Body"], status, headers, mimetype=mimetype, direct_passthrough=True)

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
