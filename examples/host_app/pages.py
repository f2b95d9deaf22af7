"""What everybody sees: packages, their releases, and the files to download."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask_login import current_user  # type: ignore[import-untyped]
from sqlalchemy import select
from sqlalchemy.orm import contains_eager, selectinload
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from examples.host_app import files
from examples.host_app.accounts import sign_in_first
from examples.host_app.models import Owner, Package, Release, db
from examples.host_app.paging import paginate

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> str:
    search = request.args.get("q", "").replace("\0", "").strip()
    query = select(Package).order_by(Package.name)
    if search:
        query = query.where(Package.name.contains(search.lower(), autoescape=True))
    if not current_user.is_authenticated:
        query = query.where(Package.private.is_(False))
    page = paginate(query)
    return render_template("index.html", page=page, search=search)


@blueprint.get("/packages/<name>")
def package(name: str) -> Response | str:
    found = db.session.scalar(
        select(Package)
        .where(Package.name == name)
        .options(selectinload(Package.releases))
        .options(selectinload(Package.owners).joinedload(Owner.user))
    )
    if found is None:
        abort(404, f"There is no package {name} in this registry.")
    return _sign_in_for(found) or render_template(
        "package.html", package=found, links=_links(found.meta)
    )


@blueprint.get("/packages/<name>/docs")
def package_docs(name: str) -> Response:
    """The docs of the newest release that has some."""
    found = db.session.scalar(select(Package).filter_by(name=name))
    if found is not None and (sign_in := _sign_in_for(found)) is not None:
        return sign_in
    version = db.session.scalar(
        select(Release.version)
        .join(Release.package)
        .where(Package.name == name, Release.has_docs)
        .order_by(Release.inserted_at.desc(), Release.id.desc())
        .limit(1)
    )
    if version is None:
        abort(404, f"There are no docs of a package {name} in this registry.")
    return redirect(url_for("pages.docs_file", name=name, version=version), code=302)


@blueprint.get("/packages/<name>/releases/<version>")
def release(name: str, version: str) -> Response | str:
    found = _release(name, version)
    return _sign_in_for(found.package) or render_template(
        "release.html", release=found, requirements=_requirements(found.requirements)
    )


@blueprint.get("/packages/<name>/releases/<version>/package")
def package_file(name: str, version: str) -> Response:
    return _download(_release(name, version), "package")


@blueprint.get("/packages/<name>/releases/<version>/docs")
def docs_file(name: str, version: str) -> Response:
    return _download(_release(name, version), "docs")


def _download(found: Release, file_type: files.FileType) -> Response:
    if refused := _sign_in_for(found.package):
        return refused
    stem = f"{found.package.name}-{found.version}"
    name, mimetype = (
        (f"{stem}.tar", "application/x-tar")
        if file_type == "package"
        else (f"{stem}-docs.tar.gz", "application/gzip")
    )
    try:
        path = files.path_of(found.package.source, file_type, found.package.name, found.version)
        return files.of_app().send(path, mimetype=mimetype, name=name)
    except NotFound:
        abort(404, f"The registry has no {file_type} file of {stem}.")


def _release(name: str, version: str) -> Release:
    found = db.session.scalar(
        select(Release)
        .join(Release.package)
        .where(Package.name == name, Release.version == version)
        .options(contains_eager(Release.package))
    )
    if found is None:
        abort(404, f"There is no release {name} {version} in this registry.")
    return found


def _sign_in_for(found: Package) -> Response | None:
    """Private packages are for people with an account."""
    return sign_in_first() if found.private else None


def _links(meta: dict[str, Any]) -> dict[str, str]:
    """The links of a package that a page may show: what was published is not to be trusted."""
    links = meta.get("links") if isinstance(meta, dict) else None
    return {
        label: address
        for label, address in (links.items() if isinstance(links, dict) else ())
        if isinstance(address, str) and address.startswith(("https://", "http://"))
    }


def _requirements(requirements: dict[str, Any]) -> dict[str, str]:
    """Package to version requirement."""
    if not isinstance(requirements, dict):
        return {}
    return {
        name: str(rule.get("requirement", "any version"))
        for name, rule in sorted(requirements.items())
        if isinstance(rule, dict)
    }
