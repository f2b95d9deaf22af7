"""The read side of a Hex registry, as mix and rebar3 ask it: signed lists, and files.

The client sends its key, bare, in `Authorization`. Public packages need none; private ones the key
of any account, as their pages need one.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable

from flask import Blueprint, Response, abort, g, request
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import contains_eager, selectinload
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response as AnyResponse

from examples.host_app import credentials, files, registry_messages, repository_key
from examples.host_app import registry_pb2 as messages
from examples.host_app.models import Package, Release, db

blueprint = Blueprint("repository", __name__, url_prefix="/repo")

#: What is cached of an upstream registry comes from there, and is in no backup.
_PUBLISHED_HERE = Package.source == "local"


@blueprint.before_request
def _find_account() -> None:
    g.account = credentials.account_of_request()


@blueprint.after_request
def _limit_caching(answer: AnyResponse) -> AnyResponse:
    """Caches ask each time, and none shares what a key has opened."""
    answer.headers["Cache-Control"] = "private, no-cache" if g.get("account") else "no-cache"
    answer.vary.add("Authorization")
    return answer


@blueprint.errorhandler(401)
@blueprint.errorhandler(403)
@blueprint.errorhandler(404)
def _plain_error(error: HTTPException) -> Response:
    answer = Response(f"{error.description}\n", error.code, error.get_headers())
    answer.mimetype = "text/plain"
    return answer


@blueprint.get("/public_key")
def public_key() -> Response:
    return _with_etag(Response(repository_key.public_pem(), mimetype="application/x-pem-file"))


@blueprint.get("/names")
def names() -> Response:
    return _signed_list(registry_messages.names)


@blueprint.get("/versions")
def versions() -> Response:
    return _signed_list(registry_messages.versions)


@blueprint.get("/packages/<name>")
def package(name: str) -> Response:
    query = select(Package).where(Package.name == name, _PUBLISHED_HERE)
    found = db.session.scalar(query.options(selectinload(Package.releases)))
    if found is None:
        abort(404, f"There is no package {name} in this repository.")
    _check_access(found)
    return _signed(registry_messages.package(found))


@blueprint.get("/tarballs/<stem>.tar")
def tarball(stem: str) -> AnyResponse:
    return _file(stem, "package", f"{stem}.tar", "application/x-tar")


@blueprint.get("/docs/<stem>.tar.gz")
def docs(stem: str) -> AnyResponse:
    return _file(stem, "docs", f"{stem}.tar.gz", "application/gzip")


def _file(stem: str, file_type: files.FileType, name: str, mimetype: str) -> AnyResponse:
    # No name of a Hex package has a hyphen; versions have.
    package_name, _, version = stem.partition("-")
    found = db.session.scalar(
        select(Release)
        .join(Release.package)
        .where(Package.name == package_name, Release.version == version, _PUBLISHED_HERE)
        .options(contains_eager(Release.package))
    )
    if found is None:
        abort(404, f"There is no release {package_name} {version} in this repository.")
    _check_access(found.package)
    # The names of the row, as a database may not tell upper case from lower.
    path = files.path_of(found.package.source, file_type, found.package.name, found.version)
    try:
        return files.of_app().send(path, mimetype=mimetype, name=name)
    except NotFound:
        abort(404, f"There is no {file_type} file of {package_name} {version} in this repository.")


def _signed_list(make: Callable[..., bytes]) -> Response:
    """Of all packages that whoever asks may read."""
    may_read: list[ColumnElement[bool]] = [_PUBLISHED_HERE]
    if g.account is None:
        may_read.append(Package.private.is_(False))
    return _signed(make(*may_read))


def _signed(payload: bytes) -> Response:
    signed = messages.Signed(payload=payload, signature=repository_key.sign(payload))
    # The body itself is gzip, without a Content-Encoding that a client would undo.
    body = gzip.compress(signed.SerializeToString(), mtime=0)
    return _with_etag(Response(body, mimetype="application/octet-stream"))


def _with_etag(answer: Response) -> Response:
    answer.add_etag()
    answer.make_conditional(request)
    return answer


def _check_access(found: Package) -> None:
    if found.private and g.account is None:
        credentials.ask_for_one(
            f"The package {found.name} is private. Give the repository a key to read it."
        )
