"""The static files: small, so each process reads and compresses them once."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, request

_FOLDER = Path(__file__).parent.parent / "static"
#: For an address with the digest of the files: what is there never changes.
_FOREVER = "public, max-age=31536000, immutable"
#: Some systems map `.js` to another type, with which no browser runs a module.
_TYPES = {".js": "text/javascript"}


@dataclass(frozen=True)
class _File:
    body: bytes
    gzipped: bytes
    mimetype: str
    etag: str


def add_to(blueprint: Blueprint) -> None:
    """Add the static files to the blueprint. `url_for` gives the address with their digest, below
    which a module finds those that it imports."""
    blueprint.add_url_rule("/static/<filename>", "static", static)
    blueprint.add_url_rule("/static/<digest>/<filename>", "static", static)

    @blueprint.url_defaults
    def add_digest(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == f"{blueprint.name}.static":
            values["digest"] = _digest()


def static(filename: str, digest: str | None = None) -> Response:
    """A static file. Pages of another release may ask with another digest."""
    file = _files().get(filename)
    if file is None:
        abort(404)
    is_gzipped = request.accept_encodings["gzip"] > 0 and len(file.gzipped) < len(file.body)
    response = Response(file.gzipped if is_gzipped else file.body, mimetype=file.mimetype)
    if is_gzipped:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = _FOREVER if digest == _digest() else "no-cache"
    response.set_etag(file.etag + ("-gzip" if is_gzipped else ""))
    response.make_conditional(request.environ)
    return response


@cache
def _files() -> Mapping[str, _File]:
    return {path.name: _read(path) for path in sorted(_FOLDER.iterdir()) if path.is_file()}


@cache
def _digest() -> str:
    whole = "".join(f"{name} {file.etag}\n" for name, file in _files().items())
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def _read(path: Path) -> _File:
    body = path.read_bytes()
    return _File(
        body,
        gzip.compress(body, mtime=0),
        _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        hashlib.sha256(body).hexdigest()[:16],
    )
