"""The part of the API on packages and their releases."""

from __future__ import annotations

from flask import Response, abort, g, request, url_for
from sqlalchemy import select

from examples.host_app import api_documents as documents
from examples.host_app import publishing
from examples.host_app.api import (
    account,
    answer,
    body,
    done,
    new_blueprint,
    package_of,
    received,
    record,
    release_of,
)
from examples.host_app.models import Package, Release
from examples.host_app.paging import paginate
from examples.host_app.refusals import NotOwnerError

blueprint = new_blueprint("api_packages")

_SORTS = {
    "name": Package.name,
    "inserted_at": Package.inserted_at.desc(),
    "updated_at": Package.updated_at.desc(),
    "total_downloads": Package.downloads.desc(),
}


@blueprint.get("/packages")
def packages() -> Response:
    """A page of those that whoever asks may read."""
    sort = request.args.get("sort", "name")
    if sort not in _SORTS:
        abort(400, f"Packages are sorted by one of {', '.join(_SORTS)}.")
    query = select(Package).where(Package.source == "local").order_by(_SORTS[sort], Package.name)
    if g.account is None:
        query = query.where(Package.private.is_(False))
    if search := request.args.get("search", "").replace("\0", ""):
        query = query.where(Package.name.contains(search.lower(), autoescape=True))
    found = paginate(query.options(*publishing.WITH_ALL))
    emails = g.account is not None
    return answer([documents.package(each, with_emails=emails) for each in found.items])


@blueprint.get("/packages/<name>")
def package(name: str) -> Response:
    return answer(documents.package(package_of(name), with_emails=g.account is not None))


@blueprint.get("/packages/<name>/releases/<version>")
def release(name: str, version: str) -> Response:
    return answer(documents.release(release_of(name, version)))


@blueprint.post("/packages/<name>/releases")
def publish(name: str) -> Response:
    user = account()
    with received() as file:
        replace = request.args.get("replace") == "true"
        found, is_new = publishing.publish(user, name, file, replace=replace)
    record("release.published" if is_new else "release.replaced", found)
    document = documents.release(found)
    return answer(document, 201 if is_new else 200, Location=document["url"])


@blueprint.delete("/packages/<name>/releases/<version>")
def revert(name: str, version: str) -> Response:
    found = _own(name, version)
    publishing.revert(found)
    record("release.reverted", package=name, version=version)
    return done()


@blueprint.post("/packages/<name>/releases/<version>/docs")
def publish_docs(name: str, version: str) -> Response:
    found = _own(name, version)
    with received() as file:
        publishing.publish_docs(found, file)
    record("docs.published", found)
    place = url_for("pages.docs_file", name=name, version=version, _external=True)
    return answer(documents.release(found), 201, Location=place)


@blueprint.delete("/packages/<name>/releases/<version>/docs")
def revert_docs(name: str, version: str) -> Response:
    found = _own(name, version)
    publishing.revert_docs(found)
    record("docs.reverted", found)
    return done()


@blueprint.post("/packages/<name>/releases/<version>/retire")
def retire(name: str, version: str) -> Response:
    found, asked = _own(name, version), body()
    publishing.retire(found, asked.get("reason"), asked.get("message"))
    record("release.retired", found)
    return done()


@blueprint.delete("/packages/<name>/releases/<version>/retire")
def unretire(name: str, version: str) -> Response:
    found = _own(name, version)
    publishing.unretire(found)
    record("release.unretired", found)
    return done()


def _own(name: str, version: str) -> Release:
    """A release of whoever asks. Raises NotOwnerError."""
    user, found = account(), release_of(name, version)
    if not publishing.may_change(user, found.package):
        raise NotOwnerError
    return found
