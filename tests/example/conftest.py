"""An empty instance, a seeded one, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from examples.host_app import create_app
from examples.host_app.seed import seed


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        for name in ("DATA", "DATABASE_URI", "HTTPS", "PORT", "PROXIES", "STORAGE"):
            environment.delenv(f"HOST_APP_{name}", raising=False)
        yield


@pytest.fixture
def empty(tmp_path: Path) -> Flask:
    return create_app(tmp_path / "empty")


@pytest.fixture(scope="session")
def seeded_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("host") / "seeded"
    app = create_app(data)
    with app.app_context():
        seed(users=12, packages=6, releases=2, file_size=0)
    return data


@pytest.fixture
def seeded(tmp_path: Path, seeded_once: Path) -> Flask:
    shutil.copytree(seeded_once, tmp_path / "seeded")
    return create_app(tmp_path / "seeded")


@pytest.fixture
def client(seeded: Flask) -> FlaskClient:
    return seeded.test_client()
