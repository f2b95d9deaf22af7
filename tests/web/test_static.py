"""The static files: fetched once by a browser, compressed, and none but those of the pages."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

import hexhub_backup
from tests.support.serving import PREFIX

FOLDER = Path(hexhub_backup.__file__).parent / "static"


@pytest.fixture
def digested(client: FlaskClient) -> str:
    """The address of the style sheet, as a page has it."""
    found = re.search(r'href="([^"]*/hexhub_backup\.css)"', client.get(f"{PREFIX}/").text)
    assert found is not None
    return found[1]


def test_a_browser_asks_for_a_file_once(client: FlaskClient, digested: str) -> None:
    answer = client.get(digested)
    assert answer.data == (FOLDER / "hexhub_backup.css").read_bytes()
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_another_release_is_never_kept_under_this_one(client: FlaskClient, digested: str) -> None:
    other = re.sub("/static/[0-9a-f]+/", "/static/0123456789abcdef/", digested)
    for path in (other, f"{PREFIX}/static/hexhub_backup.css"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-cache")
        again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


def test_a_module_finds_what_it_imports(client: FlaskClient, digested: str) -> None:
    module = digested.replace("hexhub_backup.css", "upload.js")
    imported = re.findall(r'from "\./([^"]+)"', client.get(module).text)
    assert imported
    for name in imported:
        answer = client.get(digested.replace("hexhub_backup.css", name))
        assert (answer.status_code, answer.mimetype) == (200, "text/javascript")
        assert "immutable" in answer.headers["Cache-Control"]


def test_what_a_browser_can_unpack_comes_packed(client: FlaskClient, digested: str) -> None:
    packed = client.get(digested, headers={"Accept-Encoding": "br, gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["Vary"]
    assert len(packed.data) < 25_000
    assert gzip.decompress(packed.data) == client.get(digested).data
    refused = client.get(digested, headers={"Accept-Encoding": "gzip;q=0"})
    assert "Content-Encoding" not in refused.headers


@pytest.mark.parametrize("path", ["src/package.json", "licences", "../views.py", "nothing.css"])
def test_nothing_else_is_served(app: Flask, digested: str, path: str) -> None:
    stranger = app.test_client()
    for folder in (digested.rpartition("/")[0], f"{PREFIX}/static"):
        assert stranger.get(f"{folder}/{path}").status_code in (302, 404)
