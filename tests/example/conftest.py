"""An empty instance, a seeded one, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from examples.host_app import create_app
from tests.support.hosts import seeded_once


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        for name in ("DATA", "DATABASE_URI", "HTTPS", "PORT", "PROXIES", "STORAGE"):
            environment.delenv(f"HOST_APP_{name}", raising=False)
        yield


@pytest.fixture
def empty(tmp_path: Path) -> Flask:
    return create_app(tmp_path / "empty")


@pytest.fixture
def seeded(tmp_path: Path) -> Flask:
    made = seeded_once(users=12, packages=6, releases=2, file_size=0)
    shutil.copytree(made, tmp_path / "seeded")
    return create_app(tmp_path / "seeded")


@pytest.fixture
def client(seeded: Flask) -> FlaskClient:
    return seeded.test_client()
