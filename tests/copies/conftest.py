"""A host whose backups are copied to a directory and to a bucket."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from examples.host_app.seed import ADMIN
from hexhub_backup import DirectoryDestination
from tests.support.hosts import make_app
from tests.support.instance import Instance
from tests.support.people import sign_in
from tests.support.s3 import KEYS, S3Server


@pytest.fixture
def bucket(localbucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    name = localbucket.bucket()
    use_bucket(monkeypatch, localbucket, name)
    return name


def use_bucket(monkeypatch: pytest.MonkeyPatch, server: S3Server, name: str) -> None:
    monkeypatch.setenv("HOST_APP_BUCKET", name)
    monkeypatch.setenv("HOST_APP_BUCKET_ENDPOINT", server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS["access_key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["secret_key"])


@pytest.fixture
def app(instance: Instance, nas: DirectoryDestination, bucket: str, uri: str | None) -> Flask:
    config = {} if uri is None else {"SQLALCHEMY_DATABASE_URI": uri}
    return make_app(instance.path, config)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    client = app.test_client()
    assert sign_in(client, ADMIN).status_code == 303
    return client
