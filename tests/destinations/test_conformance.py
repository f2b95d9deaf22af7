"""Our destinations, held to what the product asks of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hexhub_backup import DirectoryDestination, S3Destination
from hexhub_backup.destinations.base import Destination
from hexhub_backup.testing import DestinationConformance
from tests.support.s3 import KEYS, S3Server, between


class TestDirectory(DestinationConformance):
    @pytest.fixture
    def destination(self, tmp_path: Path) -> DirectoryDestination:
        destination = DirectoryDestination("nas", tmp_path)
        destination.init()
        return destination

    def reopen(self, destination: Destination) -> DirectoryDestination:
        return DirectoryDestination(destination.name, destination.location)


class S3Conformance(DestinationConformance):
    options: ClassVar[dict[str, Any]] = {}

    def reopen(self, destination: Destination) -> S3Destination:
        assert isinstance(destination, S3Destination)
        return S3Destination(
            destination.name,
            bucket=destination.bucket,
            prefix=destination.prefix,
            endpoint=destination.location.rpartition(" at ")[2],
            **KEYS,
            **self.options,
        )


class TestS3(S3Conformance):
    """Of a server that knows versions, and lists uploads."""

    @pytest.fixture
    def destination(self, moto: S3Server) -> S3Destination:
        return moto.destination(moto.bucket())


class TestS3WithLock(S3Conformance):
    options: ClassVar[dict[str, Any]] = {"lock_days": 3}

    @pytest.fixture
    def destination(self, moto: S3Server) -> S3Destination:
        return moto.destination(moto.bucket(lock=True), **self.options)


class TestS3OfAnother(S3Conformance):
    """Of a server that lists no uploads."""

    @pytest.fixture
    def destination(self, localbucket: S3Server) -> S3Destination:
        return localbucket.destination(localbucket.bucket())


class TestS3WithoutConditions(S3Conformance):
    """Of a server that replaces an object, whatever it is told."""

    @pytest.fixture
    def destination(self, localbucket: S3Server) -> Iterator[S3Destination]:
        with between(localbucket, strip=("If-None-Match",)) as (server, _):
            yield server.destination(server.bucket())
