"""One depot after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from hexhub_backup.depot.base import Depot
from hexhub_backup.depot.directory import DirectoryDepot
from tests.support.depots import KINDS, Open, bucket_depot
from tests.support.s3 import S3Server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test runs on each depot: on buckets in the matrix, and what is marked `sample` on one of
    them always."""
    if "opens" in metafunc.fixturenames:
        sampled = metafunc.definition.get_closest_marker("sample") is not None
        always = {"directory", "moto"} if sampled else {"directory"}
        kinds = [
            pytest.param(kind, marks=[] if kind in always else pytest.mark.matrix) for kind in KINDS
        ]
        metafunc.parametrize("opens", kinds, indirect=True)


@pytest.fixture
def opens(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Each depot, in a directory or a bucket of its own, as the machine of a name has it."""
    if request.param == "directory":

        def open_directory(machine: str) -> Depot:
            # What machines share is one disk.
            depot = DirectoryDepot(tmp_path / "depot")
            depot.prepare()
            return depot

        return open_directory
    server: S3Server = request.getfixturevalue(request.param)
    bucket = server.bucket()
    return lambda machine: bucket_depot(server, bucket, tmp_path / machine, tmp_path / "shared")


@pytest.fixture
def depot(opens: Open) -> Depot:
    return opens("one")
